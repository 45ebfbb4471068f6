"""Between the 256 levels of 8-bit pixels and floats whose white is 1: the one place that rounds.

Float images and batches have white at 1.0 all through this package; noise levels (sigma) are told
on the scale of the levels, so `sigma / WHITE` is one on the scale of the floats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WHITE = 255
"""The level of white."""


def from_levels(levels: NDArray[Any]) -> NDArray[np.float32]:
    """Turn levels 0 to 255, of any dtype and shape, into float32 from 0 to 1."""
    floats: NDArray[np.float32] = np.divide(levels, np.float32(WHITE), dtype=np.float32)
    return floats


def to_levels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn floats into levels as an image file holds them: the nearest one, clipped to 0 and 255.

    `to_levels(from_levels(x))` is x for every level.
    """
    return round_to_levels(values).astype(np.uint8)


def round_to_levels(
    values: NDArray[Any], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Do as `to_levels`, but leave the levels 0.0, 1.0 ... 255.0 in float32.

    Args:
        out: takes the result, so that no array is made; same shape as `values`.
    """
    scaled = np.empty(np.shape(values), np.float32) if out is None else out
    np.multiply(values, np.float32(WHITE), out=scaled, casting="same_kind")
    np.rint(scaled, out=scaled)
    np.clip(scaled, 0, WHITE, out=scaled)
    return scaled
