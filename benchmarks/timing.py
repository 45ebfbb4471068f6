"""Timing that stands on a noisy machine: interleaved rounds, medians, intervals of ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
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

DRIFT = 0.01
"""Standard deviation, as a share, of the medians of whole runs of the same benchmark."""

Action = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def interleave(
    actions: Mapping[str, Action],
    *,
    rounds: int | None = None,
    budget: float = 120.0,
    beside: Collection[str] = (),
    seconds: dict[str, list[float]] | None = None,
    failures: dict[str, str] | None = None,
    on_progress: Callable[[float], None] = lambda _: None,
) -> dict[str, list[float]]:
    """Run every action once in each round and return the seconds of each.

    Slow phases of the machine then hit all actions alike. The order is drawn again for each round,
    so that nobody always follows the same neighbour, and a pause lets the neighbour's threads,
    which spin for a while when their work is done, go to sleep. Every action is warmed up until its
    times are stable.

    Args:
        rounds: how many; None continues until the interval of every median is narrower than 2 % to
            each side, for 10 to 40 rounds.
        budget: seconds after which no round beyond the tenth is begun.
        beside: actions whose intervals need not be narrow.
        seconds: filled as the rounds go, for a caller that is interrupted.
        failures: an action that raises takes no further part, and why is noted here; None lets the
            error through.
        on_progress: called with the share that is done, at the latest.
    """
    seconds = {} if seconds is None else seconds
    working = dict(actions)

    def run(name: str, action: Callable[[Action], float]) -> float | None:
        try:
            return action(working[name])
        except Exception as err:
            if failures is None:
                raise
            failures[name] = str(err) or repr(err)
            del working[name]
            seconds.pop(name, None)
            return None

    for name in list(working):
        run(name, _warm_up)
    seconds.update({name: [] for name in working})
    generator = np.random.default_rng(0)
    started = time.perf_counter()
    most = rounds or _MOST_ROUNDS
    for done in range(most):
        spent = time.perf_counter() - started
        on_progress(max(done / most, 0.0 if rounds else min(1.0, spent / budget)))
        if rounds is None and done >= _FEWEST_ROUNDS and (
            spent > budget
            or all(_is_precise(each) for name, each in seconds.items() if name not in beside)
        ):  # fmt: skip
            break
        for name in generator.permutation(list(working)).tolist():
            time.sleep(_PAUSE)
            taken = run(name, _time)
            if taken is not None:
                seconds[name].append(taken)
    return seconds


def _time(action: Action) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _warm_up(action: Action) -> float:
    """Run until a run is hardly faster than the fastest before it: at least twice."""
    fastest = _time(action)
    for _ in range(_MOST_WARM_UP):
        now = _time(action)
        if now > (1 - _STABLE) * fastest:
            break
        fastest = now
    return fastest


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
        slower, faster: seconds of the same rounds, so that each ratio is of neighbours in time;
            rounds that only one of them has are left out.
    """
    both = min(len(slower), len(faster))
    return median((np.asarray(slower[:both]) / np.asarray(faster[:both])).tolist())


def rate(times: Sequence[float], work: float) -> Interval:
    """Return work a second with its interval, from the seconds of runs."""
    middle = between_runs(median(times))
    return Interval(work / middle.value, work / middle.high, work / middle.low)


def between_runs(interval: Interval, runs: int = 1) -> Interval:
    """Widen an interval by what differs from run to run, which the rounds of one cannot show.

    Memory is laid out differently in every process, and neighbours and clocks change from minute to
    minute. Ratios of the same rounds need no widening: there it cancels.

    Args:
        runs: how many runs stand in the figure (2 for the ratio of two runs).
    """
    drift = 1.96 * DRIFT * runs**0.5
    below, above = (
        float(np.hypot(1 - edge / interval.value, drift)) for edge in (interval.low, interval.high)
    )
    return Interval(interval.value, interval.value * (1 - below), interval.value * (1 + above))


def bootstrap_medians(sample: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Return the medians of resampled values."""
    generator = np.random.default_rng(seed)
    drawn = sample[generator.integers(0, len(sample), (_RESAMPLES, len(sample)))]
    medians: NDArray[np.float64] = np.median(drawn, axis=1)
    return medians
