"""JPEG: pixels through Pillow, metadata segments as they were."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats.colour import cmyk_to_rgb, srgb_profile
from adnet.images.formats.image_file import (
    ImageFile,
    Pixels,
    exif_with_orientation,
    orientation_of,
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


@dataclass(frozen=True, slots=True)
class JpegLayout:
    """What a JPEG file holds beside its pixels."""

    segments: tuple[Segment, ...] = ()
    progressive: bool = False

    @property
    def only_here(self) -> list[str]:
        """Segments that only JPEG has."""
        return only_jpeg_has(self.segments)

    def stripped(self) -> JpegLayout:
        """Keep colour, resolution and orientation."""
        upright = exif_with_orientation(orientation_of(read_portable(self.segments).exif))
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
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels, told, is_srgb = cmyk_to_rgb(pixels, read_portable(kept).icc)
        notes.append(told)
        kept = [segment for segment in kept if not is_icc(segment)]
        kept += icc_segments(srgb_profile()) if is_srgb else []
    progressive = any(segment.marker in _PROGRESSIVE for segment in segments)
    layout = JpegLayout(tuple(kept), progressive)
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
    """Write a JPEG file at quality 95 without chroma subsampling; see `codec.encode_image`."""
    same = isinstance(like.layout, JpegLayout)
    layout = like.layout if same else JpegLayout(tuple(portable_segments(like.portable)))
    file = io.BytesIO()
    Image.fromarray(frames[0]).save(
        file, "JPEG", quality=95, subsampling=0, progressive=layout.progressive
    )
    written, scans, _ = split_segments(file.getvalue())
    plain = [segment for segment in written if not segment.is_metadata]
    return join_segments([*layout.segments, *plain], scans)
