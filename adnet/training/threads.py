"""How the threads of a training on a CPU wait for each other."""

from __future__ import annotations

import os
import sys

_SAID_OTHERWISE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def sleep_when_idle() -> None:
    """Let OpenMP's threads sleep instead of spin while they wait; the environment wins.

    GNU's OpenMP, which torch brings, spins for milliseconds at the end of every parallel part. On a
    machine with other work to do, the spinning thread holds the core that the one waited for needs.
    OpenMP looks at its environment once, when torch is loaded: afterwards this does nothing.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _SAID_OTHERWISE):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
