"""Bytes of any supported image file in, pixels out, and back."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adnet.errors import ImageError
from adnet.images.formats import bmp, gif, jpeg, png, tiff, webp
from adnet.images.formats.exif import is_exif, orientation_of, resolution_of
from adnet.images.formats.extra_samples import straightened, told, without_unknown
from adnet.images.formats.image_file import ImageFile, Pixels, Portable, has_alpha, upright
from adnet.images.formats.jpeg_segments import too_long
from adnet.images.formats.kinds import FORMATS, format_of, why_not

DEFAULT_MAX_PIXELS = 89_478_485
"""Pillow's own limit (a quarter of a gigabyte of RGB); larger images may be decompression bombs."""

_DAMAGED = (
    struct.error, ValueError, TypeError, KeyError, IndexError, OverflowError, EOFError, OSError,
    RecursionError, AttributeError,
)  # fmt: skip
"""What reading a damaged file may run into besides the errors that were thought of."""


class _Format(NamedTuple):
    decode: Callable[[bytes, int], ImageFile]
    encode: Callable[[Sequence[Pixels], ImageFile], bytes]
    max_side: int
    deepest: str
    """uint8, uint16 or float."""
    alpha: tuple[str, ...]
    """Kinds with alpha that it can hold."""
    portable: tuple[str, ...]
    """Names of the portable metadata that it can hold."""


_ALL = ("ICC profile", "Exif", "XMP", "resolution")
_BOTH = ("gray", "RGB")
_FORMATS = {
    "PNG": _Format(png.decode, png.encode, png.MAX_SIDE, "uint16", _BOTH, _ALL),
    "TIFF": _Format(tiff.decode, tiff.encode, tiff.MAX_SIDE, "float", _BOTH, _ALL),
    "JPEG": _Format(jpeg.decode, jpeg.encode, jpeg.MAX_SIDE, "uint8", (), _ALL),
    "WEBP": _Format(webp.decode, webp.encode, webp.MAX_SIDE, "uint8", _BOTH, _ALL[:3]),
    "GIF": _Format(gif.decode, gif.encode, gif.MAX_SIDE, "uint8", _BOTH, ()),
    "BMP": _Format(
        bmp.decode, bmp.encode, bmp.MAX_SIDE, "uint8", ("RGB",), ("ICC profile", "resolution")
    ),
}
_REMEDY = "Give the input (or the output) a {} name."


