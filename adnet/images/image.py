"""Read and write image files without losing anything silently.

What the formats can hold is kept, see `adnet.images.formats`; what cannot be kept is named in the
file's notes, or the file is refused with the reason.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adnet.atomic import write_atomically
from adnet.errors import ImageError, UsageError
from adnet.images.float_range import extent, require_nominal
from adnet.images.formats.codec import (
    DEFAULT_MAX_PIXELS,
    check_writable,
    decode_image,
    encode_image,
    target_format,
)
from adnet.images.formats.image_file import ImageFile, Pixels
from adnet.images.formats.kinds import FORMATS
from adnet.images.levels import to_levels
from adnet.images.scan import Found, scan_folder

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "FORMATS",
    "ImageFile",
    "check_writable",
    "find_images",
    "find_in_folder",
    "load_folder",
    "load_image",
    "read_image",
    "require_file",
    "target_format",
    "write_image",
]

_log = logging.getLogger(__name__)

_MOST_BYTES_PER_PIXEL = 64
"""Of a file: four doubles and as much metadata again. Larger ones are not even read."""


def read_image(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageFile:
    """Decode an image file.

    Pixels are as stored; an orientation stays in the metadata and is written back, so viewers show
    input and output alike.

    Args:
        max_pixels: of all frames or pages together.

    Raises:
        ImageError: the file is damaged, too large, or of a kind that is not supported.
    """
    require_file(path, max_pixels)
    try:
        data = path.read_bytes()
    except FileNotFoundError as err:
        raise ImageError(f"{path}: no such file.") from err
    except OSError as err:
        raise ImageError(f"{path}: cannot be read: {err.strerror or err}.") from err
    return decode_image(data, str(path), max_pixels)


def require_file(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> int:
    """Make sure that there is a file of a plausible size; returns that, in bytes.

    Raises:
        ImageError: there is none, or something else.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise ImageError(f"{path}: not a file; a folder, pipe or device holds no image.")
        if about.st_size > max_pixels * _MOST_BYTES_PER_PIXEL + 2**28:
            raise ImageError(
                f"{path}: {about.st_size / 1e6:.0f} MB are too much for an image within the limit "
                f"of {max_pixels / 1e6:.0f} megapixels. If you trust the file, raise --max-pixels."
            )
    except FileNotFoundError as err:
        raise ImageError(f"{path}: no such file.") from err
    except OSError as err:
        raise ImageError(f"{path}: cannot be read: {err.strerror or err}.") from err
    return about.st_size


def load_folder(folder: Path, channels: int) -> dict[str, NDArray[np.uint8]]:
    """Read the images of a folder and its sub-folders, to train on or to measure with.

    Args:
        channels: 1 converts to gray (ITU-R 601 luma, rounded to 8 bits), 3 to RGB; alpha is
            dropped, and so is what goes beyond 8 bits.

    Returns:
        Relative path -> (H, W) or (H, W, 3) array, sorted by path.

    Raises:
        UsageError: no such folder, or no image in it.
        ImageError: a file cannot be decoded, or has several frames.
    """
    return {
        path.relative_to(folder).as_posix(): load_image(path, channels)
        for path in find_images(folder)
    }


def load_image(path: Path, channels: int) -> NDArray[np.uint8]:
    """Read one image as gray or RGB; see `load_folder`."""
    file = read_image(path)
    if file.more:
        raise ImageError(
            f"{path}: has {len(file.frames)} frames or pages; expected one image. Split it into "
            "files first."
        )
    try:
        require_nominal(extent([file.pixels], file.colour_channels))
    except ImageError as err:
        raise ImageError(f"{path}: {err}") from err
    mode = "L" if channels == 1 else "RGB"
    return np.asarray(Image.fromarray(_to_bytes(file.pixels)).convert(mode))


def find_images(folder: Path) -> list[Path]:
    """List all images below `folder`, sorted; hidden files and folders are left out.

    The log names what else is there; see `scan` for links and what is no file.

    Raises:
        UsageError: no such folder, it cannot be read, or no image in it.
    """
    found = find_in_folder(folder)
    for path, reason in found.unreadable:
        _log.warning("warning: %s: %s", path, reason)
    for path, reason in found.left_out:
        _log.info("note: %s: left out: %s", path, reason)
    if found.other_files:
        _log.info("note: %s: ignored: %s", folder, found.describe_other_files())
    return found.images


def find_in_folder(folder: Path) -> Found:
    """Find the images below `folder`, and what else is there.

    Raises:
        UsageError: no such folder, it cannot be read, or no image in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    found = scan_folder(folder, FORMATS)
    if not found.images:
        what = [f"no image in this folder ({', '.join(FORMATS)})"]
        what += [f"{path} {reason}" for path, reason in found.unreadable[:1]]
        what += [f"ignored: {found.describe_other_files()}"] if found.other_files else []
        what += [f"left out: {path}, {reason}" for path, reason in found.left_out[:1]]
        raise UsageError(f"{folder}: {'; '.join(what)}.")
    return found


def write_image(path: Path, pixels: Pixels | Sequence[Pixels], like: ImageFile) -> None:
    """Write `pixels` with the metadata of `like`; the file appears whole or not at all.

    The format is that of `like`, unless the suffix of `path` asks for another; see `encode_image`.

    Args:
        pixels: same shape rules as `ImageFile.pixels`; for an image of several frames, all of them.

    Raises:
        ImageError: the format cannot hold these pixels, or the disk is full or read-only.
    """
    try:
        data = encode_image(pixels, like, target_format(like, path))
    except ImageError as err:
        raise ImageError(f"{path}: {err}") from err
    try:
        write_atomically(path, data)
    except OSError as err:
        raise ImageError(f"{path}: cannot be written: {err.strerror or err}.") from err


def _to_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Round to 8 bits, white at 255."""
    if pixels.dtype == np.uint8:
        return pixels
    white = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    return to_levels(pixels.astype(np.float32) / white)
