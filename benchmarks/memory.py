"""Peak memory of one subject, in a process of its own."""

from __future__ import annotations

import resource
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from adnet.benchmarks.subject import Recipe

_TIMEOUT = 300  # seconds
_LEAVE = 10


def peak_memory_of(recipe: Recipe, size: tuple[int, int]) -> float | None:
    """Open a subject in a new process, denoise one image, and return the process's peak in MB.

    Args:
        size: height and width of the image, or, where the model does not take it, of its own first
            size.

    Returns:
        None where it fails or takes over five minutes: the figure is a by-product.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(theirs, recipe, size), daemon=True)
    process.start()
    theirs.close()
    peak = None
    with suppress(EOFError, OSError):
        if ours.poll(_TIMEOUT):
            peak = ours.recv()
    process.join(_LEAVE)  # in order: an engine may have processes of its own
    process.terminate()
    process.join()
    return peak


def _measure(pipe: Connection, recipe: Recipe, size: tuple[int, int]) -> None:
    from contextlib import ExitStack  # noqa: PLC0415

    with ExitStack() as stack, suppress(Exception):
        subject = recipe.open(stack)
        spec = subject.backend.spec
        if spec.sizes is not None and size not in spec.sizes:
            size = spec.sizes[0]
        count = (spec.batches(size) or (1,))[0]
        generator = np.random.default_rng(0)
        subject.backend.infer(generator.random((count, spec.channels, *size), np.float32))
        pipe.send(peak_memory())


def peak_memory() -> float:
    """Return the largest memory that this process had, in MB."""
    # Linux: ru_maxrss would count what the parent had when it started this process.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts in bytes


def forget_peak() -> bool:
    """Let `peak_memory` begin anew; false where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True
