"""Read and write images without losing anything silently.

Read today: 8 bits per sample; gray or RGB, with or without alpha; palettes are expanded. Whatever
else Pillow can open (16 bits, CMYK, several frames ...) is refused with the reason.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from adnet.atomic import write_atomically
from adnet.errors import ImageError, UsageError
from adnet.image_kinds import PILLOW_FORMATS, gray_depth, refuse_unsupported, unreadable_reason
from adnet.image_metadata import options_for, orientations, save_options, turn_back

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""Suffix -> Pillow's format name; what adnet-run takes."""

DEFAULT_MAX_PIXELS = 89_478_485
"""Pillow's own limit (a quarter of a gigabyte of RGB); larger images may be decompression bombs."""

_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files."""
_ENCODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, AttributeError, OverflowError,
    MemoryError, struct.error,
)  # fmt: skip
"""What Pillow's encoders raise on metadata that the format cannot hold, or the disk on writing."""

_open_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One decoded image and what is needed to write its like."""

    pixels: NDArray[np.uint8]
    """(H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB, (H, W, 4) RGB and alpha."""
    format: str
    """Pillow's name of the format that the file really had."""
    save_options: dict[str, Any] = field(default_factory=dict)
    """EXIF, ICC profile, resolution and lossless-or-not, as `Image.save` takes them."""

    @property
    def colour_channels(self) -> int:
        """1 for gray, 3 for RGB; alpha not counted."""
        return 1 if self.pixels.ndim == 2 or self.pixels.shape[2] == 2 else 3


def read_image(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageFile:
    """Decode an image file.

    Pixels are as stored; an EXIF orientation stays in the EXIF block and is written back, so
    viewers show input and output alike.

    Raises:
        ImageError: the file is damaged, too large, or of a kind that is not supported yet.
    """
    try:
        # Opened by name, Pillow would map the pixels of some TIFFs into memory, and mix up width
        # and height where they are to be turned.
        with path.open("rb") as file, _opened(file) as image:
            format_name = str(image.format)
            count = image.width * image.height
            if count > max_pixels:
                raise ImageError(
                    f"{path}: {image.width}x{image.height} is {count / 1e6:.0f} megapixels, more "
                    f"than the limit of {max_pixels / 1e6:.0f} that guards against decompression "
                    f"bombs. If you trust the file, pass --max-pixels {count}."
                )
            refuse_unsupported(image, path)
            orientation, turned = orientations(image)
            depth = gray_depth(image)
            image.load()
            options = save_options(image, path, orientation)
            decoded = _expand(turn_back(image, turned), depth)
            pixels = np.asarray(decoded)
    except ImageError:
        raise
    except FileNotFoundError as err:
        raise ImageError(f"{path}: no such file.") from err
    except UnidentifiedImageError as err:
        raise ImageError(f"{path}: {unreadable_reason(path)}.") from err
    except _DECODER_ERRORS as err:
        raise ImageError(f"{path}: cannot be decoded, the file may be damaged ({err}).") from err
    return ImageFile(pixels, format_name, options)


def load_folder(folder: Path, channels: int) -> dict[str, NDArray[np.uint8]]:
    """Read the images of a folder and its sub-folders, to train on or to measure with.

    Args:
        channels: 1 converts to gray (ITU-R 601 luma, rounded to 8 bits), 3 to RGB; alpha is
            dropped.

    Returns:
        Relative path -> (H, W) or (H, W, 3) array, sorted by path.

    Raises:
        UsageError: no such folder, or no image in it.
        ImageError: a file cannot be decoded.
    """
    return {
        path.relative_to(folder).as_posix(): load_image(path, channels)
        for path in find_images(folder)
    }


def load_image(path: Path, channels: int) -> NDArray[np.uint8]:
    """Read one image as gray or RGB; see `load_folder`."""
    mode = "L" if channels == 1 else "RGB"
    return np.asarray(Image.fromarray(read_image(path).pixels).convert(mode))


def find_images(folder: Path) -> list[Path]:
    """List all images below `folder`, sorted; hidden files and folders are left out.

    Raises:
        UsageError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    found = []
    seen: set[str] = set()  # symbolic links may form a circle
    for root, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(root, name)
            for name in files
            if Path(name).suffix.lower() in FORMATS and not name.startswith(".")
        ]
    if not found:
        raise UsageError(f"{folder}: no image in this folder ({', '.join(FORMATS)}).")
    return sorted(found)


def write_image(path: Path, pixels: NDArray[np.uint8], like: ImageFile) -> None:
    """Write `pixels` with the metadata of `like`; the file appears whole or not at all.

    The format is that of `like`, unless the suffix of `path` asks for another. Lossy formats are
    written at quality 95 without chroma subsampling.

    Args:
        pixels: same shape rules as `ImageFile.pixels`.

    Raises:
        ImageError: the format cannot hold these pixels, or the disk is full or read-only.
    """
    source = "JPEG" if like.format == "MPO" else like.format
    wanted = FORMATS.get(path.suffix.lower(), source)
    if wanted not in PILLOW_FORMATS:
        raise ImageError(f"{path}: give the output a name with one of {', '.join(FORMATS)}.")
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if wanted in ("JPEG", "BMP") and channels in (2, 4):
        raise ImageError(
            f"{path}: {wanted} cannot hold transparency, which the input has. "
            "Give the input (or the output) a .png name."
        )
    options, pixels = options_for(like.save_options, wanted, wanted == source, pixels)
    if wanted == "WEBP" and channels < 3 and options.get("icc_profile", b"")[16:20] == b"GRAY":
        raise ImageError(
            f"{path}: WebP has no gray, and the input has a colour profile for gray. "
            "Give the output a .png name."
        )
    try:
        # Pillow writes to a file without a look at how much arrived: a full disk would leave half
        # an image under its final name.
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, wanted, **_defaults(wanted), **options)
        write_atomically(path, encoded.getbuffer())
    except _ENCODER_ERRORS as err:
        reason = getattr(err, "strerror", None) or err
        raise ImageError(f"{path}: cannot be written: {reason}.") from err


def _opened(file: IO[bytes]) -> Image.Image:
    """Let Image.open read headers of any size, so that `max_pixels` alone decides.

    Pillow's limit is a module global; the lock and the restore keep other users of Pillow in this
    process protected.
    """
    with _open_lock:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(file, formats=PILLOW_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _expand(image: Image.Image, depth: int) -> Image.Image:
    """Turn a palette or a transparent colour into plain gray or RGB, with alpha if needed.

    Args:
        depth: bits per sample in the file: those that a transparent colour is told in.
    """
    transparent = image.info.get("transparency")
    if image.mode == "PA":
        return image.convert("RGBA")
    if image.mode == "P":
        return image.convert("RGB" if transparent is None else "RGBA")
    if transparent is None:
        return image
    if image.mode == "L":
        top = 2**depth - 1  # Pillow scales the pixels to 8 bits, but not this one
        image.info["transparency"] = (transparent & top) * (255 // top)
        return image.convert("LA")
    image.info["transparency"] = tuple(value & 255 for value in transparent)
    return image.convert("RGBA")


def _defaults(format_name: str) -> dict[str, Any]:
    if format_name == "JPEG":
        return {"quality": 95, "subsampling": 0}
    if format_name == "WEBP":
        return {"quality": 95, "method": 4}
    if format_name == "PNG":
        return {"compress_level": 6}
    return {}
