"""Timing: intervals that hold what they should, rounds that end, actions that fail."""

import itertools

import numpy as np
import pytest

from adnet.benchmarks import timing


def test_intervals_hold_what_they_should():
    generator = np.random.default_rng(0)
    slow = generator.normal(2.0, 0.1, 40).tolist()
    fast = generator.normal(1.0, 0.1, 40).tolist()
    times = timing.ratio(slow, fast)
    assert times.low < 2.0 < times.high
    assert times.high - times.low < 0.4
    counts = dict.fromkeys("ab", 0)

    def count(name):
        counts[name] += 1

    seconds = timing.interleave({name: lambda name=name: count(name) for name in "ab"}, rounds=3)
    assert all(2 + 3 <= count <= 9 + 3 for count in counts.values())  # warmed up until stable
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_what_differs_between_runs_is_in_the_interval_of_a_rate():
    steady = timing.rate([2.0] * 20, 10)
    assert steady.value == 5
    assert steady.high / 5 - 1 == pytest.approx(1.96 * timing.DRIFT, rel=0.03)
    noisy = timing.between_runs(timing.Interval(1.0, 0.9, 1.2), runs=2)
    assert noisy.low < 0.9
    assert noisy.high > 1.2
    assert 1 - noisy.low == pytest.approx((0.1**2 + 2 * (1.96 * timing.DRIFT) ** 2) ** 0.5)


@pytest.mark.slow  # on a machine that is busy they are not narrow
def test_rounds_end_when_the_intervals_are_narrow(monkeypatch):
    monkeypatch.setattr(timing, "_PAUSE", 0.0)

    def steady():
        timing.time.sleep(0.001)

    pattern = itertools.cycle([0.001, 0.02])
    wild = {"wild": lambda: timing.time.sleep(next(pattern))}
    few = timing.interleave({"steady": steady} | wild, beside=wild)
    assert 10 <= len(few["steady"]) < 40


def test_an_action_that_fails_is_noted_or_let_through(monkeypatch):
    monkeypatch.setattr(timing, "_PAUSE", 0.0)
    failures = {}
    left = timing.interleave(
        {"steady": lambda: None, "broken": lambda: 1 / 0}, rounds=2, failures=failures
    )
    assert list(left) == ["steady"]
    assert failures == {"broken": "division by zero"}
    with pytest.raises(ZeroDivisionError):
        timing.interleave({"broken": lambda: 1 / 0}, rounds=2)
