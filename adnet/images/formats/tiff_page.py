"""One page of a TIFF file: from its directory and segments to pixels and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats.bits import narrowed, widened
from adnet.images.formats.colour import cmyk_to_rgb, srgb_profile, stored_lab_to_rgb
from adnet.images.formats.image_file import Pixels, colour_channels, planes, squeezed
from adnet.images.formats.tiff_data import (
    CCITT,
    DEFLATE,
    JPEG,
    WRITABLE,
    Block,
    pack_segments,
    segments_of,
    unpack_fax,
    unpack_jpeg,
    unpack_segments,
)
from adnet.images.formats.tiff_kinds import (
    CMYK,
    CONVERTED,
    ICCLAB,
    PALETTE,
    PHOTOMETRICS,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    PageTags,
    Stored,
    check_page,
)
from adnet.images.formats.tiff_tags import Directory, Kind, Tag, number_tag

ICC = 34675
_LAYOUT_TAGS = frozenset(
    (256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 284, 288, 289, 292, 293, 317,
     320, 322, 323, 324, 325, 326, 327, 328, 330, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519,
     520, 521, 529, 530, 531)
)  # fmt: skip
"""Tags that are made from the new pixels, or mean nothing for them."""
_OLD_COLOUR_TAGS = (280, 281, 301, 318, 319, 332, 333, 334, 336, 337, 340, 341, 342, 532)
"""Tags about colours or samples that a converted page no longer has."""


@dataclass(frozen=True, slots=True)
class PageLayout:
    """How to store a page like the one that was read."""

    block: Block
    directory: Directory = field(default_factory=Directory)
    """The tags that are carried over."""
    photometric: int = 1
    """0 white is zero, 1 black is zero, 2 RGB."""
    planar: bool = False
    """Each sample has a plane of its own."""
    tile: tuple[int, int] | None = None
    """(height, width); None for strips."""
    strip: int = 0
    """Rows per strip."""
    extra_codes: tuple[int, ...] = ()
    """What each sample beyond gray or RGB means."""
    extras: NDArray[Any] | None = None
    """(H, W, n) samples beyond gray or RGB and one alpha, copied."""


class PageReader:
    """Reads one page."""

    def __init__(self, data: bytes, kind: Kind, page: Directory) -> None:
        self._data, self._kind, self._page = data, kind, page
        self._tags = PageTags(kind, page)
        self.notes: list[str] = []
        self.size = (self._tags.number(256, 0), self._tags.number(257, 0))
        """(width, height)."""

    def read(self) -> tuple[Pixels, PageLayout]:
        """Decode the page.

        Raises:
            ImageError: damaged, or of a kind that is not supported.
        """
        stored = check_page(self._tags)
        if 330 in self._page.tags:
            self.notes.append("smaller or other pictures inside the page were left out.")
        tags = {code: tag for code, tag in self._page.tags.items() if code not in _LAYOUT_TAGS}
        if 274 in tags and not 1 <= self._tags.number(274, 0) <= 8:
            self.notes.append("its orientation is none of the eight and was left out.")
            del tags[274]
        pixels, photometric = self._in_rgb(self._whole(stored), stored, tags)
        if pixels.dtype.kind == "f":
            self._check_floats(pixels)
        seen = 3 if photometric == RGB else 1
        codes = self._tags.numbers(338)[: pixels.shape[2] - seen]
        codes += (0,) * (pixels.shape[2] - seen - len(codes))
        layout = PageLayout(
            self._block_to_write(stored, pixels.dtype),
            Directory(tags, dict(self._page.children)),
            photometric,
            self._tags.number(284, 1) == 2,
            self._tile(),
            self._strip(),
            codes,
            np.ascontiguousarray(pixels[..., seen + 1 :]) if len(codes) > 1 else None,
        )
        return squeezed(pixels[..., : seen + 1]), layout

    def _in_rgb(
        self, stored: NDArray[Any], how: Stored, tags: dict[int, Tag]
    ) -> tuple[NDArray[Any], int]:
        """Turn samples as stored to gray or RGB of a whole depth; also its photometric."""
        bits, photometric = how.block.bits, how.photometric
        colour, extra = np.split(stored, [PHOTOMETRICS[photometric]], axis=2)
        if photometric in CONVERTED:
            colour = self._converted(photometric, colour, tags)
            # A palette's alpha has as many bits as its index; the colours have 8.
            extra = widened(extra, bits) if bits not in (8, 16) else extra
            extra = extra if extra.dtype == colour.dtype else (extra >> 8).astype(np.uint8)
            for code in _OLD_COLOUR_TAGS:
                tags.pop(code, None)
            return np.dstack([colour, extra]), RGB
        if photometric == YCBCR:
            tags.pop(532, None)
            if how.block.compression != JPEG:
                self.notes.append("YCbCr became RGB.")
                image = Image.frombuffer("YCbCr", self.size, np.ascontiguousarray(colour))
                colour = np.asarray(image.convert("RGB"))
            return np.dstack([colour, extra]), RGB
        pixels = stored
        if bits not in (8, 16) and stored.dtype.kind == "u":
            pixels = widened(stored, bits)
        if bits < 8:
            what = "1 bit became gray" if bits == 1 else f"{bits} bits per sample became samples"
            self.notes.append(f"{what} with 8 bits.")
        if photometric == WHITE_IS_ZERO and stored.dtype.kind == "u":
            pixels = np.dstack([~pixels[..., :1], pixels[..., 1:]])
        return pixels, photometric

    def _block_to_write(self, stored: Stored, dtype: np.dtype[Any]) -> Block:
        """Keep depth, compression and prediction where the new pixels can have them."""
        compression, predictor = stored.block.compression, stored.block.predictor
        if compression not in WRITABLE:
            self.notes.append("its compression became deflate, which loses nothing.")
            compression, predictor = DEFLATE, 2
        bits = stored.block.bits
        if bits < 8 or stored.photometric in CONVERTED:
            bits = 8 * dtype.itemsize
        if predictor == 2 and dtype.kind == "f":
            predictor = 1
        return Block(self._kind, compression, predictor, bits, dtype)

    def _tile(self) -> tuple[int, int] | None:
        if 324 not in self._page.tags and 322 not in self._page.tags:
            return None
        width, height = self._tags.number(322, 0), self._tags.number(323, 0)
        if not 0 < width <= 65536 or not 0 < height <= 65536:
            raise ImageError("cannot be decoded, the file may be damaged (tiles).")
        return height, width

    def _strip(self) -> int:
        return max(1, min(self._tags.number(278, self.size[1]), self.size[1]))

    def _whole(self, stored: Stored) -> NDArray[Any]:
        """Decode all segments to (H, W, samples) as stored."""
        block, samples = stored.block, stored.samples
        width, height = self.size
        segments = segments_of(self._data, self._page, self._kind)
        if self._tags.number(266, 1) == 2 and block.compression not in CCITT:
            segments = [_mirrored(segment) for segment in segments]
        separate = self._tags.number(284, 1) == 2 and samples > 1
        one = 1 if separate else samples
        tile = self._tile()
        down, over = tile or (self._strip(), width)
        # Told sizes alone must not cost memory, so they are compared before anything is made.
        if -(-height // down) * -(-width // over) * (samples if separate else 1) > len(segments):
            raise ImageError("cannot be decoded, the file may be damaged (pixels are missing).")
        if down * over > 64 * width * height + 2**20:
            raise ImageError("cannot be decoded, the file may be damaged (tiles).")
        areas = list(_areas((height, width), tile, self._strip()))
        whole = np.empty((height, width, samples), block.dtype)
        for plane in range(samples if separate else 1):
            part = segments[plane * len(areas) : (plane + 1) * len(areas)]
            rows = [tile[0] if tile else area[0].stop - area[0].start for area in areas]
            across = tile[1] if tile else width
            if block.compression == JPEG:
                decoded: Any = unpack_jpeg(part, self._page, self._kind, rows, across)
            elif block.compression in CCITT:
                decoded = unpack_fax(part, self._page, self._kind, rows, across)
            else:
                decoded = unpack_segments(part, block, rows, across, one)
            target = whole[..., plane : plane + 1] if separate else whole
            for (lines, columns), array in zip(areas, decoded, strict=True):
                inside = (lines.stop - lines.start, columns.stop - columns.start)
                if array.shape[2] != target.shape[2]:
                    raise ImageError("cannot be decoded, the file may be damaged (samples).")
                target[lines, columns] = array[: inside[0], : inside[1]]
        return whole

    def _converted(
        self, photometric: int, stored: NDArray[Any], tags: dict[int, Tag]
    ) -> NDArray[Any]:
        if photometric == PALETTE:
            table = np.array(self._tags.numbers(320), np.uint16)
            entries = 1 << self._tags.number(258, 1)
            if table.size < 3 * entries:
                raise ImageError("cannot be decoded, the file may be damaged (palette).")
            colours = (table[: 3 * entries].reshape(3, entries).T >> 8).astype(np.uint8)
            self.notes.append("the palette became RGB.")
            found: NDArray[Any] = colours[stored[..., 0]]
            return found
        if photometric == CMYK:
            profile = tags.pop(ICC).data if ICC in tags else None
            rgb, told, is_srgb = cmyk_to_rgb(stored, profile)
            self.notes.append(told)
            if not is_srgb:
                return rgb
        else:
            rgb = stored_lab_to_rgb(stored, offset=photometric == ICCLAB)
            self.notes.append("LAB became sRGB.")
        tags[ICC] = Tag(7, len(srgb_profile()), srgb_profile())
        return rgb

    def _check_floats(self, pixels: NDArray[Any]) -> None:
        low, high = float(pixels.min()), float(pixels.max())
        if not np.isfinite(low) or not np.isfinite(high):
            raise ImageError(
                "holds values that are no finite numbers; the network would spread them. Fill "
                "them first."
            )
        if low < -1 or high > 2:
            self.notes.append(
                f"values reach from {low:.4g} to {high:.4g}; the network expects black at 0 and "
                "white at 1."
            )


def page_to_write(
    pixels: Pixels, layout: PageLayout
) -> tuple[Directory, tuple[int, int], list[bytes]]:
    """Encode a page; the result is what `write_directories` takes."""
    whole = planes(pixels)
    if layout.extras is not None:
        whole = np.dstack([whole, layout.extras])
    if layout.photometric == 0 and whole.dtype.kind == "u":
        whole = np.dstack([~whole[..., :1], whole[..., 1:]])
    block = replace(layout.block, dtype=whole.dtype)
    if block.bits % 8:
        whole = narrowed(whole, block.bits)
    height, width, samples = whole.shape
    areas = list(_areas((height, width), layout.tile, max(1, layout.strip)))
    parts = []
    separate = layout.planar and samples > 1
    for plane in range(samples if separate else 1):
        source = whole[..., plane : plane + 1] if separate else whole
        for lines, columns in areas:
            part = source[lines, columns]
            if layout.tile:
                below, beside = (
                    full - got for full, got in zip(layout.tile, part.shape[:2], strict=True)
                )
                part = np.pad(part, ((0, below), (0, beside), (0, 0)), mode="edge")
            parts.append(part)
    segments = []
    for start in range(0, len(parts), len(areas)):  # a short last strip ends each plane
        segments += pack_segments(parts[start : start + len(areas)], block)
    directory = _layout_tags(layout, whole, block)
    return directory, (324, 325) if layout.tile else (273, 279), segments


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


def _areas(
    size: tuple[int, int], tile: tuple[int, int] | None, strip: int
) -> Iterator[tuple[slice, slice]]:
    """List the part of the image (rows, columns) that each strip or tile holds."""
    height, width = size
    down, across = tile or (strip, width)
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield slice(top, min(top + down, height)), slice(left, min(left + across, width))


def _mirrored(segment: bytes) -> bytes:
    """Turn the bits of each byte around (FillOrder 2)."""
    bits = np.unpackbits(np.frombuffer(segment, np.uint8).reshape(-1, 1), axis=1)
    return np.packbits(bits[:, ::-1], axis=1).tobytes()
