"""How the threads of a training on a CPU wait for each other."""

from __future__ import annotations

import os
import sys

_SAID_OTHERWISE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")

_SPIN_COUNT = 1000
"""Rounds of waiting, tens of microseconds. On two cores as fast as GNU's 300,000 alone, and 1.7
times as fast beside two busy loops; with none, training alone is 5 to 11 % slower
(`adnet.benchmarks.studies.waiting`)."""


def sleep_when_idle() -> None:
    """Let OpenMP's threads soon sleep instead of spin while they wait; the environment wins.

    GNU's OpenMP, which torch brings, spins for milliseconds at the end of every parallel part. On a
    machine with other work to do, the spinning thread holds the core that the one waited for needs.
    OpenMP looks at its environment once, when torch is loaded: afterwards this does nothing.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _SAID_OTHERWISE):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ["GOMP_SPINCOUNT"] = str(_SPIN_COUNT)
