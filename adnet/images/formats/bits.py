"""Samples of any number of bits up to 16: unpacked to whole bytes or words and packed again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unpack_bits(rows: NDArray[np.uint8], bits: int, count: int) -> NDArray[Any]:
    """Cut rows of bytes into samples of `bits` bits, the highest bit first.

    Returns:
        (rows, count) uint8 for up to 8 bits, uint16 beyond; values as stored.
    """
    kind = np.uint8 if bits <= 8 else np.uint16
    if bits == 8:
        return rows[:, :count]
    flat = np.unpackbits(rows, axis=1, count=count * bits).reshape(rows.shape[0], count, bits)
    values = np.zeros((rows.shape[0], count), kind)
    for bit in range(bits):
        values |= flat[..., bit].astype(kind) << kind(bits - 1 - bit)
    return values


def pack_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Undo `unpack_bits`; each row is filled up with zero bits to a whole byte."""
    shifts = np.arange(bits - 1, -1, -1, dtype=values.dtype)
    flat = ((values[..., None] >> shifts) & 1).astype(np.uint8)
    return np.packbits(flat.reshape(values.shape[0], -1), axis=1)


def widened(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Scale samples of `bits` bits to the whole range of their dtype; `narrowed` undoes it."""
    white = int(np.iinfo(values.dtype).max)
    most = (1 << bits) - 1
    wide = values.astype(np.uint32) * np.uint32(white) + np.uint32(most // 2)
    result: NDArray[Any] = (wide // np.uint32(most)).astype(values.dtype)
    return result


def narrowed(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Scale from the whole range of the dtype to samples of `bits` bits, rounded."""
    white = int(np.iinfo(values.dtype).max)
    most = (1 << bits) - 1
    narrow = values.astype(np.uint32) * np.uint32(most) + np.uint32(white // 2)
    result: NDArray[Any] = (narrow // np.uint32(white)).astype(values.dtype)
    return result
