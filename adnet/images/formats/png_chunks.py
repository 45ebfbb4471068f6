"""PNG files as lists of chunks. Source: PNG specification, third edition, sections 5 and 11."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from adnet.errors import ImageError
from adnet.images.formats.image_file import Portable
from adnet.images.formats.source import Sliced

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE = 16 << 20
"""Largest ICC profile or text that is unpacked: a few kilobytes can unpack to any size."""

XMP = b"XML:com.adobe.xmp"
"""How the text chunk with XMP begins."""
_RAW_PROFILE = b"Raw profile type "


class Chunk(NamedTuple):
    """One chunk of a PNG file."""

    kind: bytes
    data: bytes


def split_chunks(
    data: Sliced, places: list[tuple[int, int]] | None = None
) -> tuple[list[Chunk], list[str]]:
    """Cut a PNG file into its chunks.

    Args:
        places: to be filled with offset and length of the data of each IDAT chunk; such chunks
            come empty then, and their check sums are not looked at.

    Returns:
        The chunks up to IEND, and notes on what had to be left out: metadata with a wrong check
        sum, and bytes after the end of the image.

    Raises:
        ImageError: the file ends early, or a chunk that is needed for the pixels is damaged.
    """
    chunks: list[Chunk] = []
    notes = []
    position = len(SIGNATURE)
    while True:
        head = data[position : position + 8]
        if len(head) < 8:
            raise ImageError("the file ends early; it may be damaged.")
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT" and places is not None:
            places.append((position + 8, length))
            chunks.append(Chunk(kind, b""))
            position += 12 + length
            continue
        body = data[position + 8 : position + 8 + length]
        position += 12 + length
        if position > len(data):
            raise ImageError("the file ends early; it may be damaged.")
        told = struct.unpack(">I", data[position - 4 : position])[0]
        name = kind.decode("latin-1")
        if zlib.crc32(kind + body) != told:
            if not kind[0] & 32:
                raise ImageError(f"cannot be decoded, the file may be damaged (chunk {name}).")
            notes.append(f"the chunk {name} is damaged and was left out.")
            continue
        if kind == b"IEND":
            break
        chunks.append(Chunk(kind, body))
    if position < len(data):
        notes.append(f"{len(data) - position} bytes after the end of the image were left out.")
    return chunks, notes


def join_chunks(chunks: Iterable[Chunk]) -> bytes:
    """Make a PNG file of chunks; IEND is added."""
    parts = [SIGNATURE]
    for kind, data in (*chunks, Chunk(b"IEND", b"")):
        check = zlib.crc32(data, zlib.crc32(kind))
        parts += [struct.pack(">I4s", len(data), kind), data, struct.pack(">I", check)]
    return b"".join(parts)


def read_portable(chunks: Iterable[Chunk]) -> Portable:
    """Find the metadata that other formats have a place for."""
    found: dict[str, bytes] = {}
    dpi = None
    for kind, data in chunks:
        if kind == b"eXIf":
            found.setdefault("exif", data.removeprefix(b"Exif\0\0"))
        elif kind == b"iCCP":
            _, _, rest = data.partition(b"\0")
            if profile := _unpacked(rest[1:]):
                found.setdefault("icc", profile)
        elif kind == b"iTXt" and data.startswith(XMP + b"\0") and len(data) > len(XMP) + 2:
            packed = data[len(XMP) + 1]
            text = data[len(XMP) + 3 :].partition(b"\0")[2].partition(b"\0")[2]
            if plain := _unpacked(text) if packed else text:
                found.setdefault("xmp", plain)
        elif kind == b"pHYs" and len(data) == 9:
            across, down, unit = struct.unpack(">IIB", data)
            if unit == 1 and across and down:
                dpi = (across * 0.0254, down * 0.0254)
        elif kind in (b"tEXt", b"zTXt") and data.startswith(_RAW_PROFILE):
            keyword, _, text = data.partition(b"\0")
            plain = _unpacked(text[1:]) if kind == b"zTXt" else text
            _raw_profile(keyword.removeprefix(_RAW_PROFILE).lower(), plain or b"", found)
    return Portable(found.get("icc"), found.get("exif"), found.get("xmp"), dpi)


def portable_chunks(portable: Portable) -> list[Chunk]:
    """Make the chunks, all of them to stand before the pixels, that hold `portable`."""
    chunks = []
    if portable.icc:
        chunks.append(Chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(portable.icc, 9)))
    if portable.dpi:
        chunks.append(Chunk(b"pHYs", struct.pack(">IIB", *_per_metre(portable.dpi), 1)))
    if portable.exif:
        chunks.append(Chunk(b"eXIf", portable.exif))
    if portable.xmp:
        chunks.append(Chunk(b"iTXt", XMP + bytes(5) + portable.xmp))
    return chunks


def _per_metre(dpi: tuple[float, float]) -> tuple[int, int]:
    across, down = (min(2**31 - 1, max(1, round(value / 0.0254))) for value in dpi)
    return across, down


def _unpacked(data: bytes) -> bytes | None:
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, MAX_PROFILE)
    except zlib.error:
        return None
    return plain if stream.eof else None


def _raw_profile(name: bytes, text: bytes, found: dict[str, bytes]) -> None:
    """Read ImageMagick's way of hiding Exif, ICC and XMP in a text chunk: hexadecimal digits."""
    words = text.split()
    try:
        plain = bytes.fromhex(b"".join(words[2:]).decode("ascii"))
    except ValueError:
        return
    if plain and name in (b"exif", b"app1") and plain.startswith(b"Exif\0\0"):
        found.setdefault("exif", plain[6:])
    elif plain and name in (b"icc", b"icm"):
        found.setdefault("icc", plain)
    elif plain and name == b"xmp":
        found.setdefault("xmp", plain)