def decode_image(data: bytes, name: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageFile:
    """Decode an image file in memory; what it is, is seen by its first bytes.

    Pixels and colour values are as stored: nothing is turned, and no profile applied but to CMYK.

    Args:
        name: what errors call the file.
        max_pixels: of all frames together.

    Raises:
        ImageError: the file is damaged, too large, or of a kind that is not supported.
    """
    found = format_of(data)
    if found is None:
        raise ImageError(f"{name}: {why_not(data)}")
    with damage_told(name):
        return _FORMATS[found].decode(data, max_pixels)


@contextmanager
def damage_told(name: str) -> Iterator[None]:
    """Turn whatever reading a damaged file may run into to an ImageError that names the file."""
    try:
        yield
    except ImageError as err:
        raise type(err)(f"{name}: {err}") from err
    except MemoryError as err:
        raise ImageError(f"{name}: there is not enough memory to decode it.") from err
    except _DAMAGED as err:
        raise ImageError(f"{name}: cannot be decoded, the file may be damaged ({err}).") from err


def encode_image(
    pixels: Pixels | Sequence[Pixels],
    like: ImageFile,
    format: str | None = None,  # noqa: A002
) -> bytes:
    """Encode an image, or all frames of one, with the layout and metadata of `like`.

    The same depth, byte order, compression, tiling, and metadata byte for byte in the same format;
    in another one (or for pixels of another size or kind) the metadata that it has a place for.
    A JPEG keeps its quantisation tables and subsampling; else JPEG and lossy WebP are written at
    `like.quality`, or at 95 without chroma subsampling.

    Args:
        pixels: of the shapes and dtypes of `like.frames`.
        format: PNG, TIFF, JPEG, WEBP, GIF or BMP; None for that of `like`.

    Raises:
        ImageError: the format cannot hold these pixels.
    """
    wanted = format or like.format
    frames, made = arranged(_as_frames(pixels), like, wanted)
    try:
        return _FORMATS[wanted].encode(straightened(frames, like, wanted), made)
    except (OSError, ValueError, struct.error, OverflowError, RuntimeError, MemoryError) as err:
        raise ImageError(f"{wanted} cannot be written: {err}.") from err


def arranged(
    frames: tuple[Pixels, ...], like: ImageFile, wanted: str
) -> tuple[tuple[Pixels, ...], ImageFile]:
    """Say what an encoder is given for `frames`: pixels, and an image with the right layout.

    Raises:
        ImageError: the format cannot hold these pixels.
    """
    frames = without_unknown(frames, like, wanted)
    made = replace(like, pixels=frames[0], more=frames[1:])
    _check(made, wanted)
    if len(frames) != len(like.frames) or wanted != like.format or _differs(frames, like):
        # Its layout is for other pixels: only what every format knows is carried over.
        made = replace(made, layout=None, portable=_readable(like.portable))
        turn = orientation_of(like.portable.exif)
        if turn != 1 and "Exif" not in _FORMATS[wanted].portable:
            frames = tuple(upright(frame, turn) for frame in frames)
        if len(frames) > 1 and wanted != "TIFF":
            raise ImageError(f"{wanted} needs the timing of its frames from an image like it.")
    return frames, made


def target_format(image: ImageFile, target: Path) -> str:
    """Return the format in which `target` is written: by its suffix, else that of `image`."""
    return FORMATS.get(target.suffix.lower(), image.format)


def stays_lossless(image: ImageFile, source: Path, target: Path) -> bool:
    """Tell whether a WebP must lose nothing: by `source`'s name alone, a lossless file becomes one.

    Who asks for WebP, gets the lossy kind; who has a PNG named .webp, did not ask.
    """
    wanted = target_format(image, target)
    may = wanted == "WEBP" and image.format != "JPEG" and image.quality is None
    return may and _misnamed(image, source, wanted)


def _told_name(image: ImageFile, source: Path, target: Path) -> list[str]:
    wanted = target_format(image, target)
    if not _misnamed(image, source, wanted):
        return []
    kind = "lossless" if stays_lossless(image, source, target) else "lossy"
    how = f", which is {kind}" if wanted in ("JPEG", "WEBP") else ""
    return [f"is a {image.format} file named {source.suffix}, so it became {wanted}{how}."]


def _misnamed(image: ImageFile, source: Path, wanted: str) -> bool:
    return wanted != image.format and FORMATS.get(source.suffix.lower()) == wanted


def check_writable(image: ImageFile, target: Path, source: Path | None = None) -> tuple[str, ...]:
    """Find out before any work whether an image can be written to `target`.

    Args:
        source: where it was read, whose name may say another format than it has.

    Returns:
        What cannot be carried over, one sentence each.

    Raises:
        ImageError: it cannot be written, for its transparency, depth, size or frames.
    """
    wanted = target_format(image, target)
    shown = without_unknown(image.frames, image, wanted)
    try:
        _check(replace(image, pixels=shown[0], more=shown[1:]), wanted)
    except ImageError as err:
        raise ImageError(f"{target}: {err}") from err
    if wanted == image.format:
        return jpeg.changes(image) if wanted == "JPEG" else ()
    portable = _readable(image.portable)
    lost = _lost(image, portable, wanted)
    notes = _told_name(image, source, target) if source is not None else []
    if portable != image.portable:
        notes.append("Exif is damaged and was left out.")
    if lost:
        notes.append(f"{', '.join(lost)} cannot be carried into {wanted} and was left out.")
    if len(image.frames) > 1:
        notes.append(f"frames became pages of the {wanted}, without timing.")
    notes += told(image, wanted)
    if wanted == "TIFF":
        notes += tiff.told_of_exif(portable.exif)
    if "Exif" in lost and orientation_of(portable.exif) != 1:
        notes.append(f"the pixels were turned upright, since {wanted} knows no orientation.")
    if wanted == "WEBP" and image.colour_channels == 1:
        notes.append("gray became RGB, since WebP has no gray.")
    if wanted == "GIF":
        notes += gif.losses(image.frames)
    return tuple(notes)


def _lost(image: ImageFile, portable: Portable, wanted: str) -> list[str]:
    """Name the metadata that a format has no place for."""
    kept = _FORMATS[wanted].portable
    lost = [name for name in portable.names if name not in kept]
    if "Exif" in kept and "resolution" in lost and resolution_of(portable.exif):
        lost.remove("resolution")  # Exif has it
    if wanted == "JPEG":
        lost += too_long(portable)
    return lost if image.layout is None else lost + list(image.layout.only_here)


def _readable(portable: Portable) -> Portable:
    """Leave out damaged Exif, which formats that take it apart could not hold."""
    damaged = portable.exif is not None and not is_exif(portable.exif)
    return replace(portable, exif=None) if damaged else portable


def _as_frames(pixels: Pixels | Sequence[Pixels]) -> tuple[Pixels, ...]:
    return (pixels,) if isinstance(pixels, np.ndarray) else tuple(pixels)


def _differs(frames: Sequence[Pixels], like: ImageFile) -> bool:
    pairs = zip(frames, like.frames, strict=True)
    return any(one.shape != other.shape or one.dtype != other.dtype for one, other in pairs)


def _check(image: ImageFile, wanted: str) -> None:
    kept = _FORMATS[wanted]
    if len(image.frames) > 1 and wanted not in (image.format, "TIFF"):
        raise ImageError(
            f"the input has {len(image.frames)} frames or pages, which {wanted} cannot take over. "
            + _REMEDY.format(f"{image.format}'s")
        )
    if wanted == "WEBP" and (image.portable.icc or b"")[16:20] == b"GRAY":
        raise ImageError(
            "WebP has no gray, and the input has a colour profile for gray. "
            + _REMEDY.format(".png")
        )
    for frame in image.frames:
        if (longest := max(frame.shape[:2])) > kept.max_side:
            raise ImageError(
                f"{wanted} cannot be larger than {kept.max_side} pixels on a side, the input has "
                f"{longest}. " + _REMEDY.format(".tif")
            )
        colour = "gray" if frame.ndim == 2 or frame.shape[2] < 3 else "RGB"
        if has_alpha(frame) and colour not in kept.alpha:
            what = "transparency" if not kept.alpha else f"{colour} with transparency"
            raise ImageError(
                f"{wanted} cannot hold {what}, which the input has. " + _REMEDY.format(".png")
            )
        if frame.dtype.kind == "f" and kept.deepest != "float":
            raise ImageError(
                f"{wanted} cannot hold floats, which the input has. " + _REMEDY.format(".tif")
            )
        if frame.dtype.itemsize > 1 and kept.deepest == "uint8":
            raise ImageError(
                f"{wanted} cannot hold more than 8 bits per sample, which the input has. "
                + _REMEDY.format(".png or .tif")
            )
