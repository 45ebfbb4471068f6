"""What HTTP and Ray Serve cost: adnet-serve beside adnet-run on the same files.

    python -m adnet.benchmarks.studies.serving PATH/IMAGES [--crop 112] [--clients 8]

Every round posts the files again and again for a time to one replica, and denoises the folder with
adnet-run's runner, with the same number of threads, server and runner taking turns. Needs the extra
`serve`. Printed are requests a second and images a second, per round and their medians, and the CPU
time that an image takes of each: on a machine that does other things as well, that is the steadier.
"""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from adnet._cli import make_app, reports_errors
from adnet.errors import UsageError
from adnet.images.image import find_images
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import plan_jobs

app = make_app("Measure adnet-serve beside adnet-run.")


@contextmanager
def serving(model: str, threads: int, queue: int) -> Iterator[tuple[int, int]]:
    """Start adnet-serve in a process of its own; gives its port and its process."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    command = [sys.executable, "-m", "adnet.runtime.serve.cli", "--model", model, "--port", port,
               "--threads", threads, "--queue", queue]  # fmt: skip
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True) as server:
        try:
            told = ""
            for line in server.stderr or ():
                told += line
                if "serving on" in line:
                    break
            else:
                raise UsageError(f"adnet-serve did not start: {told}")
            yield port, server.pid
        finally:
            server.send_signal(signal.SIGINT)


def cpu_seconds(root: int) -> float:
    """Return the CPU time of a process and all below it, by Linux's /proc."""
    parents, spent = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parts = path.read_text(encoding="utf-8").rpartition(")")[2].split()
            number = int(path.parent.name)
            parents[number], spent[number] = int(parts[1]), int(parts[11]) + int(parts[12])
    found = [root]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return sum(spent.get(one, 0) for one in found) / os.sysconf("SC_CLK_TCK")


def requests_per_second(port: int, files: list[bytes], clients: int, seconds: float) -> float:
    """Post files for a time; every client waits for its answer before it posts the next."""
    done, turns, lock = [0], itertools.cycle(files), threading.Lock()
    end = time.perf_counter() + seconds

    def work() -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        while time.perf_counter() < end:
            with lock:
                data = next(turns)
            link.request("POST", "/denoise", data)
            told = link.getresponse()
            body = told.read()
            if told.status != 200:
                raise UsageError(f"adnet-serve answered {told.status}: {body[:200]!r}")
            with lock:
                done[0] += 1
        link.close()

    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for call in [pool.submit(work) for _ in range(clients)]:
            call.result()
    return done[0] / (time.perf_counter() - begin)


@app.command()
@reports_errors
def run(
    folder: Annotated[Path, typer.Argument(help="Folder of images.")],
    crop: Annotated[
        int | None, typer.Option(help="Cut the images to so many pixels a side, first.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model.")] = "gray-25",
    threads: Annotated[int, typer.Option(help="CPU threads of both.")] = 1,
    clients: Annotated[int, typer.Option(help="That ask at once.")] = 8,
    seconds: Annotated[float, typer.Option(help="Of each round at the server.")] = 20.0,
    rounds: Annotated[int, typer.Option(help="Turns of each.")] = 3,
) -> None:
    """Measure requests a second beside images a second."""
    served, ran = [], []
    with (
        tempfile.TemporaryDirectory() as cut,
        serving(model, threads, 2 * clients) as (port, process),
        Denoiser(model, threads=threads) as denoiser,
        tempfile.TemporaryDirectory() as out,
    ):
        if crop is not None:
            for path in find_images(folder):
                image = Image.open(path)
                image.crop((0, 0, crop, crop)).save(Path(cut, f"{path.stem}.png"))
            folder = Path(cut)
        files = [path.read_bytes() for path in find_images(folder)]
        jobs = plan_jobs([folder], Path(out, "out"))
        requests_per_second(port, files, 1, 1.0)  # warm-up
        run_jobs(jobs, denoiser, overwrite=True)
        for _ in range(rounds):
            spent, begin = cpu_seconds(process), time.perf_counter()
            rate = requests_per_second(port, files, clients, seconds)
            number = rate * (time.perf_counter() - begin)
            served.append((rate, (cpu_seconds(process) - spent) / number))

            begin, own, count = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() < begin + seconds:
                count += len(run_jobs(jobs, denoiser, overwrite=True).written)
            rate = count / (time.perf_counter() - begin)
            ran.append((rate, (time.process_time() - own) / count))
            _tell("requests", *served[-1])
            _tell("images  ", *ran[-1])
    for what, pairs in (("requests", served), ("images  ", ran)):
        rates, seconds_each = zip(*pairs, strict=True)
        _tell(f"median: {what}", statistics.median(rates), statistics.median(seconds_each))


def _tell(what: str, rate: float, seconds_each: float) -> None:
    typer.echo(f"{what} {rate:7.2f}/s, {1000 * seconds_each:6.1f} ms of CPU each")


if __name__ == "__main__":
    app()
