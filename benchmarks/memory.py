"""Time to load and peak memory of one candidate, in a process of its own."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adnet.runtime.planning import shape_like

if TYPE_CHECKING:
    from adnet.benchmarks.candidates import CandidateSource

_TIMEOUT = 300  # seconds
_LEAVE = 10


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process that loads a candidate takes; None where that could not be measured."""

    load_s: float | None = None
    """Imports included."""
    peak_memory_mb: float | None = None
    """Of the whole process, in 1e6 bytes."""


def load_alone(source: CandidateSource, size: tuple[int, int]) -> Footprint:
    """Open a candidate in a new process and denoise one image there.

    Args:
        size: height and width of the image, or, where the model does not take it, of its own first
            size.

    Returns:
        Its figures; None where it fails, takes over five minutes, or the system does not tell:
        they are a by-product.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(theirs, source, size), daemon=True)
    process.start()
    theirs.close()
    found = Footprint()
    with suppress(EOFError, OSError):
        if ours.poll(_TIMEOUT):
            found = ours.recv()
    process.join(_LEAVE)  # in order: an engine may have processes of its own
    process.terminate()
    process.join()
    return found


def _measure(pipe: Connection, source: CandidateSource, size: tuple[int, int]) -> None:
    with ExitStack() as stack, suppress(Exception):
        begin = time.perf_counter()
        backend = source.open(stack).backend
        seconds = time.perf_counter() - begin
        count, size = shape_like(backend.spec, size)
        generator = np.random.default_rng(0)
        backend.infer(generator.random((count, backend.spec.channels, *size), np.float32))
        pipe.send(Footprint(seconds, peak_memory()))


def peak_memory() -> float | None:
    """Return the largest memory that this process had, in MB; None where it is unknown."""
    # Linux: ru_maxrss would count what the parent had when it started this process.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource  # noqa: PLC0415  (not on Windows)
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts in bytes


def forget_peak() -> bool:
    """Reset what `peak_memory` returns; false where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True
