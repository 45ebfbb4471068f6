"""BMP of every depth, with or without alpha; the header stays as it was where it can.

Source: Microsoft's documentation of BITMAPCOREHEADER, BITMAPINFOHEADER and BITMAPV5HEADER.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ImageError
from adnet.images.formats.bits import narrowed, unpack_bits, widened
from adnet.images.formats.bmp_rle import unpack_runs
from adnet.images.formats.image_file import (
    ImageFile,
    Pixels,
    Portable,
    has_alpha,
    planes,
    require_pixels,
    squeezed,
)

MAX_SIDE = 2**31 - 1

_RGB, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_PLAIN = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_SRGB = 0x73524742


@dataclass(frozen=True, slots=True)
class BmpLayout:
    """How a BMP file stores its pixels."""

    bits: int
    """Per pixel: 8 gray, 16, 24 or 32."""
    masks: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Red, green, blue and alpha, for 16 and 32 bits."""
    top_down: bool = False
    header: bytes = b""
    """The header as it was; empty for a new one."""
    profile: bytes = b""
    """ICC profile, or the name of a file with one."""
    spare: NDArray[np.uint32] | None = None
    """(H, W) bits beside red, green, blue and alpha, copied."""

    @property
    def only_here(self) -> list[str]:
        """Nothing: what BMP knows, others know."""
        return []

    def stripped(self) -> BmpLayout:
        """Everything changes how the image looks."""
        return self


def decode(data: bytes, limit: int) -> ImageFile:
    """Read a BMP file; see `codec.decode_image`."""
    head = _Head.parse(data)
    require_pixels([(head.width, head.height)], limit)
    notes: list[str] = []
    spare = None
    bits, masks = head.bits, head.masks
    if bits <= 8:
        if head.compression in (_RLE8, _RLE4):
            indices = unpack_runs(data[head.start :], bits, (head.width, head.height))
        else:
            indices = unpack_bits(head.rows(data), bits, head.width)
        table = head.palette(data)
        if int(indices.max()) >= len(table):
            table = np.vstack([table, np.zeros((256 - len(table), 3), np.uint8)])
        pixels, bits = _as_gray(table[indices], notes)
        if head.bits < 8:
            notes = [f"{head.bits} bits per pixel became {bits}."]
        if head.compression != _RGB:
            notes.append("the RLE compression was undone.")
    elif bits == 24:
        pixels = head.rows(data)[:, : 3 * head.width].reshape(head.height, head.width, 3)[..., ::-1]
    else:
        kind = "<u2" if bits == 16 else "<u4"
        stored = np.ascontiguousarray(head.rows(data)).view(kind)[:, : head.width]
        pixels, spare = _split(stored.astype(np.uint32), masks, bits)
    if not head.top_down:
        pixels = pixels[::-1]
        spare = None if spare is None else spare[::-1]
    same = head.bits == bits
    layout = BmpLayout(
        bits, masks, head.top_down, head.raw if len(head.raw) >= 40 else b"", head.profile,
        spare if same else None,
    )  # fmt: skip
    portable = Portable(head.profile if head.embedded else None, dpi=head.dpi)
    return ImageFile(squeezed(planes(pixels)), "BMP", layout, portable, tuple(notes))


