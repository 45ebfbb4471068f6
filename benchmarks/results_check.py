"""What a stored result must hold beyond its types, so that its tables and plots can be made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from adnet.benchmarks.results import QualityRecord, Result
from adnet.benchmarks.timing import Interval
from adnet.errors import UsageError

_LARGEST = 1e15
"""Beyond any figure that is measured; products of two still fit a float."""

_MAY_BE_ZERO = {
    "load_at_start", "load_s", "sigma", "psnr", "psnr_8_bit", "ssim", "paper_psnr", "delta_psnr",
    "per_image", "largest_difference",
}  # fmt: skip
"""Or negative; all other numbers are counts, times and rates."""


def check(result: Result) -> None:
    """Check the numbers of a result, and that its parts are of one another.

    Raises:
        UsageError: a number that cannot have been measured, an interval without its value, a part
            of a candidate, reference, roof or image that is not there.
    """
    for place, value in _leaves(result, ""):
        _check_value(place, value)
    names = {one.name for one in result.candidates}
    for part in ("speed", "quality", "examples"):
        for index, one in enumerate(getattr(result, part)):
            if one.candidate not in names:
                raise _wrong(f"{part}[{index}].candidate", "the name of a candidate", one.candidate)
    for index, candidate in enumerate(result.candidates):
        if candidate.channels not in (1, 3):
            raise _wrong(f"candidates[{index}].channels", "1 or 3", candidate.channels)
    timed = {
        **{f"speed[{index}]": cell.seconds for index, cell in enumerate(result.speed)},
        **{f"scaling[{index}]": point.seconds for index, point in enumerate(result.scaling)},
        **{f"end_to_end.{name}": one.seconds for name, one in result.end_to_end.items()},
    }
    for place, seconds in timed.items():
        if not seconds:
            raise _wrong(f"{place}.seconds", "at least one time", "none")
    for cell in result.speed:
        if cell.share_of_peak is not None and result.machine is None:
            raise _wrong("machine", "the roofs that speed has a share of", "none")
    if result.scaling and not result.candidates:
        raise _wrong("candidates", "the one of the scaling", "none")
    _check_quality(result.quality)


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield every number and every interval with its place in the file."""
    if isinstance(value, Interval):
        yield place, value
    if is_dataclass(value):
        for one in fields(value):
            yield from _leaves(getattr(value, one.name), f"{place}.{one.name}".lstrip("."))
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, f"{place}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, one in enumerate(value):
            yield from _leaves(one, f"{place}[{index}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield place, value


def _check_value(place: str, value: float | Interval) -> None:
    if isinstance(value, Interval):
        if not value.low <= value.value <= value.high:
            raise _wrong(place, "a value within its interval", value)
        return
    is_quality = place.startswith("quality")  # not a number where a device computes nonsense
    is_odd = isinstance(value, float) and not math.isfinite(value)
    if not (abs(value) <= _LARGEST or (is_quality and is_odd)):
        raise _wrong(place, f"a number up to {_LARGEST:g}", value)
    if value <= 0 and not any(name.partition("[")[0] in _MAY_BE_ZERO for name in place.split(".")):
        raise _wrong(place, "more than 0", value)


def _check_quality(entries: list[QualityRecord]) -> None:
    """Each data set has its images, and they are those of the reference, which is there."""
    for index, one in enumerate(entries):
        place = f"quality[{index}]"
        if not one.per_image:
            raise _wrong(f"{place}.per_image", "at least one image", "none")
        if all(other.candidate != one.reference for other in entries):
            raise _wrong(f"{place}.reference", "a candidate whose quality is told", one.reference)
        if one.per_image.keys() != entries[0].per_image.keys():
            raise _wrong(f"{place}.per_image", "the images of the first candidate", "others")


def _wrong(place: str, expected: str, got: object) -> UsageError:
    text = str(got) if not isinstance(got, int) or abs(got) < _LARGEST else "a larger one"
    return UsageError(f"damaged: {place}: expected {expected}, got {text[:60]}.")
