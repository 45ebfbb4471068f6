"""How much memory adnet-run takes, and how fast it is, for images of 1 to 400 megapixels.

    python -m adnet.benchmarks.studies.memory [--sizes 1,10,100] [--limit 512M] [-o memory.png]

Every run is a process of its own, `adnet-run --max-memory LIMIT`; its peak and its processor time
are what the system says at its end (ru_maxrss, ru_utime). The model is an identity, so that files,
bands and tiles are measured and not the network; with --real it is the shipped one. Speed is told
per second of processor time, less that of a run on an image of 41x41 pixels: other programs on the
machine, and the start of this one, are no part of it. The fastest of --rounds counts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from adnet._cli import make_app, reports_errors
from adnet.images.formats.image_file import ImageFile, stand_in
from adnet.images.formats.rows import open_sink
from adnet.models.card import ModelCard
from adnet.runtime.budget import parse_size

app = make_app("Measure the memory of adnet-run by the size of its images.")

KINDS: dict[str, tuple[str, int, str]] = {
    "gray PNG, 8 bits": ("PNG", 1, "u1"),
    "RGB PNG, 16 bits": ("PNG", 3, "u2"),
    "RGB TIFF, 8 bits": ("TIFF", 3, "u1"),
}

_TOGETHER = 20.0
"""Megapixels of a run at least: of one image of 1 megapixel, the start would be much."""
_ALTOGETHER = 200.0
"""Megapixels of all rounds at most: large images are run once."""

_WATCH = """
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True, slots=True)
class Point:
    """One image through adnet-run."""

    kind: str
    megapixels: float
    peak: float
    """Megabytes (2**20 bytes) of the whole process."""
    seconds: float
    """By the clock."""
    processor: float
    """Seconds of processor time beyond those of a tiny image."""

    @property
    def rate(self) -> float:
        """Megapixels per second of processor time."""
        return self.megapixels / self.processor


