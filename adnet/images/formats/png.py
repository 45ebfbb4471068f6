"""PNG and APNG: every colour type and depth; 16 bits stay 16 bits, chunks stay as they were."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ImageError
from adnet.images.formats.apng import Animation, read_frames, write_frames
from adnet.images.formats.bits import unpack_bits, widened
from adnet.images.formats.exif import stripped_exif
from adnet.images.formats.image_file import (
    ImageFile,
    Pixels,
    planes,
    require_pixels,
    squeezed,
)
from adnet.images.formats.png_chunks import (
    XMP,
    Chunk,
    join_chunks,
    portable_chunks,
    read_portable,
    split_chunks,
)
from adnet.images.formats.png_filter import pack_rows, passes, unpack_rows
from adnet.images.formats.source import Sliced

MAX_SIDE = 2**31 - 1

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PIXEL_CHUNKS = (b"IHDR", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"tRNS")
"""Chunks that are made from the pixels, never copied."""
_COPIED_THOUGH_UNSAFE = (
    b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"bKGD", b"sPLT",
    b"PLTE", b"tIME", b"oFFs", b"pCAL", b"sCAL", b"sTER", b"eXIf", b"vpAg",
)  # fmt: skip
"""Chunks that may depend on the pixels by their name, but are right for the denoised ones, too."""
_LOOKS = (
    b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"bKGD", b"PLTE",
    b"pHYs", b"sPLT",
)  # fmt: skip
"""What `--strip-metadata` leaves: colour and resolution."""


@dataclass(frozen=True, slots=True)
class PngLayout:
    """What a PNG file holds beside its pixels."""

    before: tuple[Chunk, ...] = ()
    """Chunks between the header and the pixels, in their order."""
    after: tuple[Chunk, ...] = ()
    """Those behind, and between the frames of an animation."""
    interlaced: bool = False
    animation: Animation | None = None

    @property
    def only_here(self) -> list[str]:
        """Chunks that only PNG has, or that hold nothing readable, or again what another holds."""
        chunks = (*self.before, *self.after)
        found = read_portable(chunks)
        carried = {b"iCCP": found.icc, b"eXIf": found.exif, b"pHYs": found.dpi, XMP: found.xmp}
        kinds = []
        for kind, data in chunks:
            name = XMP if data.startswith(XMP + b"\0") else kind
            if not carried.pop(name, None) and kind != b"PLTE":
                kinds.append(kind.decode("latin-1"))
        return [f"PNG's {', '.join(dict.fromkeys(kinds))}"] if kinds else []

    def stripped(self) -> PngLayout:
        """Keep colour, resolution and orientation."""
        exif = read_portable((*self.before, *self.after)).exif
        upright = stripped_exif(exif)
        kept = [chunk for chunk in self.before if chunk.kind in _LOOKS]
        if upright:
            kept.append(Chunk(b"eXIf", upright))
        return replace(self, before=tuple(kept), after=())


@dataclass(frozen=True, slots=True)
class Header:
    """What the first chunk says."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def step(self) -> int:
        """Bytes per pixel, at least 1."""
        return max(1, _SAMPLES[self.colour] * self.depth // 8)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Rows and bytes per row of each pass."""
        bits = _SAMPLES[self.colour] * self.depth
        found = passes(self.width, self.height, self.interlaced)
        return [(rows, -(-columns * bits // 8)) for _, _, rows, columns in found]

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Read it.

        Raises:
            ImageError: damaged, or of a later version.
        """
        if len(data) != 13:
            raise ImageError("cannot be decoded, the file may be damaged (header).")
        width, height, depth, colour, packing, filters, interlace = struct.unpack(">IIBBBBB", data)
        known = depth in _DEPTHS.get(colour, ()) and not packing and not filters and interlace < 2
        if not known:
            raise ImageError("cannot be decoded, the file may be damaged (header).")
        return cls(width, height, depth, colour, interlace == 1)


@dataclass(frozen=True, slots=True)
class Opened:
    """All of a PNG file but its pixels."""

    header: Header
    colour: Colour
    chunks: list[Chunk]
    layout: PngLayout
    notes: tuple[str, ...]
    frames: int
    """1, or as many as an animation has."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the image when decoded: (height, width, channels)."""
        return self.header.height, self.header.width, self.colour.channels(self.header)


def open_png(data: Sliced, places: list[tuple[int, int]] | None = None) -> Opened:
    """Read what a PNG file holds beside its pixels.

    Args:
        places: to be filled with offset and length of the pixels' chunks (IDAT), which are not
            read then.

    Raises:
        ImageError: the file is damaged or of a kind that is not supported.
    """
    chunks, notes = split_chunks(data, places)
    if not chunks or chunks[0].kind != b"IHDR":
        raise ImageError(
            "does not start as a PNG file does; files that Xcode packed for an iPhone are not "
            "supported. Unpack it with xcrun pngcrush -revert-iphone-optimizations."
        )
    header = Header.parse(chunks[0].data)
    first = _pixels_start(chunks)
    colour = Colour.of(header, chunks)
    notes = colour.notes + notes
    kept = []
    for part in (chunks[:first], chunks[first:]):
        carried, told = _carried(part, header, colour)
        kept.append(carried)
        notes += told
    frames = max(1, sum(chunk.kind == b"fcTL" for chunk in chunks))
    layout = PngLayout(kept[0], kept[1], interlaced=header.interlaced)
    return Opened(header, colour, chunks, layout, tuple(notes), frames)


def decode(data: bytes, limit: int) -> ImageFile:
    """Read a PNG file; see `codec.decode_image`."""
    opened = open_png(data)
    header, chunks = opened.header, opened.chunks
    layout = opened.layout
    if any(chunk.kind == b"acTL" for chunk in chunks[: _pixels_start(chunks)]):
        animation, frames = read_frames(
            chunks,
            (header.width, header.height),
            limit,
            lambda packed, size: opened.colour.pixels([packed], replace_size(header, size)),
        )
        layout = replace(layout, animation=animation)
    else:
        require_pixels([(header.width, header.height)], limit)
        packed = (chunk.data for chunk in chunks if chunk.kind == b"IDAT")
        frames = [opened.colour.pixels(packed, header)]
    portable = read_portable((*layout.before, *layout.after))
    one, *more = (squeezed(frame) for frame in frames)
    return ImageFile(one, "PNG", layout, portable, opened.notes, tuple(more))


def encode(frames: Sequence[Pixels], like: ImageFile) -> bytes:
    """Write a PNG file; see `codec.encode_image`."""
    layout, head = start_of(frames[0], like)

    def packed(frame: Pixels) -> bytes:
        return _pack(planes(frame), layout.interlaced)

    if layout.animation is None:
        chunks = [*head, Chunk(b"IDAT", packed(frames[0]))]
    else:
        chunks = [head[0], layout.animation.control(len(frames)), *head[1:]]
        chunks += write_frames(frames, layout.animation, packed)
    return join_chunks([*chunks, *layout.after])


def start_of(pixels: Pixels, like: ImageFile) -> tuple[PngLayout, list[Chunk]]:
    """Return the layout to write, and the chunks that come before the pixels."""
    same = isinstance(like.layout, PngLayout)
    layout = like.layout if same else PngLayout(tuple(portable_chunks(like.portable)))
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[samples]
    head = (width, height, 8 * pixels.dtype.itemsize, colour, 0, 0, int(layout.interlaced))
    return layout, [Chunk(b"IHDR", struct.pack(">IIBBBBB", *head)), *layout.before]


def rows_of_bytes(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """(rows, W, C) to (rows, bytes per row) as PNG stores them."""
    stored = np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder(">"), copy=False))
    return stored.view(np.uint8).reshape(len(samples), -1)


def replace_size(header: Header, size: tuple[int, int]) -> Header:
    """Return the header of a frame of its own size (width, height)."""
    return replace(header, width=size[0], height=size[1])


def _pack(samples: NDArray[Any], interlaced: bool) -> bytes:
    height, width, count = samples.shape
    step = count * samples.dtype.itemsize
    found = passes(width, height, interlaced)
    parts = (_bands(samples[rows, columns]) for rows, columns, _, _ in found)
    return pack_rows(parts, step, deep=samples.dtype.itemsize > 1)


def _bands(samples: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
    """Turn a few rows at a time to bytes: all at once would double the memory."""
    height = max(1, 2**20 // max(1, samples[0].nbytes))
    for start in range(0, len(samples), height):
        yield rows_of_bytes(samples[start : start + height])


def _pixels_start(chunks: list[Chunk]) -> int:
    """Find the first chunk of pixels; metadata may stand between the later ones."""
    at = next((at for at, chunk in enumerate(chunks) if chunk.kind == b"IDAT"), None)
    if at is None:
        raise ImageError("cannot be decoded, the file may be damaged (it holds no pixels).")
    return at


def _carried(
    chunks: list[Chunk], header: Header, colour: Colour
) -> tuple[tuple[Chunk, ...], list[str]]:
    kept, dropped = [], []
    for chunk in chunks:
        kind = chunk.kind
        name = kind.decode("latin-1")
        if kind in _PIXEL_CHUNKS or (kind == b"PLTE" and header.colour != 2 | (header.colour & 4)):
            continue
        if not kind[0] & 32 and kind != b"PLTE":
            raise ImageError(f"needs something that is not known here (chunk {name}).")
        if kind == b"bKGD" and colour.changed:
            if data := colour.background(chunk.data, header):
                kept.append(Chunk(kind, data))
            else:
                dropped.append(name)
        elif kind == b"sBIT" and colour.changed:
            dropped.append(name)
        elif kind[3] & 32 or kind in _COPIED_THOUGH_UNSAFE:
            kept.append(chunk)
        else:
            dropped.append(name)
    told = ", ".join(dropped)
    return tuple(kept), [f"{told} would be wrong for the new pixels and was left out."] * bool(told)


@dataclass(frozen=True, slots=True)
class Colour:
    """How stored samples become gray or RGB with or without alpha."""

    palette: NDArray[np.uint8] | None
    """(256, 3), or (256, 4) with transparency."""
    transparent: tuple[int, ...] | None
    """The one colour that is transparent, as stored."""
    notes: list[str]
    changed: bool
    """The result has another colour type or depth than the file."""

    @classmethod
    def of(cls, header: Header, chunks: list[Chunk]) -> Colour:
        """Find palette and transparency among the chunks."""
        found = {chunk.kind: chunk.data for chunk in reversed(chunks)}
        clear = found.get(b"tRNS")
        if header.colour == 3:
            table = _palette(found.get(b"PLTE", b""), clear)
            kind = "RGB" if table.shape[1] == 3 else "RGB and alpha"
            return cls(table, None, [f"the palette became {kind}."], True)
        if header.colour > 3 or clear is None or len(clear) != 2 * _SAMPLES[header.colour]:
            clear = None
        notes = []
        if header.depth < 8:
            what = "1 bit" if header.depth == 1 else f"{header.depth} bits"
            notes.append(f"{what} per pixel became gray with 8 bits.")
        if clear is not None:
            notes.append("the transparent colour became an alpha channel.")
        values = None
        if clear is not None:  # bits beyond the depth have no meaning
            numbers = struct.unpack(f">{len(clear) // 2}H", clear)
            values = tuple(number & ((1 << header.depth) - 1) for number in numbers)
        return cls(None, values, notes, header.depth < 8 or clear is not None)

    def background(self, stored: bytes, header: Header) -> bytes | None:
        """Turn bKGD, an index or a colour of the old depth, to the new one; None if damaged."""
        if self.palette is not None:
            return struct.pack(">3H", *self.palette[stored[0], :3]) if len(stored) == 1 else None
        if len(stored) != 2 * _SAMPLES[header.colour]:
            return None
        values = np.frombuffer(stored, ">u2")
        if header.depth < 8:
            low = (values & ((1 << header.depth) - 1)).astype(np.uint8)
            values = widened(low, header.depth)
        return values.astype(">u2").tobytes()

    def channels(self, header: Header) -> int:
        """Count the planes of the result."""
        if self.palette is not None:
            return int(self.palette.shape[1])
        return _SAMPLES[header.colour] + (self.transparent is not None)

    def pixels(self, packed: Iterable[bytes], header: Header) -> NDArray[Any]:
        """Decode to (H, W, C)."""
        return self.coloured(_samples(packed, header), header)

    def coloured(self, stored: NDArray[Any], header: Header) -> NDArray[Any]:
        """Turn (rows, W, samples) as stored to gray or RGB, with or without alpha."""
        if self.palette is not None:
            table: NDArray[np.uint8] = self.palette[stored[..., 0]]
            return table
        result = widened(stored, header.depth) if header.depth < 8 else stored
        if self.transparent is None:
            return result
        values = np.array(self.transparent, np.uint16)
        white = np.iinfo(result.dtype).max
        opaque = (stored != values).any(axis=2).astype(result.dtype) * white
        return np.dstack([result, opaque.astype(result.dtype)])


def _palette(stored: bytes, clear: bytes | None) -> NDArray[np.uint8]:
    if not stored or len(stored) % 3 or len(stored) > 768:
        raise ImageError("cannot be decoded, the file may be damaged (palette).")
    table = np.zeros((256, 3), np.uint8)
    table[: len(stored) // 3] = np.frombuffer(stored, np.uint8).reshape(-1, 3)
    if not clear:
        return table
    alpha = np.full(256, 255, np.uint8)
    alpha[: len(clear[:256])] = np.frombuffer(clear[:256], np.uint8)
    return np.column_stack([table, alpha])


def _samples(pieces: Iterable[bytes], header: Header) -> NDArray[Any]:
    """Decode to (H, W, samples) as stored, uint8 or uint16."""
    found = passes(header.width, header.height, header.interlaced)
    kind = np.uint16 if header.depth == 16 else np.uint8
    whole = np.empty((header.height, header.width, _SAMPLES[header.colour]), kind)
    bands = unpack_rows(pieces, header.shapes, header.step)
    for rows, columns, lines, across in found:
        target, start = whole[rows, columns], 0
        while start < lines:
            band = unpacked_band(next(bands), header, across)
            target[start : start + len(band)] = band
            start += len(band)
    for _ in bands:
        pass
    return whole


def unpacked_band(raw: NDArray[np.uint8], header: Header, across: int) -> NDArray[Any]:
    """Rows of bytes to (rows, across, samples) as stored."""
    count = _SAMPLES[header.colour]
    if header.depth == 16:
        part: NDArray[Any] = np.ascontiguousarray(raw).view(">u2").astype(np.uint16)
    else:
        part = unpack_bits(raw, header.depth, across * count)
    return part.reshape(-1, across, count)
