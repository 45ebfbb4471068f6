"""Speed: latency and throughput of `Backend.infer`, and end to end through `adnet-run`'s runner.

What is inside: `infer` includes copies to and from the device and conversions, as a user gets it.
`device_only` is ais_bench's definition, the time around the execution alone (1000 x batch / mean
milliseconds), where a backend tells it. `end_to_end` reads PNG files, denoises and writes them.
Inputs are rendered images with noise, never zeros.
"""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from adnet.benchmarks.subject import Subject
from adnet.benchmarks.timing import interleave, median
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import plan_jobs
from numpy.typing import NDArray
from PIL import Image

from adnet.architecture import flops
from adnet.errors import AdnetError
from adnet.noise import add_published_noise
from adnet.synthetic import render

_MATRIX = 1536
"""Side of the matrices whose product measures the machine's peak."""

Cell = tuple[Subject, int, tuple[int, int]]


def measure_speed(
    subjects: Sequence[Subject],
    batches: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    rounds: int,
    sigma: float,
) -> tuple[list[dict[str, Any]], float]:
    """Measure every subject at every batch and size, in interleaved rounds.

    A subject that fails is marked with its error and the others go on; shapes that a model does not
    take are left out.

    Returns:
        One entry per subject, batch and size; the machine's measured peak in GFLOP/s: the fastest
        float32 matrix product in the same rounds, by NumPy and, where installed, PyTorch.
    """
    cells: list[Cell] = []
    alone: dict[str, list[float]] = {}
    for subject in subjects:
        for size in sizes:
            cells += [(subject, n, size) for n in batches if _takes(subject, n, size)]
    actions = _matrix_products()
    for index, cell in enumerate(cells):
        alone[str(index)] = []
        actions[str(index)] = _guarded(cell[0], _inference(cell, sigma, alone[str(index)]))
    seconds = interleave(actions, rounds=rounds)
    fastest = min(min(seconds.pop(name)) for name in list(seconds) if not name.isdigit())
    peak = 2 * _MATRIX**3 / fastest / 1e9
    return [
        _entry(cell, seconds[str(index)], alone[str(index)], peak)
        for index, cell in enumerate(cells)
        if cell[0].error is None and not cell[0].is_simulated
    ], peak


def _matrix_products() -> dict[str, Callable[[], object]]:
    matrix = np.random.default_rng(0).random((_MATRIX, _MATRIX), np.float32)
    products: dict[str, Callable[[], object]] = {"numpy": lambda: matrix @ matrix}
    with suppress(ImportError, RuntimeError):  # RuntimeError: torch-npu without CANN
        import torch

        tensor = torch.from_numpy(matrix)
        products["torch"] = lambda: tensor @ tensor
    return products


def measure_end_to_end(
    subjects: Sequence[Subject], images: Sequence[NDArray[np.uint8]], rounds: int
) -> dict[str, dict[str, float]]:
    """Read, denoise and write PNG files: images/s of every subject, in interleaved rounds."""
    with tempfile.TemporaryDirectory(prefix="adnet-bench-") as folder:
        source = Path(folder, "in")
        source.mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(source / f"{index:04}.png")

        def run(subject: Subject) -> Callable[[], object]:
            jobs = plan_jobs([source], Path(folder, subject.name))

            def action() -> None:
                summary = run_jobs(jobs, subject.denoiser, overwrite=True)
                if summary.failed:
                    subject.error = summary.failed[0][1]

            return _guarded(subject, action)

        working = [one for one in subjects if one.error is None and not one.is_simulated]
        seconds = interleave({one.name: run(one) for one in working}, rounds=rounds, warm_up=1)
    results = {}
    for subject in working:
        if subject.error is None:
            times = median([each / len(images) for each in seconds[subject.name]])
            results[subject.name] = {
                "images_per_s": 1 / times.value, "low": 1 / times.high, "high": 1 / times.low,
            }  # fmt: skip
    return results


def peak_memory() -> float:
    """Return the largest memory that this process had, in MB (Linux counts in kB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _takes(subject: Subject, batch: int, size: tuple[int, int]) -> bool:
    spec = subject.backend.spec
    if spec.sizes is not None and size not in spec.sizes:
        return False
    batches = spec.batches(size)
    return batches is None or batch in batches


def _inference(cell: Cell, sigma: float, alone: list[float]) -> Callable[[], object]:
    """Make the action of a cell; what the device alone took is appended to `alone`."""
    subject, batch, (height, width) = cell
    channels = subject.backend.spec.channels
    images = [
        np.atleast_3d(add_published_noise(render(height, width, channels, seed), sigma))
        for seed in range(batch)
    ]
    noisy = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2), np.float32)

    def infer() -> None:
        subject.backend.infer(noisy)
        if subject.backend.device_seconds is not None:
            alone.append(subject.backend.device_seconds)

    return infer


def _guarded(subject: Subject, action: Callable[[], object]) -> Callable[[], object]:
    """Run an action until it fails for the first time."""

    def run() -> None:
        if subject.error is None:
            try:
                action()
            except AdnetError as err:
                subject.error = str(err)

    return run


def _entry(
    cell: Cell, seconds: Sequence[float], alone: Sequence[float], peak: float
) -> dict[str, Any]:
    subject, batch, (height, width) = cell
    middle = median(seconds)
    p50, p90, p99 = np.percentile(np.asarray(seconds) * 1e3, (50, 90, 99))
    rate = flops(height, width, subject.backend.spec.channels) * batch / middle.value / 1e9
    return {
        "backend": subject.name,
        "batch": batch,
        "size": [height, width],
        "latency_ms": {"p50": p50, "p90": p90, "p99": p99},
        "images_per_s": {
            "value": batch / middle.value, "low": batch / middle.high, "high": batch / middle.low,
        },
        "device_only_images_per_s": batch / float(np.mean(alone)) if alone else None,
        "mpix_per_s": batch * height * width / middle.value / 1e6,
        "gflop_per_s": rate,
        "share_of_peak": rate / peak,
        "seconds": [round(one, 6) for one in seconds],
    }  # fmt: skip


def rendered_images(channels: int, size: tuple[int, int], count: int) -> list[NDArray[np.uint8]]:
    """Render noisy images for a run without a data set."""
    images = []
    for seed in range(count):
        noisy = add_published_noise(render(*size, channels, seed), 25)
        images.append(np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8))
    return images
