"""Image data that is not in memory as a whole: files read where they are needed, zlib streams."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable
from typing import BinaryIO, Protocol

from adnet.errors import ImageError

_PIECE = 1 << 16
"""Bytes unpacked at once: what is left of them is copied each time."""


class Sliced(Protocol):
    """Bytes, or a file that can be sliced like bytes."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> bytes: ...


class FileBytes:
    """A file that is sliced like bytes and read only there. For one thread at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice, /) -> bytes:
        """Read; whatever ends beyond the file's end is cut, as with bytes."""
        start, stop, _ = place.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))


class Inflater:
    """Reads so many bytes at a time from a zlib stream that comes in pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._stream = zlib.decompressobj()
        self._pieces = (
            memoryview(piece)[at : at + _PIECE]
            for piece in pieces
            for at in range(0, len(piece), _PIECE)
        )

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises:
            ImageError: the data is damaged or ends early.
        """
        found, missing = [], size
        while missing:
            packed = self._stream.unconsumed_tail or next(self._pieces, b"")
            if not packed or self._stream.eof:
                raise ImageError("cannot be decoded, the file may be damaged (pixels are missing).")
            try:
                found.append(self._stream.decompress(packed, missing))
            except zlib.error as err:
                raise ImageError(f"cannot be decoded, the file may be damaged ({err}).") from err
            missing -= len(found[-1])
        return b"".join(found)

    def finish(self) -> None:
        """Take the rest of the pieces, whose check sums are looked at on the way."""
        for _ in self._pieces:
            pass
