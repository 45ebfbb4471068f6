"""One page of a TIFF file: from pixels to segments and tags."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.images.formats.bits import narrowed
from adnet.images.formats.image_file import Pixels, colour_channels, planes
from adnet.images.formats.tiff_data import DEFLATE, Block, pack_segments
from adnet.images.formats.tiff_page import TOGETHER, PageLayout, areas_of
from adnet.images.formats.tiff_tags import Directory, Kind, number_tag


def page_to_write(
    pixels: Pixels, layout: PageLayout
) -> tuple[Directory, tuple[int, int], list[bytes]]:
    """Encode a page; the result is what `write_directories` takes."""
    whole = planes(pixels)
    if layout.extras is not None:
        whole = np.dstack([whole, layout.extras])
    segments = [one for plane in segments_to_write(whole, layout) for one in plane]
    return directory_to_write(whole, layout), (324, 325) if layout.tile else (273, 279), segments


def segments_to_write(whole: NDArray[Any], layout: PageLayout) -> list[list[bytes]]:
    """Encode rows that begin at a border of segments; returns the segments of each plane."""
    block = replace(layout.block, dtype=whole.dtype)
    height, width, samples = whole.shape
    areas = list(areas_of((height, width), layout.tile, max(1, layout.strip)))
    separate = layout.planar and samples > 1
    result = []
    for plane in range(samples if separate else 1):
        source = whole[..., plane : plane + 1] if separate else whole
        segments = []
        for start in range(0, len(areas), TOGETHER):  # a short last strip ends each plane
            parts = []
            for lines, columns in areas[start : start + TOGETHER]:
                part = source[lines, columns]
                if layout.photometric == 0 and whole.dtype.kind == "u" and plane == 0:
                    part = np.dstack([~part[..., :1], part[..., 1:]])
                if block.bits % 8:
                    part = narrowed(part, block.bits)
                if layout.tile:
                    below, beside = (
                        full - got for full, got in zip(layout.tile, part.shape[:2], strict=True)
                    )
                    part = np.pad(part, ((0, below), (0, beside), (0, 0)), mode="edge")
                parts.append(part)
            segments += pack_segments(parts, block)
        result.append(segments)
    return result


def directory_to_write(whole: NDArray[Any], layout: PageLayout) -> Directory:
    """Make the tags of a page but those of its segments; of `whole`, shape and dtype count."""
    block = replace(layout.block, dtype=whole.dtype)
    return _layout_tags(layout, whole, block)


def _layout_tags(layout: PageLayout, whole: NDArray[Any], block: Block) -> Directory:
    height, width, samples = whole.shape
    kind = block.kind
    tags = dict(layout.directory.tags)
    format_ = 3 if whole.dtype.kind == "f" else 1
    shorts = {
        258: (block.bits,) * samples,
        259: (block.compression,),
        262: (layout.photometric,),
        277: (samples,),
        284: (2 if layout.planar else 1,) if samples > 1 else (),
        339: (format_,) * samples if format_ != 1 else (),
        317: (block.predictor,) if block.predictor != 1 else (),
        338: layout.extra_codes,
    }
    tags |= {code: number_tag(kind, 3, *numbers) for code, numbers in shorts.items() if numbers}
    longs = {256: width, 257: height}
    if layout.tile:
        longs |= {322: layout.tile[1], 323: layout.tile[0]}
    else:
        longs[278] = max(1, layout.strip)
    tags |= {code: number_tag(kind, 4, number) for code, number in longs.items()}
    return Directory(tags, layout.directory.children)


def plain_layout(pixels: Pixels, kind: Kind) -> PageLayout:
    """Choose how to store pixels that do not come from a TIFF file: deflate, strips of 256 KB."""
    whole = planes(pixels)
    row = whole.shape[1] * whole.shape[2] * whole.dtype.itemsize
    predictor = 3 if whole.dtype.kind == "f" else 2
    colour = colour_channels(pixels)
    return PageLayout(
        Block(kind, DEFLATE, predictor, 8 * whole.dtype.itemsize, whole.dtype),
        photometric=2 if colour == 3 else 1,
        strip=max(1, min(whole.shape[0], 2**18 // row)),
        extra_codes=(2,) * (whole.shape[2] - colour),
    )
