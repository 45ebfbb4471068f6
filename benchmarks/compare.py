"""Compare two results of adnet-bench: ratios with confidence, losses of quality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from adnet.benchmarks.results import Result
from adnet.benchmarks.timing import Interval, bootstrap_medians


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
            so.
        worse: dB of PSNR whose loss is a regression.
    """
    changes = []
    known = {_key(one): one for one in before["speed"]}
    for one in after["speed"]:
        old = known.get(_key(one))
        if old is None:
            continue
        ratio = _ratio(old["seconds"], one["seconds"])
        height, width = one["size"]
        changes.append(
            Change(
                f"{one['subject']} {one['batch']}x{height}x{width}, images/s",
                old["images_per_s"]["value"],
                one["images_per_s"]["value"],
                ratio,
                ratio.high < 1 - slower,
            )
        )
    measured = {_quality_key(one): one for one in before["quality"]}
    for one in after["quality"]:
        old = measured.get(_quality_key(one))
        if old is not None:
            changes.append(
                Change(
                    f"{one['subject']} {one['dataset']} sigma {one['sigma']:g}, PSNR",
                    old["psnr"],
                    one["psnr"],
                    None,
                    not one["psnr"] >= old["psnr"] - worse,  # also where it is not a number
                )
            )
    return changes


def lost_figures(before: Result, after: Result) -> list[str]:
    """Name what the first result has and the second lacks."""
    speed = {_key(one) for one in before["speed"]} - {_key(one) for one in after["speed"]}
    quality = {_quality_key(one) for one in before["quality"]}
    quality -= {_quality_key(one) for one in after["quality"]}
    return [
        *(f"speed of {name} at {batch}x{size[0]}x{size[1]}" for name, batch, size in sorted(speed)),
        *(f"quality of {name} on {data}, sigma {sigma:g}" for name, data, sigma in sorted(quality)),
    ]


def differences(before: Result, after: Result) -> list[str]:
    """Tell in what the two environments differ: then ratios say little about the code."""
    keys = ("system", "cpu", "cores", "governor")
    old, new = before["environment"], after["environment"]
    return [
        f"{key}: {old.get(key)} before, {new.get(key)} after"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def _ratio(before: list[float], after: list[float]) -> Interval:
    """The ratio of medians; the rounds of two runs are no pairs, so both are resampled."""
    old, new = np.asarray(before), np.asarray(after)
    estimates = bootstrap_medians(old, seed=0) / bootstrap_medians(new, seed=1)
    low, high = np.percentile(estimates, (2.5, 97.5))
    return Interval(float(np.median(old) / np.median(new)), float(low), float(high))


def _key(one: Result) -> tuple[str, int, tuple[int, int]]:
    return one["subject"], one["batch"], tuple(one["size"])


def _quality_key(one: Result) -> tuple[str, str, float]:
    return one["subject"], one["dataset"], one["sigma"]
