"""PNG files read and written a band of rows at a time."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ImageError
from adnet.images.formats.image_file import ImageFile, require_pixels, stand_in
from adnet.images.formats.png import open_png, rows_of_bytes, start_of, unpacked_band
from adnet.images.formats.png_chunks import SIGNATURE, Chunk, read_portable
from adnet.images.formats.png_filter import RowPacker, unpack_rows
from adnet.images.formats.source import Sliced

_CHUNK = 1 << 18
"""Least bytes of pixels in a chunk."""
_WORK = 24 << 20
"""Bytes that unpacking, filtering and packing take beside the rows themselves."""


class PngSource:
    """A PNG file whose pixels are read band by band; see `rows.RowSource`."""

    def __init__(self, data: Sliced, limit: int) -> None:
        self._data = data
        self._places: list[tuple[int, int]] = []
        self._opened = opened = open_png(data, self._places)
        header, layout = opened.header, opened.layout
        require_pixels([(header.width, header.height)] * opened.frames, limit)
        dtype = np.dtype(np.uint16 if header.depth == 16 else np.uint8)
        frame = stand_in(opened.shape, dtype)
        portable = read_portable((*layout.before, *layout.after))
        more = (frame,) * (opened.frames - 1)
        self.file = ImageFile(frame, "PNG", layout, portable, opened.notes, more)
        self.why_not = ""
        if header.interlaced:
            self.why_not = "an interlaced PNG file"
        elif opened.frames > 1:
            self.why_not = "an animated PNG file"

    def band_bytes(self, _page: int) -> int:
        """See `RowSource`."""
        _, width, channels = self._opened.shape
        return _WORK + 6 * width * channels * self.file.pixels.dtype.itemsize

    def bands(self, _page: int) -> Iterator[NDArray[Any]]:
        """See `RowSource`."""
        header = self._opened.header
        for raw in unpack_rows(self._pieces(), header.shapes, header.step):
            yield self._opened.colour.coloured(unpacked_band(raw, header, header.width), header)

    def _pieces(self) -> Iterator[bytes]:
        for at, length in self._places:
            check = zlib.crc32(b"IDAT")
            for start in range(at, at + length, _CHUNK):
                piece = self._data[start : min(start + _CHUNK, at + length)]
                check = zlib.crc32(piece, check)
                yield piece
            if self._data[at + length : at + length + 4] != struct.pack(">I", check):
                raise ImageError("cannot be decoded, the file may be damaged (chunk IDAT).")


class PngSink:
    """Writes a PNG file band by band; see `rows.RowSink`."""

    def __init__(self, file: BinaryIO, like: ImageFile) -> None:
        pixels = like.pixels
        self._file = file
        self._samples = 1 if pixels.ndim == 2 else pixels.shape[2]
        layout, head = start_of(pixels, like)
        size = pixels.dtype.itemsize
        self._packer = RowPacker(self._samples * size, deep=size > 1)
        self._after = layout.after
        self._waiting: list[bytes] = []
        file.write(SIGNATURE)
        for chunk in head:
            self._chunk(chunk)

    @staticmethod
    def work_bytes(like: ImageFile, _page: int) -> int:
        """See `rows.work_bytes`."""
        return _WORK + 24 * like.pixels[:1].nbytes

    @staticmethod
    def divides(_like: ImageFile) -> bool:
        """See `rows.divides`."""
        return False

    def put(self, rows: NDArray[Any]) -> None:
        """See `RowSink`."""
        height = max(1, 2**20 // rows[0].nbytes)
        for start in range(0, len(rows), height):
            part = rows[start : start + height, :, : self._samples]
            self._waiting += self._packer.put(rows_of_bytes(part))
            if sum(map(len, self._waiting)) >= _CHUNK:
                self._pixels()

    def end_page(self) -> None:
        """See `RowSink`."""
        self._waiting.append(self._packer.end())
        self._pixels()

    def close(self) -> None:
        """See `RowSink`."""
        for chunk in (*self._after, Chunk(b"IEND", b"")):
            self._chunk(chunk)

    def _pixels(self) -> None:
        self._chunk(Chunk(b"IDAT", b"".join(self._waiting)))
        self._waiting = []

    def _chunk(self, chunk: Chunk) -> None:
        check = zlib.crc32(chunk.data, zlib.crc32(chunk.kind))
        self._file.write(struct.pack(">I4s", len(chunk.data), chunk.kind))
        self._file.write(chunk.data)
        self._file.write(struct.pack(">I", check))
