"""Float images: values that cannot be meant as they stand are refused, not denoised wrongly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ImageError, UsageError

Range = tuple[float, float]
"""Black and white."""

NOMINAL: Range = (0.0, 1.0)
_FAR = 4.0
"""Noise, sharpening and highlights pass white by a little; what passes it so many times, or lies as
far below black, has another range."""
FARTHEST = 1000.0
"""Times the range. Beside a larger value, a pixel would keep fewer than 14 of the 24 bits of
float32; and an area of such values makes activations of 11 times as much (measured on
`gray-blind`), not far from the 65504 where half precision ends."""
_NO_WHITE = 1e15
"""No instrument counts so far: such values stand for missing data."""
_OUTSIDE = 1.0
_COMMON = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)


class Extent(NamedTuple):
    """The least and the largest of some floats, those that are finite."""

    low: float
    high: float
    lows: int
    """How many have the least value."""
    highs: int
    nans: int = 0
    infinite: int = 0


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
        UsageError: it is no two numbers, black is not below white, or one of them is not finite.
    """
    try:
        black, white = (float(one) for one in tuple(value_range))
    except (TypeError, ValueError) as err:
        raise UsageError(
            f"the range of float images: expected two numbers (black, white), got {value_range!r}."
        ) from err
    if not (-np.inf < black < white < np.inf and white - black < np.inf):
        raise UsageError(
            "the range of float images: expected black below white, both finite and their "
            f"difference, too; got {black:g} and {white:g}."
        )
    return black, white


def parse_no_data(text: bytes | str, dtype: np.dtype[Any]) -> float | None:
    """Read what GDAL's tag says of missing data, as pixels of a dtype have it; None: no number."""
    try:
        told = float(text.strip(b" \0") if isinstance(text, bytes) else text)
    except ValueError:
        return None
    if dtype.kind != "f":
        return told
    with np.errstate(over="ignore"):
        return float(np.float64(told).astype(dtype))


def to_nominal(values: NDArray[Any], value_range: Range = NOMINAL) -> NDArray[np.float32]:
    """Turn pixels of any shape into float32 with black at 0 and white at 1.

    Args:
        values: unsigned integers use their whole range.
        value_range: black and white of floats.
    """
    floats: NDArray[np.float32]
    if values.dtype.kind == "u":
        floats = np.asarray(values, np.float32)
        floats /= np.float32(np.iinfo(values.dtype).max)
        return floats
    # What no check has seen, such as a reference that is compared with, may end as infinite.
    with np.errstate(over="ignore"):
        if value_range != NOMINAL:
            # In float64: white of a float64 image may be none of float32.
            black, white = value_range
            values = (np.asarray(values, np.float64) - black) / (white - black)
        floats = np.asarray(values, np.float32)
    return floats


def extent(bands: Iterable[NDArray[Any]], colours: int) -> Extent | None:
    """Return the least and the largest value; None where there are no floats.

    Args:
        bands: (rows, W) or (rows, W, C) each.
        colours: planes that count: alpha may have another range.
    """
    found = Extent(np.inf, -np.inf, 0, 0)
    for band in bands:
        if band.dtype.kind != "f":
            return None
        here = _of_band(band.reshape(*band.shape[:2], -1)[..., :colours])
        low, high = min(found.low, here.low), max(found.high, here.high)
        found = Extent(
            low,
            high,
            sum(one.lows for one in (found, here) if one.low == low),
            sum(one.highs for one in (found, here) if one.high == high),
            found.nans + here.nans,
            found.infinite + here.infinite,
        )
    return found


def _of_band(values: NDArray[Any]) -> Extent:
    low, high = float(values.min()), float(values.max())
    nans = infinite = 0
    if not np.isfinite((low, high)).all():
        nans, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        values = values[np.isfinite(values)]
        low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    lows, highs = (int(np.count_nonzero(values == one)) for one in (low, high))
    return Extent(low, high, lows, highs, nans, infinite)


def check_range(
    found: Extent | None, value_range: Range | None, no_data: float | None = None
) -> str:
    """Decide whether values of a file can be denoised as they stand.

    Args:
        found: as `extent` gives it.
        value_range: what the user said.
        no_data: what the file says that it writes for missing data.

    Returns:
        A sentence about values far outside, or nothing.

    Raises:
        ImageError: the range was not said, and is hardly the nominal one; or some values are not
            finite, or so far outside that they would spoil their surroundings.
    """
    if found is None:
        return ""
    require_data(found, value_range or NOMINAL, no_data)
    _require_sound(found, value_range, "a wider --range BLACK,WHITE")
    low, high = found.low, found.high
    black, white = value_range or NOMINAL
    if value_range is None and _is_far(low, high):
        raise ImageError(
            f"its values reach from {low:.4g} to {high:.4g}; the network expects black at 0 and "
            f"white at 1. Say what they are in this file with --range BLACK,WHITE, such as "
            f"--range {_guess(low, high)}{_as_they_stand(found, '--range 0,1')}"
        )
    if max(_beyond(found, (black, white))) > _OUTSIDE:
        return (
            f"values reach from {low:.4g} to {high:.4g}, far outside of black at {black:g} and "
            f"white at {white:g}."
        )
    return ""


