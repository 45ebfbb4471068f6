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
_FEWEST_ROUNDS, _MOST_ROUNDS = 10, 40
_PRECISE = 0.02  # half the width of an interval, as a share of the median
_STABLE = 0.03  # a run that gains less than this share on the one before was warm
_MOST_WARM_UP = 8


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def interleave(
    actions: Mapping[str, Callable[[], object]],
    *,
    rounds: int | None = None,
    budget: float = 300.0,
) -> dict[str, list[float]]:
    """Run every action once in each round and return the seconds of each.

    Slow phases of the machine then hit all actions alike. The order is drawn anew for each round,
    so that nobody always follows the same neighbour, and a pause lets the neighbour's threads,
    which spin for a while when their work is done, go to sleep. Every action is warmed up until its
    times are stable.

    Args:
        rounds: how many; None goes on until the interval of every median is narrower than 2 % to
            each side, for 10 to 40 rounds.
        budget: seconds after which no round beyond the tenth is begun.
    """
    names = list(actions)
    for name in names:
        _warm_up(actions[name])
    seconds: dict[str, list[float]] = {name: [] for name in names}
    generator = np.random.default_rng(0)
    started = time.perf_counter()
    done = 0
    while done < (rounds or _MOST_ROUNDS):
        if rounds is None and done >= _FEWEST_ROUNDS and (
            time.perf_counter() - started > budget or all(map(_is_precise, seconds.values()))
        ):  # fmt: skip
            break
        for name in generator.permutation(names).tolist():
            time.sleep(_PAUSE)
            seconds[name].append(_time(actions[name]))
        done += 1
    return seconds


def _time(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _warm_up(action: Callable[[], object]) -> None:
    """Run until a run is hardly faster than the fastest before it: at least twice."""
    fastest = _time(action)
    for _ in range(_MOST_WARM_UP):
        now = _time(action)
        if now > (1 - _STABLE) * fastest:
            return
        fastest = now


def _is_precise(seconds: Sequence[float]) -> bool:
    middle = median(seconds)
    return max(middle.high - middle.value, middle.value - middle.low) <= _PRECISE * middle.value


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
