"""PNG's compressed rows to arrays of bytes and back, at any depth.

Undoing the filters is sequential work, so Pillow's C code does it. Pillow has no 16-bit RGB, but it
can unpack such rows to their high bytes or to their low bytes: both together are the whole.
Source: PNG specification, third edition, sections 7 to 10.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats.source import Inflater

Bytes = NDArray[np.uint8]

_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip
"""First column, first row, column step, row step of each pass."""

_BAND = 1 << 20
"""Bytes filtered at once: bounds the memory of encoder and decoder."""
_LEVEL = 4
"""Of zlib: 6 takes twice the time for files 1 % smaller."""
_ALIKE = 8
"""Rows of pixels with more than 4 bytes that share a filter."""


def passes(width: int, height: int, interlaced: bool) -> list[tuple[slice, slice, int, int]]:
    """List the passes: which rows and columns of the image, and how many rows and columns."""
    if not interlaced:
        return [(slice(None), slice(None), height, width)]
    found = []
    for left, top, across, down in _ADAM7:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            found.append((slice(top, None, down), slice(left, None, across), rows, columns))
    return found


def unpack_rows(
    pieces: Iterable[bytes], shapes: list[tuple[int, int]], step: int, most: int = _BAND
) -> Iterator[Bytes]:
    """Decompress and unfilter, holding little more than what is yielded.

    Args:
        pieces: the data of the IDAT (or fdAT) chunks, in any pieces.
        shapes: rows and bytes per row of each pass.
        step: bytes per pixel, at least 1.
        most: bytes yielded at once, or one row.

    Yields:
        (rows, bytes per row): the rows of each pass, in bands.

    Raises:
        ImageError: the data is damaged or ends early.
    """
    stream = Inflater(pieces)
    for rows, length in shapes:
        height = max(1, most // length)
        above = b""
        for start in range(0, rows, height):
            count = min(height, rows - start)
            plain = stream.read(count * (length + 1))
            # Pillow's decoder wants a stream of its own for each band: level 0 is no work. The row
            # above goes first, without a filter.
            stored = zlib.compress(above + plain if above else plain, 0)
            del plain
            lines = count + bool(above)
            band = _unfilter(stored, lines, length, step)
            yield band[lines - count :]
            above = b"\0" + band[-1].tobytes()
    stream.finish()


def _unfilter(packed: bytes, rows: int, length: int, step: int) -> Bytes:
    def decode(mode: str, raw: str) -> Bytes:
        size = (length // step, rows)
        return np.asarray(Image.frombytes(mode, size, packed, "zip", raw, 0)).reshape(rows, -1)

    try:
        if step <= 4:
            mode = ("L", "LA", "RGB", "RGBA")[step - 1]
            return decode(mode, mode)
        mode = "RGB" if step == 6 else "RGBA"
        whole = np.empty((rows, length // 2, 2), np.uint8)
        whole[..., 0] = decode(mode, f"{mode};16B")
        whole[..., 1] = decode(mode, f"{mode};16L")
        return whole.reshape(rows, length)
    except (OSError, ValueError, SyntaxError) as err:
        raise ImageError(f"cannot be decoded, the file may be damaged ({err}).") from err


class RowPacker:
    """Filters and compresses rows that come in bands.

    Each row gets the filter with the least sum of absolute values, as libpng chooses; of pixels
    with more than 4 bytes, which Pillow does not filter, a few rows together.

    Args:
        step: bytes per pixel.
        deep: samples have 16 bits.
    """

    def __init__(self, step: int, *, deep: bool) -> None:
        self._step = step
        self._above: Bytes | None = None
        # The low bytes of 16-bit samples repeat nowhere: looking for more than runs takes five
        # times as long and makes the file no smaller.
        strategy = zlib.Z_RLE if deep else zlib.Z_FILTERED
        self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, 15, 9, strategy)

    def put(self, rows: Bytes) -> Iterator[bytes]:
        """Take (rows, bytes per row); yields what can be written by now."""
        height = max(1, _BAND // rows.shape[1])
        for start in range(0, rows.shape[0], height):
            band = rows[start : start + height]
            above = np.zeros(rows.shape[1], np.uint8) if self._above is None else self._above
            filtered = (_filter_fast if self._step <= 4 else _filter)(band, above, self._step)
            self._above = band[-1].copy()
            if packed := self._stream.compress(filtered):
                yield packed

    def next_pass(self) -> None:
        """Go on with the next pass of an interlaced image."""
        self._above = None

    def end(self) -> bytes:
        """Return the last bytes."""
        return self._stream.flush()


def pack_rows(parts: Iterable[Iterable[Bytes]], step: int, *, deep: bool) -> bytes:
    """Filter and compress the passes of an image, each in bands (rows, bytes per row)."""
    packer = RowPacker(step, deep=deep)
    packed: list[bytes] = []
    for bands in parts:
        for rows in bands:
            packed += packer.put(rows)
        packer.next_pass()
    return b"".join([*packed, packer.end()])


def _filter_fast(band: Bytes, above: Bytes, step: int) -> memoryview:
    """Let Pillow's encoder choose and apply the filters: level 0 is no compression."""
    mode = ("L", "LA", "RGB", "RGBA")[step - 1]
    whole = np.vstack([above[None], band]).reshape(len(band) + 1, -1, step)
    image = Image.fromarray(whole[..., 0] if step == 1 else whole)
    stored = zlib.decompress(image.tobytes("zip", mode, False, 0, -1, b""))
    return memoryview(stored)[band.shape[1] + 1 :]


def _filter(band: Bytes, above: Bytes, step: int) -> bytes:
    up = np.vstack([above[None], band[:-1]])
    costs = [
        np.abs(_filtered(number, band[::_ALIKE], up[::_ALIKE], step).view(np.int8).astype(np.int16))
        .sum(axis=1, dtype=np.int64)
        for number in range(5)
    ]  # fmt: skip
    best = np.repeat(np.argmin(costs, axis=0), _ALIKE)[: len(band)]
    filtered = np.empty((band.shape[0], band.shape[1] + 1), np.uint8)
    filtered[:, 0] = best
    for number in range(5):
        if (chosen := best == number).any():
            filtered[chosen, 1:] = _filtered(number, band[chosen], up[chosen], step)
    return filtered.tobytes()


def _filtered(number: int, band: Bytes, up: Bytes, step: int) -> Bytes:
    if number == 0:
        return band
    if number == 2:
        return band - up
    left = np.zeros_like(band)
    left[:, step:] = band[:, :-step]
    if number == 1:
        return band - left
    if number == 3:
        # The mean of two bytes without a ninth bit.
        return band - ((left & up) + ((left ^ up) >> 1))
    corner = np.zeros_like(band)
    corner[:, step:] = up[:, :-step]
    a, b, c = (part.astype(np.int16) for part in (left, up, corner))
    to_left, to_up, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where(to_up <= to_corner, up, corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
    result: Bytes = band - paeth
    return result
