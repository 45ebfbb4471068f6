"""What reading, converting and writing cost: the folder runner beside a bare session.

    python -m adnet.benchmarks.studies.end_to_end PATH/BSD68 [--images 12] [--rounds 3]

Every round denoises the same images twice, as PNG files through the runner (read, denoise, write)
and as ready float arrays through a bare onnxruntime session with the same number of threads; the
order alternates. Printed is the ratio of the throughputs, per round and over all.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from adnet._cli import make_app, reports_errors
from adnet.images.image import load_folder
from adnet.images.levels import from_levels, to_levels
from adnet.images.noise import add_published_noise
from adnet.models.shipped import default_model
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import plan_jobs

app = make_app("Measure the folder runner beside a bare onnxruntime session.")


def measure(
    images: list[NDArray[np.uint8]], rounds: int, threads: int
) -> list[tuple[float, float]]:
    """Return (seconds end to end, seconds of the bare session) of every round."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    model = default_model(1).path
    bare = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    arrays = [from_levels(image)[None, None] for image in images]
    with tempfile.TemporaryDirectory() as folder, Denoiser(model, threads=threads) as denoiser:
        source = Path(folder, "in")
        source.mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(source / f"{index:03}.png")

        def end_to_end() -> float:
            begin = time.perf_counter()
            summary = run_jobs(plan_jobs([source], Path(folder, "out")), denoiser, overwrite=True)
            seconds = time.perf_counter() - begin
            if summary.failed:
                raise RuntimeError(summary.failed[0][1])
            return seconds

        def bare_session() -> float:
            begin = time.perf_counter()
            for array in arrays:
                bare.run(None, {"image": array})
            return time.perf_counter() - begin

        bare_session(), end_to_end()  # warm-up
        results = []
        for index in range(rounds):
            if index % 2:
                seconds = end_to_end()
                results.append((seconds, bare_session()))
            else:
                reference = bare_session()
                results.append((end_to_end(), reference))
        return results


@app.command()
@reports_errors
def main(
    data: Annotated[Path, typer.Argument(help="Folder of clean images, such as BSD68.")],
    images: Annotated[int, typer.Option(help="How many of them to use.")] = 12,
    rounds: Annotated[int, typer.Option(help="Rounds to measure.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads of both.")] = 2,
) -> None:
    """Print the throughput of the folder runner as a share of a bare session's."""
    clean = list(load_folder(data, 1).values())[:images]
    noisy = [to_levels(add_published_noise(from_levels(image), 25)) for image in clean]
    results = measure(noisy, rounds, threads)
    for ours, bare in results:
        typer.echo(
            f"end to end {len(clean) / ours:.3f} images/s, bare session {len(clean) / bare:.3f} "
            f"images/s, ratio {bare / ours:.3f}"
        )
    median = statistics.median(bare / ours for ours, bare in results)
    typer.echo(f"median ratio {median:.3f} ({threads} threads, {len(clean)} images)")


if __name__ == "__main__":
    app()
