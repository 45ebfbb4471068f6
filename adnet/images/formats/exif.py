"""Exif blocks: what they say of how an image looks.

Source: Exif 2.32, section 4.6.
"""

from __future__ import annotations

import struct
from typing import Literal

from adnet.errors import ImageError
from adnet.images.formats.tiff_tags import (
    Directory,
    Kind,
    read_directories,
    values,
    write_directories,
)

_ORIENTATION, _RESOLUTION = 274, (282, 283, 296)


def is_exif(block: bytes) -> bool:
    """Tell whether a block begins as Exif does, which is a TIFF file, and has a directory."""
    order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"
    known = block[:4] in (b"II*\0", b"MM\0*")
    return known and 8 <= int.from_bytes(block[4:8], order) <= len(block) - 2


def orientation_of(exif: bytes | None) -> int:
    """Return the orientation 1 to 8 in an Exif block; 1 where there is none or it is damaged."""
    if exif is None or not is_exif(exif):
        return 1
    order = "little" if exif[:2] == b"II" else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(exif[start : start + size], order)  # type: ignore[arg-type]

    start = number(4, 4)
    for entry in range(start + 2, start + 2 + 12 * number(start, 2), 12):
        if number(entry, 2) == 274 and number(entry + 2, 2) == 3:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
        if entry + 12 > len(exif):
            break
    return 1


def exif_with_orientation(orientation: int) -> bytes | None:
    """Make an Exif block that says the orientation and nothing else; None for upright."""
    if orientation == 1:
        return None
    entry = (274).to_bytes(2, "little") + b"\3\0\1\0\0\0" + orientation.to_bytes(4, "little")
    return b"II*\0\x08\0\0\0\1\0" + entry + bytes(4)


def stripped_exif(exif: bytes | None) -> bytes | None:
    """Keep the orientation and the resolution of an Exif block; None where it has neither."""
    orientation = exif_with_orientation(orientation_of(exif))
    page = _first_page(exif)
    if page is None or resolution_in(*page) is None:
        return orientation
    directory, kind = page
    kept = (*_RESOLUTION, *([_ORIENTATION] if orientation else []))
    tags = {code: tag for code, tag in directory.tags.items() if code in kept}
    return write_directories(kind, [(Directory(tags), (273, 279), [])])


def resolution_of(exif: bytes | None) -> tuple[float, float] | None:
    """Return the pixels per inch, across and down, in an Exif block; None where it has none."""
    page = _first_page(exif)
    return None if page is None else resolution_in(*page)


def resolution_in(page: Directory, kind: Kind) -> tuple[float, float] | None:
    """Return the pixels per inch, across and down, in a directory of TIFF or Exif."""
    found = []
    try:
        unit = values(page.tags[296], kind)[0] if 296 in page.tags else 2
        for code in (282, 283):
            above, below = values(page.tags[code], kind)[:2]
            found.append(above / below * (2.54 if unit == 3 else 1))
    except (KeyError, ValueError, ZeroDivisionError, struct.error, TypeError):
        return None
    return (found[0], found[1]) if unit in (2, 3) and min(found) > 0 else None


def _first_page(exif: bytes | None) -> tuple[Directory, Kind] | None:
    if exif is None:
        return None
    try:
        kind, pages, _ = read_directories(exif, lenient=True)
    except ImageError:
        return None
    return pages[0], kind
