"""Exact tiling and batches of tiles: pure geometry, no pixels.

A tile is what the network sees, its core is what is kept of the result, the halo is the context
between the two. A pixel of the output depends on `halo` pixels around it (ADNet: 20), so cores
that keep that distance from every tile border inside the image equal the untiled result. Tiles
never reach over the image's border: the last one is moved inward instead, so all have one size
and the network sees the image's real border exactly where the untiled run sees it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from adnet.errors import ShapeError


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows and columns of one tile and of its core, in image coordinates."""

    rows: slice
    columns: slice
    core_rows: slice
    core_columns: slice

    @property
    def core_within(self) -> tuple[slice, slice]:
        """The core in the tile's own coordinates."""
        return (
            slice(self.core_rows.start - self.rows.start, self.core_rows.stop - self.rows.start),
            slice(
                self.core_columns.start - self.columns.start,
                self.core_columns.stop - self.columns.start,
            ),
        )


def plan_tiles(size: tuple[int, int], tile: tuple[int, int], halo: int) -> list[Tile]:
    """Cover an image with tiles of one size.

    Args:
        size: (height, width) of the image.
        tile: (height, width) of every tile; at most the image's, and where smaller, more than
            twice the halo.
        halo: context in pixels.

    Returns:
        Tiles in reading order; their cores cover every pixel exactly once.

    Raises:
        ShapeError: the tile is larger than the image or not larger than its halo.
    """
    rows = _cover(size[0], tile[0], halo)
    columns = _cover(size[1], tile[1], halo)
    return [Tile(row, column, core_row, core_column)
            for row, core_row in rows for column, core_column in columns]  # fmt: skip


def balanced_tile(length: int, limit: int, halo: int) -> int:
    """Choose the smallest tile length that needs no more tiles than `limit` does.

    600 pixels with a limit of 512 are two tiles of 320, not two of 512 that mostly overlap.

    Raises:
        ShapeError: the limit is not larger than twice the halo.
    """
    if length <= limit:
        return length
    _require_room(limit, halo)
    count = math.ceil((length - 2 * halo) / (limit - 2 * halo))
    return math.ceil((length + (count - 1) * 2 * halo) / count)


def roomy_tile(size: tuple[int, int], pixels: int, halo: int) -> tuple[int, int]:
    """Choose a tile of at most so many pixels, with little of it in halos.

    First the height, up to a quarter more than a square's side, then the width that is left: an
    image of no more rows than that gets tiles of all its rows, so a row of tiles that is denoised
    alone is cut as in the whole image.

    Args:
        size: (height, width) of the image.

    Returns:
        (height, width) of the tile.

    Raises:
        ShapeError: so few pixels leave no core.
    """
    height = balanced_tile(size[0], highest_tile(pixels), halo)
    return height, balanced_tile(size[1], pixels // height, halo)


def highest_tile(pixels: int) -> int:
    """Return the most rows of a tile of so many pixels, see `roomy_tile`."""
    return math.isqrt(pixels) * 5 // 4


def fits(tile: int, length: int, halo: int) -> bool:
    """Tell whether tiles of one length can cover an axis: it is the axis, or has a core inside."""
    return tile == length or 2 * halo < tile < length


def plan_batches(
    count: int, batches: Sequence[int] | None, preferred: int
) -> Iterator[tuple[int, int]]:
    """Split `count` tiles into batches that the model takes, with little padding and few calls.

    Args:
        batches: what the model takes; None: anything, so `preferred` at a time.

    Yields:
        (tiles, batch): the batch has room for more where no combination of batches fits exactly.
    """
    if batches is None:
        yield from ((min(preferred, count - i),) * 2 for i in range(0, count, preferred))
        return
    largest = max(batches)
    while count > largest * min(largest, 16):
        yield largest, largest
        count -= largest
    # For what is left: the least work for each number of tiles, then the fewest batches.
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for left in range(1, count + 1):
        options = ((batch, best[max(0, left - batch)]) for batch in batches)
        best.append(min((batch + work, 1 + calls, -batch) for batch, (work, calls, _) in options))
    while count:
        batch = -best[count][2]
        yield min(batch, count), batch
        count -= min(batch, count)


def _cover(length: int, tile: int, halo: int) -> list[tuple[slice, slice]]:
    """Cover one axis: (tile, core) pairs."""
    if tile == length:
        return [(slice(0, length), slice(0, length))]
    if tile > length:
        raise ShapeError(f"tile of {tile} pixels is larger than the image's {length}.")
    _require_room(tile, halo)
    step = tile - 2 * halo
    count = math.ceil((length - 2 * halo) / step)
    starts = [min(index * step, length - tile) for index in range(count)]
    borders = [0, *(start + tile - halo for start in starts[:-1]), length]
    return [
        (slice(start, start + tile), slice(first, last))
        for start, (first, last) in zip(starts, pairwise(borders), strict=True)
    ]


def _require_room(tile: int, halo: int) -> None:
    if tile <= 2 * halo:
        raise ShapeError(
            f"tile of {tile} pixels leaves no core inside its halo of {halo} on each side. "
            f"Use at least {2 * halo + 1}; 512 is a good choice."
        )
