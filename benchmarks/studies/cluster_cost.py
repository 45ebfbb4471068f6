"""What a cluster costs beside one machine: CPU seconds of the same images, both ways.

    python -m adnet.benchmarks.studies.cluster_cost [--small 60] [--large 600] [--workers 2]

Both denoise the same small images, one after the other in each round: adnet-run alone with as many
threads as the cluster has workers, and adnet-run --cluster on a cluster that this program starts.
Counted are the CPU seconds of all processes: of the cluster, from its last node to the end of the
job, so a cluster that stands ready is not charged for its start; of adnet-run, from its start. The
two sizes give a fixed cost and a slope: cluster = fixed + slope * alone.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from adnet._cli import make_app, reports_errors

app = make_app("Measure what a cluster costs beside one machine.")

_TICK = os.sysconf("SC_CLK_TCK")


def make_images(folder: Path, count: int, side: int) -> None:
    """Write small noisy images."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(0, 256, (side, side), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:05}.png")


def run_alone(source: Path, target: Path, threads: int) -> float:
    """Return the CPU seconds of adnet-run."""
    before = _children()
    _run(source, target, "--threads", str(threads))
    return _children() - before


def run_on_cluster(source: Path, target: Path, workers: int) -> float:
    """Return the CPU seconds of adnet-run --cluster and of the cluster's processes."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        environment = os.environ | {"RAY_TMPDIR": folder, "RAY_worker_niceness": "0"}
        server = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(workers)], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if server.stdout is None or server.stdin is None:
            raise RuntimeError("the cluster has no pipes")
        try:
            address = next(line.split()[1] for line in server.stdout if line.startswith("address "))
            time.sleep(3)  # its processes have settled
            watch = _Watch(server.pid)
            before = _children()
            _run(source, target, "--cluster", address, "--workers", str(workers))
            return _children() - before + watch.seconds()
        finally:
            server.stdin.close()
            server.wait(60)


_SERVER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
cluster.add_node(num_cpus=int(sys.argv[1]))
print("address", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def _run(source: Path, target: Path, *options: str) -> None:
    script = Path(sys.executable).parent / "adnet-run"
    command = [str(script), str(source), "-o", str(target), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    if len(json.loads(done.stdout)["written"]) != len(list(source.iterdir())):
        raise RuntimeError("not all images were denoised")


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Watch:
    """CPU seconds of a process and all below it, those that ended included where they were seen."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._begin = _seconds_below(root)

    def seconds(self) -> float:
        """Return those since it was made."""
        return _seconds_below(self._root) - self._begin


def _seconds_below(root: int) -> float:
    """Sum user, system and waited-for children's time of a process tree (proc(5))."""
    stats: dict[int, tuple[int, float]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            stats[int(entry.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / _TICK)
    total = 0.0
    for pid, (_, seconds) in stats.items():
        above = pid
        while above != root and above in stats:
            above = stats[above][0]
        if above == root:
            total += seconds
    return total


@app.command()
@reports_errors
def main(
    small: Annotated[int, typer.Option(help="Images of the small job.")] = 60,
    large: Annotated[int, typer.Option(help="Images of the large job.")] = 600,
    side: Annotated[int, typer.Option(help="Side of an image in pixels.")] = 128,
    workers: Annotated[int, typer.Option(help="Workers of one CPU, and threads alone.")] = 2,
    rounds: Annotated[int, typer.Option(help="Rounds to measure.")] = 1,
) -> None:
    """Print CPU seconds both ways, their ratio, and fixed cost and slope."""
    for number in range(rounds):
        points = []
        for count in (small, large):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                make_images(folder / "in", count, side)
                alone = run_alone(folder / "in", folder / "alone", workers)
                cluster = run_on_cluster(folder / "in", folder / "cluster", workers)
            points.append((alone, cluster))
            typer.echo(
                f"round {number + 1}: {count} images of {side}x{side}: alone {alone:.1f} CPU s, "
                f"cluster {cluster:.1f} CPU s, ratio {cluster / alone:.2f}"
            )
        (x0, y0), (x1, y1) = points
        slope = (y1 - y0) / (x1 - x0)
        typer.echo(f"fixed {y0 - slope * x0:.1f} CPU s, slope {slope:.3f}")


if __name__ == "__main__":
    app()
