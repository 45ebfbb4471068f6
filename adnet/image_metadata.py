"""What an image file carries beside its pixels, from the read file to the written one."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

ORIENTATION = 274
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation (EXIF 2.32, tag 274) -> what a viewer does with the stored pixels."""
_TURNS_BACK = TURNS | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}

_LOSSLESS_TIFF = {"raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"}
_TIFF_TAGS = (270, 271, 272, 305, 306, 315, 33432)
"""Description, make, model, software, date, artist, copyright."""
_EXIF_TAGS = {269, *_TIFF_TAGS, ORIENTATION, 285, 316}
"""Tags below 533 that say nothing about how the pixels of a TIFF are stored."""
_EXIF_PREFIX = b"Exif\0\0"
_JPEG_MAX_DPI = 65535
_EXIF_ERRORS = (SyntaxError, ValueError, TypeError, KeyError, EOFError, OSError, struct.error)


def orientations(image: Image.Image) -> tuple[int, int]:
    """Return the orientation of an opened image and the one Pillow will turn its pixels by.

    Only TIFF is turned, while its pixels are decoded, and there its tag is removed: to be called
    before. An invalid orientation counts as 1, as it does with viewers.
    """
    if image.format != "TIFF":
        return 1, 1
    told = image.tag_v2.get(ORIENTATION, 1)  # type: ignore[attr-defined]
    turned = image.getexif().get(ORIENTATION, 1)  # may come from XMP alone
    return (told if told in TURNS else 1), (turned if turned in TURNS else 1)


def turn_back(image: Image.Image, orientation: int) -> Image.Image:
    """Undo the turn that Pillow made: the pixels are as stored again."""
    return image.transpose(_TURNS_BACK[orientation]) if orientation in TURNS else image


def save_options(image: Image.Image, path: Path, orientation: int) -> dict[str, Any]:
    """Collect what makes the written file the like of the read one.

    Args:
        image: decoded already: a PNG may have its EXIF after the pixels.
        orientation: of a TIFF; see `orientations`.
    """
    options: dict[str, Any] = {}
    if image.info.get("icc_profile"):
        options["icc_profile"] = image.info["icc_profile"]
    dpi = [float(value) for value in image.info.get("dpi") or ()]
    if len(dpi) == 2 and all(math.isfinite(value) and value > 0 for value in dpi):
        options["dpi"] = tuple(dpi)
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        if not {282, 283} <= set(tags):  # else Pillow's 1 dpi would be written for none
            options.pop("dpi", None)
        info = TiffImagePlugin.ImageFileDirectory_v2()
        for tag in _TIFF_TAGS:
            if tag in tags:
                info[tag] = tags[tag]
        if orientation != 1:
            info[ORIENTATION] = orientation
        options["tiffinfo"] = info
        compression = image.info.get("compression", "raw")
        keep = compression in _LOSSLESS_TIFF
        options["compression"] = compression if keep else "tiff_adobe_deflate"
    elif exif := _exif_block(image):
        options["exif"] = exif
    if image.format == "WEBP":
        options["lossless"] = is_lossless_webp(path)
        options["exact"] = options["lossless"]  # colours below transparent pixels, too
    return options


def options_for(
    options: dict[str, Any], wanted: str, same: bool, pixels: NDArray[np.uint8]
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Adapt `save_options` to the format that is written.

    Args:
        wanted: Pillow's name of that format.
        same: the input had it, too.

    Returns:
        The options, and the pixels: turned where the format has no place for the orientation.
    """
    kept = dict(options)
    if not same:
        kept = {key: options[key] for key in ("icc_profile", "dpi", "exif") if key in options}
        if options.get("tiffinfo"):
            exif = Image.Exif()
            for tag, value in options["tiffinfo"].items():
                exif[tag] = value
            kept["exif"] = exif.tobytes()
    if wanted == "BMP":
        turn = TURNS.get(_parsed(kept.pop("exif", b"")).get(ORIENTATION, 1))
        if turn is not None:
            pixels = _turned(pixels, turn)
    elif wanted == "TIFF":
        if "exif" in kept:
            kept["exif"] = _for_tiff(kept["exif"])
        orientation = kept.get("tiffinfo", kept.get("exif", {})).get(ORIENTATION, 1)
        if orientation > 4 and kept.get("compression", "raw") == "raw":
            # Pillow, up to 13 at least, maps raw pixels into memory and mixes up width and height.
            kept["compression"] = "tiff_adobe_deflate"
    elif wanted == "JPEG" and max(kept.get("dpi", (0,))) > _JPEG_MAX_DPI:
        del kept["dpi"]  # Pillow would write what is left of it in 16 bits
    return kept, pixels


def is_lossless_webp(path: Path) -> bool:
    """Tell from the chunks of a WebP file how its pixels are coded (RFC 9649, section 2.3)."""
    with path.open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            kind, size = header[:4], int.from_bytes(header[4:], "little")
            if kind in (b"VP8L", b"VP8 "):
                return kind == b"VP8L"
            # The frame of an animation has chunks of its own behind 16 bytes.
            file.seek(16 if kind == b"ANMF" else size + size % 2, 1)
    return False


def _exif_block(image: Image.Image) -> bytes:
    """Return the EXIF block with the prefix that JPEG needs; the others do without."""
    block: bytes = image.info.get("exif", b"")
    if not block and isinstance(text := image.info.get("Raw profile type exif"), str):
        try:  # ImageMagick's way before PNG had a chunk for it: name, length, hexadecimal lines
            block = bytes.fromhex("".join(text.split()[2:]))
        except ValueError:
            block = b""
    return block if not block or block.startswith(_EXIF_PREFIX) else _EXIF_PREFIX + block


def _parsed(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    try:
        exif.load(block)
    except _EXIF_ERRORS:  # a damaged block has nothing to tell
        return Image.Exif()
    return exif


def _for_tiff(block: bytes) -> Image.Exif:
    """Leave out what Pillow would take for the layout of the written file, such as its width."""
    exif = _parsed(block)
    for tag in list(exif):
        invalid = tag == ORIENTATION and exif[tag] not in TURNS
        if (tag < 533 and tag not in _EXIF_TAGS) or tag == 34675 or invalid:
            del exif[tag]
    return exif


def _turned(pixels: NDArray[np.uint8], turn: Image.Transpose) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).transpose(turn))
