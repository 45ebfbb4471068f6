"""Time to load and peak memory of one subject, in a process of its own."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adnet.runtime.planning import shape_like

if TYPE_CHECKING:
    from adnet.benchmarks.candidates import Recipe

_TIMEOUT = 300  # seconds
_LEAVE = 10


def load_alone(recipe: Recipe, size: tuple[int, int]) -> dict[str, float | None]:
    """Open a subject in a new process and denoise one image there.

    Args:
        size: height and width of the image, or, where the model does not take it, of its own first
            size.

    Returns:
        load_s, imports included; peak_memory_mb of the process. None where it fails, takes over
        five minutes, or the system does not tell: the figures are a by-product.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(theirs, recipe, size), daemon=True)
    process.start()
    theirs.close()
    found: dict[str, float | None] = {"load_s": None, "peak_memory_mb": None}
    with suppress(EOFError, OSError):
        if ours.poll(_TIMEOUT):
            found = ours.recv()
    process.join(_LEAVE)  # in order: an engine may have processes of its own
    process.terminate()
    process.join()
    return found


def _measure(pipe: Connection, recipe: Recipe, size: tuple[int, int]) -> None:
    with ExitStack() as stack, suppress(Exception):
        begin = time.perf_counter()
        backend = recipe.open(stack).backend
        seconds = time.perf_counter() - begin
        count, size = shape_like(backend.spec, size)
        generator = np.random.default_rng(0)
        backend.infer(generator.random((count, backend.spec.channels, *size), np.float32))
        pipe.send({"load_s": seconds, "peak_memory_mb": peak_memory()})


def peak_memory() -> float | None:
    """Return the largest memory that this process had, in MB; None where it is not told."""
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
    """Let `peak_memory` begin anew; false where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True
