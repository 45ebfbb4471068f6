"""What a stored result must hold beyond its types, so that its tables and plots can be made."""

from __future__ import annotations

import math

from adnet.benchmarks.results import QualityRecord, Result
from adnet.benchmarks.timing import Interval
from adnet.errors import UsageError

_LARGEST = 1e15
"""Beyond any figure that is measured; products of two still fit a float."""

_ANY_SIGN = {
    "load_at_start", "load_s", "sigma", "psnr", "psnr_8_bit", "ssim", "paper_psnr", "delta_psnr",
    "per_image", "largest_difference",
}  # fmt: skip
"""Numbers that may be 0 or less; all others are counts, times and rates."""


def check_number(place: str, value: float) -> None:
    """Check one number by its place in the file.

    Raises:
        UsageError: it cannot have been measured.
    """
    is_quality = place.startswith("quality")  # not a number where a device computes nonsense
    is_odd = isinstance(value, float) and not math.isfinite(value)
    if not (abs(value) <= _LARGEST or (is_quality and is_odd)):
        raise _wrong(place, f"a number up to {_LARGEST:g}", value)
    if value <= 0 and not any(name.partition("[")[0] in _ANY_SIGN for name in place.split(".")):
        raise _wrong(place, "more than 0", value)


def check_interval(place: str, interval: Interval) -> None:
    """Check one interval.

    Raises:
        UsageError: its value lies outside.
    """
    if not interval.low <= interval.value <= interval.high:
        raise _wrong(place, "a value within its interval", interval)


def check_parts(result: Result) -> None:
    """Check that the parts of a result are of one another.

    Raises:
        UsageError: a part is of a candidate, reference, roof or image that is not there.
    """
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