def save_identity(path: Path, channels: int) -> Path:
    """Write an ONNX model whose result is its input."""
    import onnx
    from onnx import TensorProto, helper

    shape: list[str | int | None] = ["batch", channels, "height", "width"]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "identity", ends[:1], ends[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    card = ModelCard(channels=3 if channels == 3 else 1, name="identity")
    helper.set_model_props(model, card.to_metadata())
    onnx.save(model, path)
    return path


def save_image(path: Path, kind: str, megapixels: float) -> Path:
    """Write a square image, a slope with a little noise, without holding it."""
    format_, channels, dtype = KINDS[kind]
    side = round((megapixels * 1e6) ** 0.5)
    like = ImageFile(stand_in((side, side, channels), np.dtype(dtype)), format_)
    white = int(np.iinfo(dtype).max)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, white // 32, (256, side, channels), dtype)
    with path.open("wb") as file:
        sink = open_sink(file, like, format_)
        for top in range(0, side, len(noise)):
            rows = min(len(noise), side - top)
            slope = np.linspace(0, white * 0.9, side).astype(dtype)[None, :, None]
            sink.put(noise[:rows] + slope)
        sink.end_page()
        sink.close()
    return path


def run(
    image: Path, output: Path, limit: str | None, model: Path | None, *more: str
) -> tuple[dict[str, Any], float, float]:
    """Denoise one image in a process of its own.

    Returns:
        Its JSON, its peak in megabytes, its processor time in seconds.
    """
    command = [sys.executable, "-m", "adnet.runtime.cli", str(image), "-o", str(output)]
    command += ["--overwrite", "--json", "--quiet", "--max-pixels", str(2**40), *more]
    command += ["--max-memory", limit] if limit else []
    command += ["--model", str(model)] if model else []
    # From a small process in between: a new process takes over the peak of the one it came from.
    done = subprocess.run(
        [sys.executable, "-S", "-c", _WATCH, *command], stdout=subprocess.PIPE, check=False
    )
    text, _, usage = done.stdout.decode().rstrip().rpartition("\n")
    if done.returncode:
        raise RuntimeError(text or f"adnet-run ended with status {done.returncode}")
    found: dict[str, Any] = json.loads(text)
    most, processor = map(float, usage.split())
    return found, most / (2**20 if sys.platform == "darwin" else 2**10), processor


def measure(
    folder: Path, kind: str, megapixels: float, limit: str, rounds: int, *, real: bool
) -> Point:
    """Denoise an image of one size, or a folder of small ones."""
    format_, channels, _ = KINDS[kind]
    suffix = {"PNG": ".png", "TIFF": ".tif"}[format_]
    images = folder / "images"
    images.mkdir()
    image = save_image(images / f"0{suffix}", kind, megapixels)
    count = max(1, round((1 if real else _TOGETHER) / megapixels))
    for number in range(1, count):
        shutil.copy(image, images / f"{number}{suffix}")
    model = None if real else save_identity(folder / f"identity-{channels}.onnx", channels)
    tiny = save_image(folder / f"tiny{suffix}", kind, 41**2 / 1e6)
    base = min(run(tiny, folder / f"out{suffix}", limit, model)[2] for _ in range(3))
    rounds = max(1, min(rounds, round(_ALTOGETHER / megapixels)))
    runs = [run(images, folder / "out", limit, model) for _ in range(rounds)]
    shutil.rmtree(images)
    shutil.rmtree(folder / "out")
    seconds = min(float(told["seconds"]) for told, _, _ in runs)
    processor = max(1e-3, min(one[2] for one in runs) - base)
    peak = max(peak for _, peak, _ in runs)
    return Point(kind, megapixels, peak, seconds / count, processor / count)


def draw(points: list[Point], limit: str, path: Path) -> None:
    """Draw peaks and rates over the size."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 7), sharex=True, layout="constrained")
    for number, kind in enumerate(dict.fromkeys(point.kind for point in points)):
        own = [point for point in points if point.kind == kind]
        sizes = [point.megapixels for point in own]
        style = f"{'os^D'[number % 4]}-"
        above.plot(sizes, [point.peak for point in own], style, label=kind)
        below.plot(sizes, [point.rate for point in own], style)
    most = parse_size(limit) / 2**20
    above.axhline(most, color="black", linestyle="--", label=f"--max-memory {limit}")
    above.set(ylabel="peak of the process, MiB", ylim=(0, 1.15 * most), xscale="log")
    below.set(
        ylabel="megapixels per processor second", xlabel="megapixels of the image", ylim=(0, None)
    )
    sizes = sorted({point.megapixels for point in points})
    below.set_xticks(sizes, [f"{size:g}" for size in sizes])
    below.minorticks_off()
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table(points: list[Point]) -> str:
    """Write the points as Markdown."""
    lines = ["| image | MPix | peak MiB | MPix per CPU second | seconds |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    lines += [
        f"| {one.kind} | {one.megapixels:g} | {one.peak:.0f} | {one.rate:.1f} | {one.seconds:.1f} |"
        for one in points
    ]
    return "\n".join(lines)


def numbers_of(text: str) -> NDArray[np.float64]:
    """Read numbers with commas between them."""
    return np.array([float(part) for part in text.split(",")])


@app.command()
@reports_errors
def main(
    sizes: Annotated[str, typer.Option(help="Megapixels of the images.")] = "1,10,100,400",
    limit: Annotated[str, typer.Option(help="--max-memory of every run.")] = "512M",
    kinds: Annotated[str, typer.Option(help=f"Of {'; '.join(KINDS)}.")] = "; ".join(KINDS),
    rounds: Annotated[int, typer.Option(help="Runs of each size.")] = 2,
    real: Annotated[bool, typer.Option("--real", help="With the shipped models.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Plot.")] = None,
) -> None:
    """Measure, print a table and draw."""
    points = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds.split("; "):
            for size in numbers_of(sizes):
                points.append(measure(Path(folder), kind, float(size), limit, rounds, real=real))
                typer.echo(str(points[-1]), err=True)
    typer.echo(table(points))
    if output is not None:
        draw(points, limit, output)


if __name__ == "__main__":
    app()
