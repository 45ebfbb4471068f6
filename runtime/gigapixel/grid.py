"""Which chunks an image has, and which part of it each one needs: pure geometry.

A chunk is what is written at once, and the core of its window; the window is what is read and
denoised for it. Windows keep the halo around their core inside the image and all have one size, as
tiles do, so chunks may be made in any order, anywhere, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from adnet.errors import UsageError

CHUNK = 1024
"""Side of a chunk in pixels."""
_STEP, _LEAST = 16, 64
"""The sides of a TIFF's tiles are multiples of 16."""

Cell = tuple[int, int]
"""Row and column of a chunk in the grid."""
Place = tuple[slice, slice]
"""Rows and columns of the image."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The chunks of an image."""

    height: int
    width: int
    chunk: int
    halo: int
    """Pixels of context that make a chunk exact."""

    @property
    def cells(self) -> Iterator[Cell]:
        """All chunks in reading order."""
        return (
            (row, column)
            for row in range(-(-self.height // self.chunk))
            for column in range(-(-self.width // self.chunk))
        )

    def __len__(self) -> int:
        return -(-self.height // self.chunk) * -(-self.width // self.chunk)

    def core(self, cell: Cell) -> Place:
        """The pixels of a chunk."""
        rows, columns = (
            slice(at * self.chunk, min((at + 1) * self.chunk, length))
            for at, length in zip(cell, (self.height, self.width), strict=True)
        )
        return rows, columns

    def window(self, cell: Cell) -> Place:
        """The pixels that a chunk is made of."""
        rows, columns = (
            self._reach(core.start, length)
            for core, length in zip(self.core(cell), (self.height, self.width), strict=True)
        )
        return rows, columns

    def _reach(self, start: int, length: int) -> slice:
        side = min(length, self.chunk + 2 * self.halo)
        first = max(0, min(start - self.halo, length - side))
        return slice(first, first + side)

    def core_within(self, cell: Cell) -> Place:
        """The chunk in the coordinates of its window."""
        rows, columns = (
            slice(core.start - window.start, core.stop - window.start)
            for core, window in zip(self.core(cell), self.window(cell), strict=True)
        )
        return rows, columns


def require_chunk(side: int) -> int:
    """Return the side of a chunk that can be used.

    Raises:
        UsageError: it is too small, or no multiple of 16.
    """
    if side < _LEAST or side % _STEP:
        raise UsageError(
            f"--chunk: expected a multiple of {_STEP}, at least {_LEAST}, as TIFF tiles are; got "
            f"{side}."
        )
    return side
