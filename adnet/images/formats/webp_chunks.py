"""WebP files as lists of chunks. Source: RFC 9649, section 2."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from adnet.errors import ImageError
from adnet.images.formats.image_file import Portable

PIXEL_KINDS = (b"VP8 ", b"VP8L", b"ALPH")
_ICC_FLAG, _ALPHA_FLAG, _EXIF_FLAG, _XMP_FLAG, _ANIMATION_FLAG = 32, 16, 8, 4, 2


class Chunk(NamedTuple):
    """One chunk of a WebP file."""

    kind: bytes
    data: bytes


def split_chunks(data: bytes, start: int = 12) -> list[Chunk]:
    """Cut a WebP file, or from `start` 0 or 16 on the contents of a frame, into its chunks.

    Raises:
        ImageError: the file ends early.
    """
    end = len(data)
    if start == 12:
        end = 8 + int.from_bytes(data[4:8], "little")
        if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
            raise ImageError("not a WebP file.")
        if end > len(data):
            raise ImageError("the file ends early; it may be damaged.")
    chunks = []
    while start + 8 <= end:
        kind, length = (
            data[start : start + 4],
            int.from_bytes(data[start + 4 : start + 8], "little"),
        )
        if start + 8 + length > end:
            raise ImageError("the file ends early; it may be damaged.")
        chunks.append(Chunk(kind, data[start + 8 : start + 8 + length]))
        start += 8 + length + length % 2
    return chunks


def canvas_size(chunks: Iterable[Chunk]) -> tuple[int, int]:
    """Return (width, height) as the header says; libwebp makes room for them at once.

    Raises:
        ImageError: there is no header.
    """
    for kind, data in chunks:
        if kind == b"VP8X" and len(data) >= 10:
            return 1 + _number(data[4:7]), 1 + _number(data[7:10])
        if kind == b"VP8L" and len(data) >= 5:
            bits = _number(data[1:5])
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        if kind == b"VP8 " and len(data) >= 10:
            return _number(data[6:8]) & 0x3FFF, _number(data[8:10]) & 0x3FFF
    raise ImageError("cannot be decoded, the file may be damaged (it holds no pixels).")


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def join_chunks(chunks: Iterable[Chunk]) -> bytes:
    """Make the body of a WebP file or frame."""
    parts = []
    for kind, data in chunks:
        parts += [kind, struct.pack("<I", len(data)), data, bytes(len(data) % 2)]
    return b"".join(parts)


def make_file(
    size: tuple[int, int], pixels: list[Chunk], metadata: Iterable[Chunk], alpha: bool
) -> bytes:
    """Make a WebP file.

    Args:
        size: (width, height).
        pixels: the chunks of the image, or ANIM and ANMF chunks.
        metadata: ICCP, EXIF, XMP and unknown chunks.
    """
    found = list(metadata)
    kinds = {chunk.kind for chunk in found}
    animated = any(chunk.kind == b"ANIM" for chunk in pixels)
    chunks = list(pixels)
    if found or animated or any(chunk.kind == b"ALPH" for chunk in pixels):
        flags = sum(
            flag
            for flag, there in (
                (_ICC_FLAG, b"ICCP" in kinds), (_ALPHA_FLAG, alpha), (_EXIF_FLAG, b"EXIF" in kinds),
                (_XMP_FLAG, b"XMP " in kinds), (_ANIMATION_FLAG, animated),
            )
            if there
        )  # fmt: skip
        head = bytes((flags, 0, 0, 0)) + three_bytes(size[0] - 1) + three_bytes(size[1] - 1)
        profile = [chunk for chunk in found if chunk.kind == b"ICCP"]
        rest = [chunk for chunk in found if chunk.kind != b"ICCP"]
        chunks = [Chunk(b"VP8X", head), *profile, *pixels, *rest]
    body = b"WEBP" + join_chunks(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def three_bytes(number: int) -> bytes:
    """Return a number as WebP stores sizes, offsets and durations."""
    return number.to_bytes(3, "little")


def read_portable(chunks: Iterable[Chunk]) -> Portable:
    """Find the metadata that other formats have a place for."""
    found = {chunk.kind: chunk.data for chunk in reversed(list(chunks))}
    exif = found.get(b"EXIF", b"").removeprefix(b"Exif\0\0") or None
    return Portable(found.get(b"ICCP") or None, exif, found.get(b"XMP ") or None)


def portable_chunks(portable: Portable) -> list[Chunk]:
    """Make the chunks that hold `portable`; WebP has no place for a resolution."""
    blocks = ((b"ICCP", portable.icc), (b"EXIF", portable.exif), (b"XMP ", portable.xmp))
    return [Chunk(kind, data) for kind, data in blocks if data]