def encode(frames: Sequence[Pixels], like: ImageFile) -> bytes:
    """Write a BMP file; see `codec.encode_image`."""
    pixels = planes(frames[0])
    height, width, samples = pixels.shape
    if isinstance(like.layout, BmpLayout):
        layout = like.layout
    else:
        layout = BmpLayout({1: 8, 3: 24, 4: 32}[samples])
        if has_alpha(frames[0]):
            layout = replace(layout, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    order = pixels if layout.top_down else pixels[::-1]
    if layout.bits in (8, 24):
        rows = np.ascontiguousarray(order[..., ::-1]).reshape(height, -1)
    else:
        spare = layout.spare if layout.top_down or layout.spare is None else layout.spare[::-1]
        whole = _joined(order, layout.masks, spare)
        kind = "<u2" if layout.bits == 16 else "<u4"
        rows = np.ascontiguousarray(whole.astype(kind)).view(np.uint8).reshape(height, -1)
    body = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes()
    return _file(layout, (width, height), body, like.portable)


@dataclass(frozen=True, slots=True)
class _Head:
    raw: bytes
    width: int
    height: int
    bits: int
    compression: int
    top_down: bool
    masks: tuple[int, int, int, int]
    start: int
    """Where the pixels begin."""
    colours: tuple[int, int, int]
    """Of the palette: place, entries, bytes of each."""
    dpi: tuple[float, float] | None
    profile: bytes
    embedded: bool

    @classmethod
    def parse(cls, data: bytes) -> _Head:
        if len(data) < 26 or data[:2] != b"BM":
            raise ImageError("not a BMP file, or it ends early.")
        start, size = struct.unpack_from("<II", data, 10)
        raw = data[14 : 14 + size]
        if len(raw) < size or (size != 12 and size < 40) or size > 65_536:
            raise ImageError("cannot be decoded, the file may be damaged (header).")
        if size == 12:
            width, height, _, bits = struct.unpack_from("<HHHH", raw, 4)
            compression = used = 0
            dpi = None
        else:
            width, height, _, bits, compression = struct.unpack_from("<iiHHI", raw, 4)
            across, down, used = struct.unpack_from("<iiI", raw, 24)
            dpi = (across * 0.0254, down * 0.0254) if across > 0 and down > 0 else None
        known = {_RGB: (1, 4, 8, 16, 24, 32), _RLE8: (8,), _RLE4: (4,), _MASKS: (16, 32),
                 _ALPHA_MASKS: (16, 32)}  # fmt: skip
        if bits not in known.get(compression, ()):
            raise ImageError(
                f"is a BMP of {bits} bits with compression {compression}, which is not supported."
            )
        masks = _PLAIN.get(bits, (0, 0, 0, 0))
        after = 14 + size
        if compression in (_MASKS, _ALPHA_MASKS):
            count = 4 if size >= 56 or compression == _ALPHA_MASKS else 3
            masks = (*struct.unpack_from(f"<{count}I", data[:-1].ljust(80, b"\0"), 54), 0)[:4]
            after += 0 if size >= 52 else 4 * count
        entry = 3 if size == 12 else 4
        entries = min(used or 1 << bits, 1 << bits) if bits <= 8 else 0
        profile, embedded = cls._profile(data, raw)
        return cls(
            raw, width, abs(height), bits, compression, height < 0, masks, start,
            (after, entries, entry), dpi, profile, embedded,
        )  # fmt: skip

    @staticmethod
    def _profile(data: bytes, raw: bytes) -> tuple[bytes, bool]:
        if len(raw) < 124 or raw[56:60] not in (b"DEBM", b"KNIL"):
            return b"", False
        place, length = struct.unpack_from("<II", raw, 112)
        found = data[14 + place : 14 + place + length]
        return (found, raw[56:60] == b"DEBM") if len(found) == length else (b"", False)

    def palette(self, data: bytes) -> NDArray[np.uint8]:
        """Return (n, 3) RGB."""
        place, entries, size = self.colours
        raw = np.frombuffer(data[place : place + entries * size], np.uint8)
        if raw.size < entries * size:
            raise ImageError("the file ends early; it may be damaged.")
        return raw.reshape(entries, size)[:, 2::-1]

    def rows(self, data: bytes) -> NDArray[np.uint8]:
        """Return the rows as stored, (H, bytes per row with padding)."""
        length = (self.width * self.bits + 31) // 32 * 4
        raw = np.frombuffer(data[self.start : self.start + length * self.height], np.uint8)
        if raw.size < length * self.height:
            raise ImageError("cannot be decoded, the file may be damaged (pixels are missing).")
        return raw.reshape(self.height, length)


def _as_gray(pixels: NDArray[np.uint8], notes: list[str]) -> tuple[NDArray[Any], int]:
    """Return gray and 8 bits where all colours are gray, else RGB and 24."""
    if (pixels == pixels[..., :1]).all():
        return pixels[..., 0], 8
    notes.append("the palette became RGB.")
    return pixels, 24


def _split(
    stored: NDArray[np.uint32], masks: tuple[int, ...], bits: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint32] | None]:
    parts = []
    rest = (1 << bits) - 1
    for mask in masks[: 4 if masks[3] else 3]:
        shift, depth = _shift(mask)
        rest &= ~mask
        part = ((stored & np.uint32(mask)) >> np.uint32(shift)).astype(np.uint8)
        parts.append(widened(part, depth))
    spare = stored & np.uint32(rest)
    return np.dstack(parts), spare if rest and spare.any() else None


