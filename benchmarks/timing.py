"""Timing that stands on a noisy machine: interleaved rounds, medians, intervals of ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PAUSE = 0.1  # seconds; OpenMP's and ONNX Runtime's threads spin for less
_RESAMPLES = 2000
_COVERAGE = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def interleave(
    actions: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Run every action once in each round and return the seconds of each.

    Slow phases of the machine then hit all actions alike. The order is drawn anew for each round,
    so that nobody always follows the same neighbour, and a pause lets the neighbour's threads,
    which spin for a while when their work is done, go to sleep.
    """
    names = list(actions)
    for _ in range(warm_up):
        for name in names:
            actions[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    generator = np.random.default_rng(0)
    for _ in range(rounds):
        for name in generator.permutation(names).tolist():
            time.sleep(_PAUSE)
            begin = time.perf_counter()
            actions[name]()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def median(values: Sequence[float]) -> Interval:
    """Return the median with its bootstrap interval (percentiles of resampled medians)."""
    sample = np.asarray(values)
    low, high = np.percentile(bootstrap_medians(sample), _COVERAGE)
    return Interval(float(np.median(sample)), float(low), float(high))


def ratio(slower: Sequence[float], faster: Sequence[float]) -> Interval:
    """Return how many times as fast the second is: the median over rounds of their ratios.

    Args:
        slower, faster: seconds of the same rounds, so that each ratio is of neighbours in time.
    """
    return median((np.asarray(slower) / np.asarray(faster)).tolist())


def bootstrap_medians(sample: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Return the medians of resampled values."""
    generator = np.random.default_rng(seed)
    drawn = sample[generator.integers(0, len(sample), (_RESAMPLES, len(sample)))]
    medians: NDArray[np.float64] = np.median(drawn, axis=1)
    return medians
