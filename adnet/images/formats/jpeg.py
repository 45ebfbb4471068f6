"""JPEG: pixels through Pillow, metadata segments as they were."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats.colour import cmyk_to_rgb, srgb_profile
from adnet.images.formats.exif import stripped_exif
from adnet.images.formats.image_file import (
    ImageFile,
    Pixels,
    require_pixels,
)
from adnet.images.formats.jpeg_segments import (
    COLOUR_MARKS,
    Segment,
    carried,
    icc_segments,
    is_icc,
    join_segments,
    look_segments,
    only_jpeg_has,
    portable_segments,
    read_portable,
    split_segments,
)
from adnet.images.formats.through_pillow import opened

MAX_SIDE = 65_500
"""libjpeg's limit; the format's is 65,535."""

_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_FRAMES = tuple(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))
"""Markers of frame headers; their first byte is the number of bits per sample."""


_SAMPLINGS: dict[tuple[float, float], str] = {
    (1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0",
    (4, 2): "4:1:0",
}  # fmt: skip
"""Luma over chroma, across and down -> name."""
_WRITABLE = ((1, 1), (2, 1), (2, 2))
"""What Pillow writes as 0, 1 and 2."""


class Coding(NamedTuple):
    """How strongly a JPEG is compressed."""

    tables: tuple[tuple[int, ...], ...]
    """Of quantisation, one for each component."""
    subsampling: int
    """0: none; 1: chroma at half the width, 2: at half of both sides."""
    other: str = ""
    """How the file was subsampled, where that cannot be written."""
    rgb: bool = False
    """Red, green and blue are stored as they are, not as luma and chroma."""


@dataclass(frozen=True, slots=True)
class JpegLayout:
    """What a JPEG file holds beside its pixels."""

    segments: tuple[Segment, ...] = ()
    progressive: bool = False
    coding: Coding | None = None
    """How strongly it was compressed; None where that cannot be had again."""

    @property
    def only_here(self) -> list[str]:
        """Segments that only JPEG has."""
        return only_jpeg_has(self.segments)

    def stripped(self) -> JpegLayout:
        """Keep colour, resolution and orientation."""
        upright = stripped_exif(read_portable(self.segments).exif)
        return replace(self, segments=tuple(look_segments(self.segments, upright)))


def decode(data: bytes, limit: int) -> ImageFile:
    """Read a JPEG file; see `codec.decode_image`."""
    segments, scans, trailing = split_segments(data)
    _require_known(segments)
    kept, notes = carried(segments)
    if trailing > 16 and not notes:  # cameras fill up files with a few zeros
        notes.append(f"{trailing} bytes after the end of the image were left out.")
    # Pillow gets no metadata: it would read some of it, and a bad block must not cost the image.
    plain = [one for one in segments if not one.is_metadata or one.data.startswith(COLOUR_MARKS)]
    with opened(join_segments(plain, scans), "JPEG") as image:
        require_pixels([image.size], limit)
        image.load()
        if image.mode not in ("L", "RGB", "CMYK"):
            raise ImageError(f"is a JPEG of kind {image.mode}, which is not supported.")
        pixels: Pixels = np.asarray(image)
        coding = _coding(image)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels, told, is_srgb = cmyk_to_rgb(pixels, read_portable(kept).icc)
        notes.append(told)
        kept = [segment for segment in kept if not is_icc(segment)]
        kept += icc_segments(srgb_profile()) if is_srgb else []
    progressive = any(segment.marker in _PROGRESSIVE for segment in segments)
    layout = JpegLayout(tuple(kept), progressive, coding)
    return ImageFile(pixels, "JPEG", layout, read_portable(kept), tuple(notes))


def _require_known(segments: Sequence[Segment]) -> None:
    """Name the rare kinds of JPEG; Pillow would call them damaged.

    Source: ITU-T T.81, table B.1.
    """
    for marker, data in segments:
        if marker not in _FRAMES or not data:
            continue
        kind = "a lossless JPEG" if marker in _LOSSLESS else f"a JPEG of {data[0]} bits"
        if marker in _LOSSLESS or data[0] != 8:
            raise ImageError(
                f"is {kind}, which is not supported. Convert it to PNG or TIFF of 16 bits first, "
                "for example with djpeg of libjpeg-turbo 3."
            )


def encode(frames: Sequence[Pixels], like: ImageFile) -> bytes:
    """Write a JPEG file; see `codec.encode_image`.

    One that was a JPEG gets its quantisation tables and subsampling back, unless `like.quality`
    says otherwise; what was none, quality 95 without chroma subsampling.
    """
    same = isinstance(like.layout, JpegLayout)
    layout = like.layout if same else JpegLayout(tuple(portable_segments(like.portable)))
    file = io.BytesIO()
    how: dict[str, Any] = {"quality": like.quality or 95, "subsampling": 0, "keep_rgb": False}
    coding = layout.coding if like.quality is None else None
    if coding is not None:
        how = {"qtables": coding.tables, "subsampling": coding.subsampling, "keep_rgb": coding.rgb}
    Image.fromarray(frames[0]).save(file, "JPEG", progressive=layout.progressive, **how)
    written, scans, _ = split_segments(file.getvalue())
    # Only RGB needs a mark of Pillow's: Adobe's, that it is that.
    plain = [one for one in written if how["keep_rgb"] or not one.is_metadata]
    return join_segments([*layout.segments, *plain], scans)


def changes(image: ImageFile) -> tuple[str, ...]:
    """Say what a JPEG written like `image`, which was one, has otherwise; see `encode`."""
    if image.quality is not None or not isinstance(image.layout, JpegLayout):
        return ()
    coding = image.layout.coding
    if coding is None:
        return ("its quantisation tables cannot be written, so it got quality 95.",)
    if coding.other:
        now = _SAMPLINGS[_WRITABLE[coding.subsampling]]
        return (f"the subsampling {coding.other} became {now}, the nearest that can be written.",)
    return ()


def _coding(image: Image.Image) -> Coding | None:
    """Read tables and subsampling; None where tables are missing."""
    layers = getattr(image, "layer", [])
    tables = getattr(image, "quantization", {})
    try:
        # CMYK becomes RGB: the fourth, black, has no counterpart.
        found = tuple(tuple(max(1, step) for step in tables[one[3]]) for one in layers[:3])
    except KeyError:
        return None
    if len(found) != min(3, len(image.getbands())) or any(len(one) != 64 for one in found):
        return None
    if image.mode == "L":
        return Coding(found, 0)
    rgb = _stored_as_rgb(image)
    return Coding(found, *_sampling([one[1:3] for one in layers[:3]], rgb), rgb)


def _sampling(factors: Sequence[tuple[int, int]], rgb: bool) -> tuple[int, str]:
    """Choose the coarsest subsampling that can be written and loses nothing; name another one."""
    (wide, high), *chroma = factors
    ratios = {(wide / one, high / two) for one, two in chroma}
    across, down = (min(side) for side in zip(*ratios, strict=True))
    writable = _WRITABLE[:1] if rgb else _WRITABLE
    fits = [at for at, one in enumerate(writable) if one[0] <= across and one[1] <= down]
    chosen = fits[-1] if fits else 0
    if ratios == {_WRITABLE[chosen]}:
        return chosen, ""
    name = _SAMPLINGS.get((across, down)) if len(ratios) == 1 else None
    return chosen, name or ",".join(f"{one}x{two}" for one, two in factors)


def _stored_as_rgb(image: Image.Image) -> bool:
    """Decide as libjpeg does: JFIF is YCbCr, then Adobe's mark counts, then the components' names.

    Source: libjpeg-turbo, jdapimin.c, default_decompress_parms.
    """
    if image.mode != "RGB" or "jfif" in image.info:
        return False
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 0)
    return bytes(one[0] for one in getattr(image, "layer", [])) == b"RGB"
