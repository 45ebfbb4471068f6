"""Float images: values that cannot be meant as they stand are refused, not denoised wrongly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ImageError, UsageError

Range = tuple[float, float]
"""Black and white."""

NOMINAL: Range = (0.0, 1.0)
_FAR = 4.0
"""Noise, sharpening and highlights pass white by a little; what passes it so many times, or lies as
far below black, has another range."""
_OUTSIDE = 1.0
_COMMON = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)


def parse_range(text: str) -> Range:
    """Read BLACK,WHITE.

    Raises:
        UsageError: it is not that.
    """
    try:
        black, white = (float(part) for part in text.split(","))
        return require_range((black, white))
    except (ValueError, UsageError) as err:
        raise UsageError(
            f"--range: expected BLACK,WHITE, the lower one first, such as 0,255; got {text!r}."
        ) from err


def require_range(value_range: Range) -> Range:
    """Return a range that is one.

    Raises:
        UsageError: black is not below white, or one of them is not finite.
    """
    black, white = value_range
    if not -np.inf < black < white < np.inf:
        raise UsageError(
            f"the range of float images: expected black below white, got {black:g} and {white:g}."
        )
    return value_range


def to_nominal(values: NDArray[Any], value_range: Range = NOMINAL) -> NDArray[np.float32]:
    """Turn pixels of any shape into float32 with black at 0 and white at 1.

    Args:
        values: unsigned integers use their whole range.
        value_range: black and white of floats.
    """
    floats: NDArray[np.float32] = np.asarray(values, np.float32)
    black, white = value_range
    if values.dtype.kind == "u":
        black, white = 0, np.iinfo(values.dtype).max
    if (black, white) == NOMINAL:
        return floats
    scaled: NDArray[np.float32] = (floats - np.float32(black)) / np.float32(white - black)
    return scaled


def extent(bands: Iterable[NDArray[Any]], colours: int) -> Range | None:
    """Return the least and the largest value; None where there are no floats.

    Args:
        bands: (rows, W) or (rows, W, C) each.
        colours: planes that count: alpha may have another range.
    """
    low, high = np.inf, -np.inf
    for band in bands:
        if band.dtype.kind != "f":
            return None
        shown = band.reshape(*band.shape[:2], -1)[..., :colours]
        least, most = float(shown.min()), float(shown.max())
        if np.isnan(least):
            return least, most
        low, high = min(low, least), max(high, most)
    return low, high


def check_range(found: Range | None, value_range: Range | None) -> str:
    """Decide whether values can be denoised as they stand.

    Args:
        found: as `extent` gives it.
        value_range: what the user said; then nothing finite is refused.

    Returns:
        A sentence about values far outside, or nothing.

    Raises:
        ImageError: the range was not said, and is hardly the nominal one; or some values are not
            finite.
    """
    if found is None:
        return ""
    low, high = _finite(found)
    black, white = value_range or NOMINAL
    if value_range is None and _is_far(low, high):
        raise ImageError(
            f"its values reach from {low:.4g} to {high:.4g}; the network expects black at 0 and "
            f"white at 1. Say what they are in this file with --range BLACK,WHITE, such as "
            f"--range {_guess(low, high)}; with --range 0,1 they are taken as they stand."
        )
    above, below = (high - white) / (white - black), (black - low) / (white - black)
    if max(above, below) > _OUTSIDE:
        return (
            f"values reach from {low:.4g} to {high:.4g}, far outside of black at {black:g} and "
            f"white at {white:g}."
        )
    return ""


def require_meant(image: NDArray[Any], value_range: Range | None) -> None:
    """Make sure that the values of an array, all planes, can be meant as they stand.

    Raises:
        ImageError: see `check_range`.
    """
    found = extent([image], image.shape[-1])
    if found is None or value_range is not None:
        _finite(found or NOMINAL)
        return
    low, high = found
    if _is_far(*_finite(found)):
        raise ImageError(
            f"the array's values reach from {low:.4g} to {high:.4g}; floats are taken with black "
            f"at 0 and white at 1. Say what they are with value_range=({_guess(low, high)}); with "
            "value_range=(0, 1) they are taken as they stand."
        )


def _is_far(low: float, high: float) -> bool:
    return high > _FAR or low < 1 - _FAR


def _finite(found: Range) -> Range:
    if not np.isfinite(found).all():
        what = "not numbers (NaN)" if np.isnan(found).any() else "infinite"
        raise ImageError(
            f"some of its values are {what}, and would spoil all pixels around them. Replace them "
            "first, with numpy.nan_to_num for example."
        )
    return found


def _guess(low: float, high: float) -> str:
    if low < -0.5 * high:
        return f"{low:.4g},{high:.4g}"
    # Noise passes white here, too.
    return f"0,{next((white for white in _COMMON if high <= 1.5 * white), high):g}"
