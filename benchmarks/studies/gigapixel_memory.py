r"""Peak memory and speed of an image by chunk, killed once in the middle and resumed.

    python -m adnet.benchmarks.studies.gigapixel_memory FOLDER [--megapixels 30] [--options "..."]

Writes a tiled gray TIFF of so many megapixels into FOLDER, denoises it into a Zarr array in a
process of its own, which is killed (SIGKILL) when a third of the chunks is there, and again until
it is done. Printed are the seconds and the largest resident memory of each process. A backend that
computes nothing, to see the frame alone, with 1000 megapixels:

    echo '{"channels": 1}' > m.inverse
    PYTHONPATH=tests/samples/plugin python -m adnet.benchmarks.studies.gigapixel_memory FOLDER \
        --megapixels 1000 --options "--model m.inverse"
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from adnet._cli import make_app, reports_errors

app = make_app("Measure the memory of an image by chunk.")

_TILE = 512


def write_image(path: Path, megapixels: float) -> tuple[int, int]:
    """Write a tiled TIFF of repeated noise; returns its size."""
    import tifffile

    side = math.ceil(math.sqrt(megapixels * 1e6))
    noise = np.random.default_rng(0).integers(0, 256, (_TILE, _TILE), dtype=np.uint8)
    across = -(-side // _TILE)

    def tiles() -> Iterator[NDArray[Any]]:
        for number in range(across * across):
            yield np.roll(noise, number % _TILE, axis=1)

    tifffile.imwrite(
        path, tiles(), shape=(side, side), dtype="u1", tile=(_TILE, _TILE), bigtiff=True,
        photometric="minisblack", compression="zlib", compressionargs={"level": 1}, metadata=None,
    )  # fmt: skip
    return side, side


def run(command: list[str], partial: Path, stop_at: int | None) -> tuple[float, float, int]:
    """Run a command, kill it when so many chunks are there.

    Returns:
        Seconds, largest resident memory in MB, exit status.
    """
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _peak(process.pid))
        if stop_at is not None and _count(partial) >= stop_at:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.2)
    return time.monotonic() - begin, peak, process.returncode


def _peak(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return max(
        (int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM")), default=0
    )


def _count(partial: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(partial / "c"))


@app.command()
@reports_errors
def main(
    folder: Annotated[Path, typer.Argument(help="Where to write; needs the image's size twice.")],
    megapixels: Annotated[float, typer.Option(help="Size of the image.")] = 30,
    options: Annotated[str, typer.Option(help="Further options of adnet-run.")] = "",
) -> None:
    """Print seconds and peak memory of each process."""
    folder.mkdir(parents=True, exist_ok=True)
    source, target = folder / "in.tif", folder / "out.zarr"
    height, width = write_image(source, megapixels)
    script = Path(sys.executable).parent / "adnet-run"
    command = [str(script), str(source), "-o", str(target), *options.split()]
    chunks = -(-height // 1024) * -(-width // 1024)
    typer.echo(f"{width}x{height}, {chunks} chunks, {source.stat().st_size / 1e6:.0f} MB as TIFF")
    for stop_at in (chunks // 3, None):
        seconds, peak, status = run(command, Path(f"{target}.partial"), stop_at)
        there = _count(target if target.exists() else Path(f"{target}.partial"))
        typer.echo(f"{seconds:.1f} s, peak {peak:.0f} MB, status {status}, {there} chunks there")


if __name__ == "__main__":
    app()
