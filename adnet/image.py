"""Read and write images without losing anything silently.

Read today: 8 bits per sample; gray or RGB, with or without alpha; palettes are expanded. Whatever
else Pillow can open (16 bits, CMYK, several frames ...) is refused with the reason.
"""

from __future__ import annotations

import logging
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from adnet.atomic import atomic_path
from adnet.errors import ImageError, UsageError
from adnet.scan import Found, scan_folder

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

_READABLE_MODES = {"L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "P": None, "PA": "RGBA"}
_LOSSLESS_TIFF = {"raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"}
_TIFF_TAGS = (270, 271, 272, 274, 305, 306, 315, 33432)
"""Description, make, model, orientation, software, date, artist, copyright."""

_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files."""

_log = logging.getLogger(__name__)
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
        with _pillow_limit_lifted():
            opened = Image.open(path)
        with opened as image:
            count = image.width * image.height
            if count > max_pixels:
                raise ImageError(
                    f"{path}: {image.width}x{image.height} is {count / 1e6:.0f} megapixels, more "
                    f"than the limit of {max_pixels / 1e6:.0f} that guards against decompression "
                    f"bombs. If you trust the file, pass --max-pixels {count}."
                )
            _refuse_unsupported(image, path)
            options = _save_options(image, path)
            image.load()
            if image.mode == "P" or "transparency" in image.info:
                image = _expand(image)  # noqa: PLW2901  (the opened file is closed either way)
            pixels = np.asarray(image)
    except ImageError:
        raise
    except FileNotFoundError as err:
        raise ImageError(f"{path}: no such file.") from err
    except UnidentifiedImageError as err:
        size = path.stat().st_size
        what = "the file is empty" if size == 0 else "not an image that can be read"
        raise ImageError(f"{path}: {what}.") from err
    except _DECODER_ERRORS as err:
        raise ImageError(f"{path}: cannot be decoded, the file may be damaged ({err}).") from err
    return ImageFile(pixels, str(opened.format), options)


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

    What else is there is told in the log; see `adnet.scan` for links and files that are none.

    Raises:
        UsageError: no such folder, it cannot be read, or no image in it.
    """
    found = find_in_folder(folder)
    for path, reason in found.unreadable:
        _log.warning("warning: %s: %s", path, reason)
    for path, reason in found.left_out:
        _log.info("note: %s: left out: %s", path, reason)
    if found.other_files:
        _log.info("note: %s: not taken: %s", folder, found.describe_other_files())
    return found.images


def find_in_folder(folder: Path) -> Found:
    """Find the images below `folder`, and what is not taken.

    Raises:
        UsageError: no such folder, it cannot be read, or no image in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    found = scan_folder(folder, FORMATS)
    if not found.images:
        what = [f"no image in this folder ({', '.join(FORMATS)})"]
        what += [f"{path} {reason}" for path, reason in found.unreadable[:1]]
        what += [f"not taken: {found.describe_other_files()}"] if found.other_files else []
        what += [f"left out: {path}, {reason}" for path, reason in found.left_out[:1]]
        raise UsageError(f"{folder}: {'; '.join(what)}.")
    return found


def write_image(path: Path, pixels: NDArray[np.uint8], like: ImageFile) -> None:
    """Write `pixels` with the metadata of `like`; the file appears whole or not at all.

    The format is that of `like`, unless the suffix of `path` asks for another. Lossy formats are
    written at quality 95 without chroma subsampling.

    Args:
        pixels: same shape rules as `ImageFile.pixels`.

    Raises:
        ImageError: the format cannot hold these pixels, or the disk is full or read-only.
    """
    wanted = FORMATS.get(path.suffix.lower(), like.format)
    same = FORMATS.get(path.suffix.lower()) == like.format or like.format == "MPO"
    options = like.save_options if same else _portable(like.save_options)
    if wanted in ("JPEG", "BMP") and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        raise ImageError(
            f"{path}: {wanted} cannot hold transparency, which the input has. "
            "Give the input (or the output) a .png name."
        )
    try:
        with atomic_path(path) as temporary:
            Image.fromarray(pixels).save(temporary, wanted, **_defaults(wanted), **options)
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise ImageError(f"{path}: cannot be written: {reason}.") from err


@contextmanager
def _pillow_limit_lifted() -> Iterator[None]:
    """Let Image.open read headers of any size, so that `max_pixels` alone decides.

    Pillow's limit is a module global; the lock and the restore keep other users of Pillow in this
    process protected.
    """
    with _open_lock:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _refuse_unsupported(image: Image.Image, path: Path) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a photo with a preview beside it
        raise ImageError(
            f"{path}: has {frames} frames or pages; only single images are supported yet. "
            "Split it into files first."
        )
    # Pillow opens 16-bit RGB as 8-bit RGB and drops the low half: the raw mode tells.
    tile = getattr(image, "tile", None)
    stored = str(tile[0][3]) if tile else ""
    if any(depth in stored for depth in (";16", ";12", ";32")) or image.mode.startswith(("I", "F")):
        raise ImageError(
            f"{path}: has more than 8 bits per sample, which is not supported yet and would be "
            "lost. Convert it to 8 bits if that is acceptable."
        )
    if image.mode not in _READABLE_MODES:
        raise ImageError(
            f"{path}: pixels are of kind {image.mode}, supported are 8-bit gray and RGB with or "
            "without transparency. Convert it first."
        )


def _expand(image: Image.Image) -> Image.Image:
    """Turn a palette or a transparent colour into plain gray or RGB, with alpha if needed."""
    transparent = "transparency" in image.info
    if image.mode == "P":
        target = "RGBA" if transparent else "RGB"
    else:
        target = "LA" if image.mode == "L" else "RGBA"
    return image.convert(target)


def _save_options(image: Image.Image, path: Path) -> dict[str, Any]:
    """Collect what makes the written file the like of the read one."""
    options: dict[str, Any] = {
        key: image.info[key] for key in ("icc_profile", "dpi") if image.info.get(key)
    }
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        info = TiffImagePlugin.ImageFileDirectory_v2()
        for tag in _TIFF_TAGS:
            if tag in tags:
                info[tag] = tags[tag]
        options["tiffinfo"] = info
        compression = image.info.get("compression", "raw")
        keep = compression in _LOSSLESS_TIFF
        options["compression"] = compression if keep else "tiff_adobe_deflate"
    elif image.info.get("exif"):
        options["exif"] = image.info["exif"]
    if image.format == "WEBP":
        options["lossless"] = _is_lossless_webp(path)
    return options


def _is_lossless_webp(path: Path) -> bool:
    """Look for the VP8L chunk among the first chunks of a WebP file."""
    with path.open("rb") as file:
        return b"VP8L" in file.read(4096)


def _portable(options: dict[str, Any]) -> dict[str, Any]:
    """Keep what every format takes."""
    return {key: options[key] for key in ("icc_profile", "dpi", "exif") if key in options}


def _defaults(format_name: str) -> dict[str, Any]:
    if format_name == "JPEG":
        return {"quality": 95, "subsampling": 0}
    if format_name == "WEBP":
        return {"quality": 95, "method": 4}
    if format_name == "PNG":
        return {"compress_level": 6}
    return {}
