"""What the host spends on each image beside the chip's work, on the OM backend.

    python -m adnet.benchmarks.om_overhead MODEL.om [--rounds 300]

Every round sends one batch of the model's first shape through the backend and, in turn, makes the
same four copies with NumPy alone: into a staging buffer, to "the device", back, and out. Printed
are both medians, their difference, and the memory that a call allocates. On a device the first
figure holds the chip's work as well; the host's share alone shows where executing does nothing:
with the simulated pyACL of the tests,

    PYTHONPATH=tests/fakes ACL_FAKE_ARITHMETIC=none python -m adnet.benchmarks.om_overhead MODEL.om

which adds the simulator's own bookkeeping to the difference.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from adnet._cli import make_app, reports_errors
from adnet.runtime.backend import RunOptions
from adnet.runtime.om_backend import OmBackend

app = make_app("Measure the host's share of the OM backend.")


@app.command()
@reports_errors
def main(
    model: Annotated[Path, typer.Argument(help="OM file.")],
    rounds: Annotated[int, typer.Option(help="Batches to measure.")] = 300,
    device: Annotated[str, typer.Option(help="Device.")] = "npu:0",
) -> None:
    """Measure the host's share of the OM backend."""
    with OmBackend(model, RunOptions(device=device)) as backend:
        count, height, width = (length or 1 for length in backend.spec.shapes[0])
        generator = np.random.default_rng(0)
        batch = generator.random((count, backend.spec.channels, height, width), np.float32)
        staging, on_device = np.empty_like(batch), np.empty_like(batch)

        def copies() -> None:
            np.copyto(staging, batch)
            np.copyto(on_device, staging)
            np.copyto(staging, on_device)
            staging.astype(np.float32)

        for _ in range(20):
            backend.infer(batch)
            copies()
        calls, bare = [], []
        for _ in range(rounds):
            calls.append(_seconds(lambda: backend.infer(batch)))
            bare.append(_seconds(copies))
        tracemalloc.start()
        backend.infer(batch)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        facts = backend.describe()
    call, copy = (1e3 * statistics.median(values) for values in (calls, bare))
    typer.echo(f"pyACL: {facts['pyacl']}, chip {facts['soc']}")
    typer.echo(f"infer {'x'.join(map(str, batch.shape))}: {call:.3f} ms, four copies {copy:.3f} ms")
    typer.echo(f"beyond the copies: {call - copy:.3f} ms; allocated by a call: {peak} bytes, "
               f"of which the result is {batch.nbytes}")  # fmt: skip


def _seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


if __name__ == "__main__":
    app()