def require_nominal(found: Extent | None) -> None:
    """Make sure that the values of an image to learn from or to measure with are those of [0, 1].

    Raises:
        ImageError: they are not, see `check_range`; here nobody can say what else they are.
    """
    if found is None:
        return
    _require_sound(found, None, "the image in a range of 0 to 1")
    if _is_far(found.low, found.high):
        raise ImageError(
            f"its values reach from {found.low:.4g} to {found.high:.4g}; images to train on, to "
            "calibrate or to measure with have black at 0 and white at 1. Scale the file to that, "
            "or save it with 8 or 16 bits."
        )


def require_meant(image: NDArray[Any], value_range: Range | None) -> None:
    """Make sure that the values of an array, all planes, can be meant as they stand.

    Raises:
        ImageError: see `check_range`.
    """
    found = extent([image], image.shape[-1])
    if found is None:
        return
    _require_sound(found, value_range, "a wider value_range=(black, white)")
    if value_range is None and _is_far(found.low, found.high):
        raise ImageError(
            f"the array's values reach from {found.low:.4g} to {found.high:.4g}; floats are taken "
            "with black at 0 and white at 1. Say what they are with "
            f"value_range=({_guess(found.low, found.high)})"
            + _as_they_stand(found, "value_range=(0, 1)")
        )


def _is_far(low: float, high: float) -> bool:
    return high > _FAR or low < 1 - _FAR


def _beyond(found: Extent, value_range: Range) -> tuple[float, float]:
    """How far values lie below black and above white, in ranges."""
    black, white = value_range
    return (black - found.low) / (white - black), (found.high - white) / (white - black)


def require_data(found: Extent, value_range: Range, no_data: float | None) -> None:
    """Refuse what a file writes for missing data, where it lies far outside and occurs.

    Raises:
        ImageError: it does.
    """
    if no_data not in (found.low, found.high) or max(_beyond(found, value_range)) <= _OUTSIDE:
        return
    count = found.lows if no_data == found.low else found.highs
    raise ImageError(
        f"{_told(count)} {no_data:.4g}, which stands for missing data by the file's tag "
        "GDAL_NODATA, and would spoil all pixels around. Fill it first, with "
        "gdal_fillnodata.py for example."
    )


def _require_sound(found: Extent, value_range: Range | None, wider: str) -> None:
    """Refuse values that would spoil all pixels around them, whatever was meant by them."""
    if count := found.nans + found.infinite:
        what = "not numbers (NaN)" if found.nans else "infinite"
        what += " or infinite" if found.nans and found.infinite else ""
        raise ImageError(
            f"{_told(count)} {what}, and would spoil all pixels around them. Replace them first, "
            "with numpy.nan_to_num for example."
        )
    below, above = _beyond(found, value_range or NOMINAL)
    value, count = (found.low, found.lows) if below > above else (found.high, found.highs)
    if value_range is None and abs(value) <= _NO_WHITE:
        return  # which range is meant, is asked for
    if max(below, above) > FARTHEST:
        black, white = value_range or NOMINAL
        raise ImageError(
            f"{_told(count)} {value:.4g}, more than {FARTHEST:.0f} ranges away from black at "
            f"{black:g} and white at {white:g}, and would spoil all pixels around. If it stands "
            "for missing data, fill it first, with gdal_fillnodata.py or numpy.where for example; "
            f"if it is meant, give {wider}."
        )


def _told(count: int) -> str:
    return "1 of its values is" if count == 1 else f"{count} of its values are"


def _as_they_stand(found: Extent, nominal: str) -> str:
    """End the question for the range by what else there is to do."""
    end = "."
    if max(_beyond(found, NOMINAL)) <= FARTHEST:
        end = f"; with {nominal} they are taken as they stand."
    if found.low < 1 - _FAR:
        end += f" If {found.low:.4g} ({found.lows} of them) stands for missing data, fill it"
        end += " first."
    return end


def _guess(low: float, high: float) -> str:
    if low < -0.5 * high:
        return f"{low:.4g},{high:.4g}"
    # Noise passes white here, too.
    return f"0,{next((white for white in _COMMON if high <= 1.5 * white), high):g}"
