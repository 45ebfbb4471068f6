"""Compare two results of adnet-bench: ratios with confidence, losses of quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adnet.benchmarks.results import QualityRecord, Result
from adnet.benchmarks.timing import Interval, between_runs, bootstrap_medians
from adnet.errors import UsageError


@dataclass(frozen=True, slots=True)
class Change:
    """One figure, before and after."""

    what: str
    before: float
    after: float
    ratio: Interval | None
    """After by before, of throughputs; None for PSNR."""
    is_regression: bool


def compare_results(
    before: Result, after: Result, *, slower: float = 0.05, worse: float = 0.01
) -> list[Change]:
    """Compare what both results have.

    Args:
        slower: share of the throughput whose loss is a regression, if all of its 95 % interval says
            so. Peers and their versions are not ours to answer for: they are shown only.
        worse: dB of PSNR whose loss is a regression.

    Raises:
        UsageError: a limit is out of range.
    """
    if not 0 <= slower < 1:
        raise UsageError(f"slower: expected a share from 0 to 1, such as 0.05, got {slower:g}.")
    if not 0 <= worse < np.inf:
        raise UsageError(f"worse: expected dB, 0 or more, such as 0.01, got {worse:g}.")
    changes = []
    old_speed, new_speed = _timed(before), _timed(after)
    for what, (is_peer, seconds, work) in new_speed.items():
        if what in old_speed:
            old = old_speed[what][1]
            ratio = _ratio(old, seconds)
            changes.append(
                Change(
                    what,
                    work / float(np.median(old)),
                    work / float(np.median(seconds)),
                    ratio,
                    ratio.high < 1 - slower and not is_peer,
                )
            )
    measured = {_quality_name(one): one for one in before.quality}
    for one in after.quality:
        known = measured.get(_quality_name(one))
        if known is not None:
            changes.append(
                Change(
                    _quality_name(one),
                    known.psnr,
                    one.psnr,
                    None,
                    not one.psnr >= known.psnr - worse,  # also where it is not a number
                )
            )
    return changes


def lost_figures(before: Result, after: Result) -> list[str]:
    """Name what the first result has and the second lacks."""
    known = [*_timed(before), *map(_quality_name, before.quality)]
    there = {*_timed(after), *map(_quality_name, after.quality)}
    return [what for what in known if what not in there]


def unlike(before: Result, after: Result) -> list[str]:
    """Tell where figures of one name are of other weights, candidates or images."""
    weights = {one.name: one.weights_sha256 or one.model_sha256 for one in before.candidates}
    told = [
        f"{one.name}: other weights"
        for one in after.candidates
        if weights.get(one.name) not in (None, one.weights_sha256 or one.model_sha256)
    ]
    images = {_quality_name(one): one for one in before.quality}
    told += [
        f"{_quality_name(one)}: other images"
        for one in after.quality
        if _are_other_images(images.get(_quality_name(one)), one)
    ]
    return told + _unlike_scaling(before, after)


def _are_other_images(one: QualityRecord | None, other: QualityRecord) -> bool:
    if one is None:
        return False
    digests = {one.images_sha256, other.images_sha256} - {""}
    return set(one.per_image) != set(other.per_image) or len(digests) > 1


def _unlike_scaling(before: Result, after: Result) -> list[str]:
    """A result of scaling has one candidate, which the names of its figures do not tell."""
    if not (before.scaling and after.scaling):
        return []
    told = []
    old, new = (
        [f"{Path(one.model).stem} on {one.name}" for one in result.candidates]
        for result in (before, after)
    )
    if old != new:
        told.append(f"scaling: of {', '.join(old)} before, of {', '.join(new)} after")
    sizes = {(one.axis, one.x): one.size for one in before.scaling}
    for one in after.scaling:
        size = sizes.get((one.axis, one.x))
        if size is not None and one.size is not None and size != one.size:
            shown = [f"{height}x{width}" for height, width in (size, one.size)]
            told.append(f"{one.axis} {one.x:g}: images of {shown[0]} before, of {shown[1]} after")
    return told


def differences(before: Result, after: Result) -> list[str]:
    """Tell in what the two environments differ: then ratios say little about the code."""
    keys = ("system", "cpu", "cores", "governor")
    told = [
        (key, getattr(before.environment, key), getattr(after.environment, key)) for key in keys
    ]
    return [f"{key}: {old} before, {new} after" for key, old, new in told if old != new]


def _ratio(before: Sequence[float], after: Sequence[float]) -> Interval:
    """The ratio of medians; the rounds of two runs are no pairs, so both are resampled."""
    old, new = np.asarray(before), np.asarray(after)
    estimates = bootstrap_medians(old, seed=0) / bootstrap_medians(new, seed=1)
    low, high = np.percentile(estimates, (2.5, 97.5))
    ratio = Interval(float(np.median(old) / np.median(new)), float(low), float(high))
    return between_runs(ratio, runs=2)


def _timed(result: Result) -> dict[str, tuple[bool, Sequence[float], float]]:
    """Return all that was timed: name -> of a peer, seconds of the runs, work of one run."""
    found: dict[str, tuple[bool, Sequence[float], float]] = {}
    for cell in result.speed:
        height, width = cell.size
        name = f"{cell.candidate} {cell.batch}x{height}x{width}, images/s"
        found[name] = cell.is_peer, cell.seconds, cell.batch
    for candidate, files in result.end_to_end.items():
        name = f"{candidate} end to end, {files.images} images, images/s"
        found[name] = False, files.seconds, files.images
    for place in result.scaling:
        work = place.mpix_per_s.value * float(np.median(place.seconds))
        found[f"{place.axis} {place.x:g}, MPix/s"] = False, place.seconds, work
    return found


def _quality_name(one: QualityRecord) -> str:
    return f"{one.candidate} {one.dataset} sigma {one.sigma:g}, PSNR"
