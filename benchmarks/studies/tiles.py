"""How fast a network is by the size of its tiles, beside what their halos cost and their memory.

    python -m adnet.benchmarks.studies.tiles [--tiles 256x256,512x512,1024x1024,300x3000]

Each tile size is run in turn, `--rounds` times over, so that other programs on the machine disturb
all of them alike; the fastest round counts. The second figure is that for a whole image of --image
pixels, cut as adnet-run would cut it with tiles of at most that size: the first, less the halos.
Memory is the peak of a process of its own less that with tiles of 64x64.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Annotated

import numpy as np
import typer

from adnet._cli import make_app, reports_errors
from adnet.models.architecture import RECEPTIVE_RADIUS
from adnet.models.shipped import resolve_model
from adnet.runtime.backend import Backend, RunOptions
from adnet.runtime.registry import open_backend
from adnet.runtime.tiling import balanced_tile, plan_tiles, roomy_tile

app = make_app("Measure the speed of tiles by their size.")

_SMALL = (64, 64)
_PEAK = """
import resource, sys
from adnet.benchmarks.studies.tiles import opened, seconds_of
with opened(*sys.argv[1:4]) as backend:
    for _ in range(2):
        seconds_of(backend, (int(sys.argv[4]), int(sys.argv[5])))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def opened(model: str, backend: str, threads: str) -> Backend:
    """Open a model; threads: a number, 0 for the backend's own choice."""
    return open_backend(resolve_model(model), backend, RunOptions(threads=int(threads) or None))


def seconds_of(backend: Backend, tile: tuple[int, int]) -> tuple[float, float]:
    """Run one tile: seconds by the clock and of processor time."""
    batch = np.full((1, backend.card.channels, *tile), 0.5, np.float32)
    clock, processor = time.perf_counter(), time.process_time()
    backend.infer(batch)
    return time.perf_counter() - clock, time.process_time() - processor


def share_of_cores(image: tuple[int, int], tile: tuple[int, int]) -> float:
    """Pixels of an image by pixels of all its tiles: squares as adnet-run changes them."""
    halo = RECEPTIVE_RADIUS
    if tile[0] == tile[1]:
        real = roomy_tile(image, tile[0] * tile[1], halo)
    else:
        real = (balanced_tile(image[0], tile[0], halo), balanced_tile(image[1], tile[1], halo))
    return image[0] * image[1] / (len(plan_tiles(image, real, halo)) * real[0] * real[1])


def peak(model: str, backend: str, threads: int, tile: tuple[int, int]) -> float:
    """Megabytes (2**20 bytes) of a process that runs one tile."""
    arguments = [model, backend, str(threads), *map(str, tile)]
    told = subprocess.run(
        [sys.executable, "-c", _PEAK, *arguments], stdout=subprocess.PIPE, check=True
    ).stdout
    return int(told.split()[-1]) / (2**20 if sys.platform == "darwin" else 2**10)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


@app.command()
@reports_errors
def main(
    model: Annotated[str, typer.Option(help="Shipped name or file.")] = "gray-blind",
    backend: Annotated[str, typer.Option(help="Backend.")] = "onnx",
    threads: Annotated[int, typer.Option(help="CPU threads; 0: the backend's choice.")] = 0,
    tiles: Annotated[str, typer.Option(help="HEIGHTxWIDTH, with commas between.")] = (
        "256x256,384x384,512x512,768x768,1024x1024,1280x1280,350x3000,512x2048,2048x512"
    ),
    image: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the image.")] = "2000x3000",
    rounds: Annotated[int, typer.Option(help="Runs of each size.")] = 5,
    memory: Annotated[bool, typer.Option("--memory", help="Measure that, too.")] = False,
) -> None:
    """Measure and print a table."""
    sizes = [_size(one) for one in tiles.split(",")]
    found: dict[tuple[int, int], list[tuple[float, float]]] = {one: [] for one in sizes}
    # First, while this process is small: a new process takes over the peak of the one it came from.
    peaks = {one: peak(model, backend, threads, one) for one in [_SMALL, *sizes] * memory}
    with opened(model, backend, str(threads)) as running:
        seconds_of(running, _SMALL)
        for _ in range(rounds):
            for size in sizes:
                found[size].append(seconds_of(running, size))
    typer.echo("| tile | MPix/s | MPix/s of an image | MPix per CPU second | MiB |")
    typer.echo("| --- | ---: | ---: | ---: | ---: |")
    for size, times in found.items():
        pixels = size[0] * size[1] / 1e6
        rate, own = (pixels / min(one) for one in zip(*times, strict=True))
        kept = share_of_cores(_size(image), size)
        told = f"{peaks[size] - peaks[_SMALL]:.0f}" if memory else ""
        typer.echo(f"| {size[0]}x{size[1]} | {rate:.3f} | {rate * kept:.3f} | {own:.3f} | {told} |")


if __name__ == "__main__":
    app()
