"""Tell which image files are not read, and why.

Pillow opens many files by leaving out what it has no room for: the low half of 16-bit samples,
channels beyond alpha, the sign. Here each such kind is found in the file's own header and refused:
a result is right, or there is none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from adnet.errors import ImageError

PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""What is decoded, whatever the file's name; others were never checked for being exact."""

_READABLE_MODES = {"L", "LA", "RGB", "RGBA", "P", "PA"}
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 6: 3}
"""TIFF's PhotometricInterpretation -> samples that make the colour (TIFF 6.0, page 37)."""
_OLD_JPEG = 6
_VIEWS = ("Multi-Frame Image (Panorama)", "Multi-Frame Image (Disparity)",
          "Multi-Frame Image (Multi-Angle)")  # fmt: skip
_MAGIC = {
    b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"RIFF": "WebP",
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
}  # fmt: skip


def refuse_unsupported(image: Image.Image, path: Path) -> None:
    """Check an opened image, before its pixels are decoded.

    Raises:
        ImageError: its pixels cannot be read, denoised and written back exactly.
    """
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and (image.format != "MPO" or _has_views(image)):
        raise ImageError(
            f"{path}: has {frames} frames or pages; only single images are supported yet. "
            "Split it into files first."
        )
    tags = getattr(image, "tag_v2", {})
    # Pillow opens 16-bit RGB as 8-bit RGB and drops the low half: the raw mode tells. It does not
    # in a TIFF with a plane for each channel, but the tag does.
    stored = _raw_mode(image)
    deep = any(depth in stored for depth in (";16", ";12", ";32"))
    if (
        (deep and image.format != "BMP")  # BMP's 16 bits are those of a whole pixel
        or image.mode.startswith(("I", "F"))
        or max(_numbers(tags, 258, 1)) > 8
    ):
        raise ImageError(
            f"{path}: has more than 8 bits per sample, which is not supported yet and would be "
            "lost. Convert it to 8 bits if that is acceptable."
        )
    if 1 in _numbers(tags, 338):
        raise ImageError(
            f"{path}: has colours multiplied by alpha (ExtraSamples 1), which is not supported "
            "yet. Convert it to unassociated alpha first."
        )
    if image.mode not in _READABLE_MODES:
        raise ImageError(
            f"{path}: pixels are of kind {image.mode}, supported are 8-bit gray and RGB with or "
            "without transparency. Convert it first."
        )
    reason = None
    if image.format == "TIFF":
        reason = _tiff_reason(image, tags)
    elif image.format == "BMP":
        reason = _bmp_reason(image, path)
    if reason:
        raise ImageError(f"{path}: {reason}, which is not supported yet. Convert it first.")


def gray_depth(image: Image.Image) -> int:
    """Return the bits per sample of an opened gray image: 2 and 4 become 8 when it is decoded."""
    stored = _raw_mode(image)
    return next((bits for bits in (2, 4) if stored.startswith(f"L;{bits}")), 8)


def unreadable_reason(path: Path) -> str:
    """Say why Pillow did not even open a file."""
    if path.stat().st_size == 0:
        return "the file is empty"
    with path.open("rb") as file:
        head = file.read(4)
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return f"a {name} file that is damaged or of a kind that is not supported yet"
    return "not an image that can be read (PNG, JPEG, BMP, TIFF or WebP)"


def _raw_mode(image: Image.Image) -> str:
    """Return Pillow's description of the stored samples, such as "RGB;16B"."""
    tile = getattr(image, "tile", None)
    return str(tile[0][3]) if tile else ""


def _has_views(image: Image.Image) -> bool:
    """Tell a stereo pair or a panorama from a photo with a preview beside it."""
    entries = getattr(image, "mpinfo", {}).get(0xB002, ())
    return any(entry.get("Attribute", {}).get("MPType") in _VIEWS for entry in entries)


def _tiff_reason(image: Image.Image, tags: Any) -> str | None:
    if 262 not in tags:  # Pillow takes gray for negative then, others do not
        return "says not how its values are to be understood (no PhotometricInterpretation)"
    photometric = _numbers(tags, 262)[0]
    if set(_numbers(tags, 339, 1)) != {1}:
        return "has signed or floating-point samples"
    old_jpeg = _numbers(tags, 259, 1)[0] == _OLD_JPEG
    samples = _numbers(tags, 277, 3 if old_jpeg else 1)[0]
    expected = _COLOURS.get(photometric, samples) + (image.mode in ("LA", "RGBA", "PA"))
    if samples != expected:
        return (
            f"has {samples} samples per pixel, {samples - expected} of them of unknown meaning "
            "(ExtraSamples), that would be lost"
        )
    if image.mode in ("P", "PA") and 0 < max(_numbers(tags, 320, 0)) < 256:
        return "has a palette of 8-bit numbers where TIFF asks for 16 bits"
    # Pillow cuts the name of the unpacker down to one letter: inversion, depth and order are lost,
    # and it reads alpha right where it is RGBA and told to be unassociated.
    plain = _numbers(tags, 258, 1)[0] == 8 and _numbers(tags, 266, 1)[0] == 1 and photometric != 0
    alpha = image.mode in ("LA", "PA") or (image.mode == "RGBA" and _numbers(tags, 338) != (2,))
    if _numbers(tags, 284, 1)[0] == 2 and (alpha or not plain):
        return "has separate planes of inverted or packed samples or of alpha"
    return None


def _bmp_reason(image: Image.Image, path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(70).ljust(70, b"\0")
    size, bits, compression, alpha = (
        int.from_bytes(head[start:end], "little")
        for start, end in ((14, 18), (28, 30), (30, 34), (66, 70))
    )
    if size == 12:
        bits, compression = int.from_bytes(head[24:26], "little"), 0
    if size >= 56 and bits == 16 and compression == 3 and alpha:
        return "has transparency in 16-bit pixels"
    if image.mode == "L" and bits < 8 and compression == 0:  # Pillow unpacks it as 8 bits
        return f"has {bits}-bit pixels and a palette of dark grays"
    return None


def _numbers(tags: Any, tag: int, *default: int) -> tuple[int, ...]:
    """Return a TIFF tag as a tuple of numbers; damaged files have them in other types."""
    value = tags.get(tag, default)
    values = tuple(value) if isinstance(value, (tuple, list, bytes)) else (value,)
    return tuple(number for number in values if isinstance(number, int)) or default or (0,)
