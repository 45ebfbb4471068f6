"""PNG's compressed rows to arrays of bytes and back, at any depth.

Undoing the filters is sequential work, so Pillow's C code does it. Pillow has no 16-bit RGB, but it
can unpack such rows to their high bytes or to their low bytes: both together are the whole.
Source: PNG specification, third edition, sections 7 to 10.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adnet.errors import ImageError

Bytes = NDArray[np.uint8]

_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip
"""First column, first row, column step, row step of each pass."""

_BAND = 1 << 20
"""Bytes filtered at once: bounds the memory of the encoder."""


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


def unpack_rows(packed: bytes, shapes: list[tuple[int, int]], step: int) -> Iterator[Bytes]:
    """Decompress and unfilter.

    Args:
        packed: the joined data of IDAT (or fdAT) chunks.
        shapes: rows and bytes per row of each pass.
        step: bytes per pixel, at least 1.

    Yields:
        (rows, bytes per row) of each pass.

    Raises:
        ImageError: the data is damaged or ends early.
    """
    if len(shapes) == 1:
        (rows, length) = shapes[0]
        yield _unfilter(packed, rows, length, step)
        return
    stream = zlib.decompressobj()
    rest = packed
    for rows, length in shapes:
        size = rows * (length + 1)
        try:
            plain = stream.decompress(rest, size)
        except zlib.error as err:
            raise ImageError(f"cannot be decoded, the file may be damaged ({err}).") from err
        rest = stream.unconsumed_tail
        if len(plain) < size:
            raise ImageError("cannot be decoded, the file may be damaged (pixels are missing).")
        # Pillow's decoder wants a zlib stream of its own for each pass; level 0 is no work.
        yield _unfilter(zlib.compress(plain, 0), rows, length, step)


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


def pack_rows(parts: list[Bytes], step: int) -> bytes:
    """Filter and compress the passes of an image, each (rows, bytes per row).

    Each row gets the filter with the least sum of absolute values, as libpng chooses.
    """
    if len(parts) == 1 and step <= 4:
        mode = ("L", "LA", "RGB", "RGBA")[step - 1]
        whole = parts[0].reshape(parts[0].shape[0], -1, step)
        image = Image.fromarray(whole[..., 0] if step == 1 else whole)
        return image.tobytes("zip", mode, False, 6, -1, b"")
    stream = zlib.compressobj(6)
    packed = []
    for rows in parts:
        height = max(1, _BAND // rows.shape[1])
        for start in range(0, rows.shape[0], height):
            above = rows[start - 1] if start else np.zeros(rows.shape[1], np.uint8)
            packed.append(stream.compress(_filter(rows[start : start + height], above, step)))
    packed.append(stream.flush())
    return b"".join(packed)


def _filter(band: Bytes, above: Bytes, step: int) -> bytes:
    up = np.vstack([above[None], band[:-1]])
    left, corner = np.zeros_like(band), np.zeros_like(band)
    left[:, step:], corner[:, step:] = band[:, :-step], up[:, :-step]
    wide = [part.astype(np.int16) for part in (left, up, corner)]
    a, b, c = wide
    to_left, to_up, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where(to_up <= to_corner, up, corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
    choices = np.stack(
        [band, band - left, band - up, band - ((a + b) >> 1).astype(np.uint8), band - paeth]
    )
    costs = np.abs(choices.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)
    best = costs.argmin(axis=0)
    filtered = np.empty((band.shape[0], band.shape[1] + 1), np.uint8)
    filtered[:, 0] = best
    filtered[:, 1:] = choices[best, np.arange(band.shape[0])]
    return filtered.tobytes()
