"""Training on a CPU, alone and beside other work: threads that sleep, or spin, while they wait.

    python -m adnet.benchmarks.studies.waiting DATA [--steps 20] [--rounds 3] [--beside 0,2]
        [--spins 0,1000,300000]

How long GNU's OpenMP spins (GOMP_SPINCOUNT) before a waiting thread sleeps: adnet-train sets 1000,
0 is what OMP_WAIT_POLICY=PASSIVE means, 300000 the default. All run `adnet-train DATA --benchmark`,
in turns: with the machine to themselves, and beside busy loops.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from adnet._cli import make_app, reports_errors
from adnet.errors import TrainingError

app = make_app("Threads of a training that sleep or spin.")


@app.command()
@reports_errors
def compare(
    data: Annotated[Path, typer.Argument(help="Folder of images.")],
    steps: Annotated[int, typer.Option(help="Steps of a run.")] = 20,
    rounds: Annotated[int, typer.Option(help="Runs of each kind.")] = 3,
    beside: Annotated[str, typer.Option(help="Numbers of busy loops, e.g. 0,2.")] = "0,2",
    spins: Annotated[str, typer.Option(help="Values of GOMP_SPINCOUNT.")] = "0,1000,300000",
    batch: Annotated[int, typer.Option(help="Patches of 48x48 a step.")] = 8,
) -> None:
    """Measure in turns and print medians."""
    for loops in map(int, beside.split(",")):
        found: dict[str, list[tuple[float, float]]] = {spin: [] for spin in spins.split(",")}
        with _busy(loops):
            for _ in range(rounds):
                for spin, runs in found.items():
                    runs.append(_train(data, steps, batch, {"GOMP_SPINCOUNT": spin}))
        for spin, runs in found.items():
            speed, cpu = (median(column) for column in zip(*runs, strict=True))
            typer.echo(
                f"beside {loops} busy loops, spin {spin}: {speed:.1f} patches/s, "
                f"{cpu:.1f} CPU seconds a run, start included"
            )


def _train(data: Path, steps: int, batch: int, environment: dict[str, str]) -> tuple[float, float]:
    """Return patches/s, and CPU seconds of the process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "adnet.training.cli", str(data), "--benchmark", str(steps),
         "--batch", str(batch), "--patch", "48"],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    speed = re.match(r"([\d.]+) patches/s", done.stdout)
    if speed is None:
        raise TrainingError(f"adnet-train ended with {done.returncode}: {done.stderr[-300:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(speed[1]), used


@contextmanager
def _busy(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    app()
