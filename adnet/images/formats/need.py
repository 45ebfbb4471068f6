"""How much memory an image takes as a whole, told from its header, before it is read."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from adnet.images.formats.image_file import ImageFile, stand_in
from adnet.images.formats.through_pillow import limit_lifted

_READING = {"PNG": 1.5, "TIFF": 2.0, "JPEG": 3.0, "WEBP": 4.6, "GIF": 2.5, "BMP": 4.0}
_WRITING = {"PNG": 2.2, "TIFF": 2.7, "JPEG": 1.5, "WEBP": 5.2, "GIF": 14.0, "BMP": 5.0}
"""Bytes beside the pixels (when writing, of input and result) for each byte of pixels; measured on
noisy images of every mode, which compress badly."""
_SMALL = 8 << 20
"""Work memory that does not grow with the image."""
_FORMATS = ("JPEG", "WEBP", "GIF", "BMP")


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
    """
    with ExitStack() as stack:
        try:
            with limit_lifted():
                image = stack.enter_context(Image.open(path, formats=_FORMATS))
            count = getattr(image, "n_frames", 1) if image.format in ("WEBP", "GIF") else 1
        except Exception:  # noqa: BLE001  (Pillow's readers raise whatever a damaged file makes them)
            return None
        width, height = image.size
        # A palette becomes RGB, and in GIF there may be transparency.
        channels = {"L": 1, "LA": 2, "RGBA": 4, "RGBX": 4}.get(image.mode, 3)
        channels = 4 if image.format == "GIF" else channels
        frame = stand_in((height, width, channels), np.uint8)
        return ImageFile(frame, image.format or "", more=(frame,) * (count - 1))
