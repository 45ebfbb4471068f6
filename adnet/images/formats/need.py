"""How much memory an image takes as a whole, told from its header, before it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from adnet.images.formats.image_file import ImageFile, stand_in
from adnet.images.formats.kinds import format_of
from adnet.images.formats.through_pillow import limit_lifted

_READING = {"PNG": 1.5, "TIFF": 2.0, "JPEG": 3.0, "WEBP": 4.6, "GIF": 2.5, "BMP": 4.0}
_WRITING = {"PNG": 2.2, "TIFF": 2.7, "JPEG": 1.5, "WEBP": 5.2, "GIF": 14.0, "BMP": 5.0}
"""Bytes beside the pixels (when writing, of input and result) for each byte of pixels; measured on
noisy images of every mode, which compress badly."""
_SMALL = 8 << 20
"""Work memory that does not grow with the image."""
_FORMATS = ("JPEG", "WEBP", "GIF", "BMP")
_SIGNATURE = 32
"""Bytes that tell the format."""


def whole_bytes(file: ImageFile, wanted: str, size: int) -> int:
    """Return about how many bytes it takes to read, denoise and write an image as a whole.

    Args:
        file: may have stand-ins for pixels.
        wanted: the format to write.
        size: of the file that is read.
    """
    pixels = sum(frame.nbytes for frame in file.frames)
    reading = size + (1 + _READING[file.format]) * pixels
    writing = (2 + _WRITING[wanted]) * pixels
    return _SMALL + int(max(reading, writing))


def glance(path: Path) -> ImageFile | None:
    """Read the header of an image that is neither PNG nor TIFF; its pixels are stand-ins.

    Returns:
        None for what Pillow does not open: `decode_image` says why, or needs little memory.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        # Not what Pillow calls it: it has more names, such as MPO for a JPEG of several pictures.
        kind = format_of(file.read(_SIGNATURE))
        if kind not in _FORMATS:
            return None
        try:
            with limit_lifted():
                image = Image.open(file, formats=(kind,))
            count = getattr(image, "n_frames", 1) if kind in ("WEBP", "GIF") else 1
        except Exception:  # noqa: BLE001  (Pillow's readers raise whatever a damaged file makes them)
            return None
        width, height = image.size
        # A palette becomes RGB, and in GIF there may be transparency.
        channels = {"L": 1, "LA": 2, "RGBA": 4, "RGBX": 4}.get(image.mode, 3)
        channels = 4 if kind == "GIF" else channels
        frame = stand_in((height, width, channels), np.uint8)
        return ImageFile(frame, kind, more=(frame,) * (count - 1))