def _joined(
    pixels: NDArray[np.uint8], masks: tuple[int, ...], spare: NDArray[np.uint32] | None
) -> NDArray[np.uint32]:
    whole = np.zeros(pixels.shape[:2], np.uint32) if spare is None else spare.copy()
    for at in range(pixels.shape[2]):
        shift, depth = _shift(masks[at])
        whole |= narrowed(pixels[..., at], depth).astype(np.uint32) << np.uint32(shift)
    return whole


def _shift(mask: int) -> tuple[int, int]:
    """Return where a mask begins, and its bits."""
    shift = (mask & -mask).bit_length() - 1
    depth = mask.bit_length() - max(shift, 0)
    if mask == 0 or depth > 8 or mask >> shift != (1 << depth) - 1:
        raise ImageError(f"is a BMP with the colour mask {mask:#x}, which is not supported.")
    return shift, depth


def _file(layout: BmpLayout, size: tuple[int, int], body: bytes, portable: Portable) -> bytes:
    masked = layout.bits in (16, 32) and layout.masks != _PLAIN[layout.bits]
    header = bytearray(layout.header or _new_header(layout, portable))
    if layout.masks[3] and len(header) < 56:
        header += bytes(108 - len(header))
        struct.pack_into("<I", header, 56, _SRGB)
    large = len(header) >= 52
    profile = layout.profile or (portable.icc or b"" if len(header) >= 124 else b"")
    tables = b""
    if masked and not large:
        tables = struct.pack("<3I", *layout.masks[:3])
    elif large:
        struct.pack_into("<3I", header, 40, *layout.masks[:3])
        if len(header) >= 56:
            struct.pack_into("<I", header, 52, layout.masks[3])
    if layout.bits == 8:
        tables = b"".join(bytes((value, value, value, 0)) for value in range(256))
    start = 14 + len(header) + len(tables)
    struct.pack_into("<IiiHHII", header, 0, len(header), size[0],
                     -size[1] if layout.top_down else size[1], 1, layout.bits,
                     _MASKS if masked else _RGB, len(body))  # fmt: skip
    struct.pack_into("<II", header, 32, 0, 0)
    if len(header) >= 124:
        place = start - 14 + len(body) if profile else 0
        struct.pack_into("<II", header, 112, place, len(profile))
    total = start + len(body) + len(profile)
    if total >= 2**32:
        raise ImageError("a BMP file cannot be larger than 4 GB. Give the output a .tif name.")
    file = struct.pack("<2sIHHI", b"BM", total, 0, 0, start)
    return file + bytes(header) + tables + body + profile


def _new_header(layout: BmpLayout, portable: Portable) -> bytes:
    length = 124 if portable.icc else 108 if layout.masks[3] else 40
    header = bytearray(length)
    if portable.dpi:
        struct.pack_into("<ii", header, 24, *(round(value / 0.0254) for value in portable.dpi))
    if length > 40:
        struct.pack_into("<4s" if portable.icc else "<I", header, 56,
                         b"DEBM" if portable.icc else _SRGB)  # fmt: skip
    return bytes(header)
