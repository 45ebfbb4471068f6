"""Speed: latency and throughput of `Backend.infer`, and end to end through `adnet-run`'s runner.

What is inside: `infer` includes copies to and from the device and conversions, as a user gets it.
`device_only` is ais_bench's definition, the time around the execution alone (1000 x batch / mean
milliseconds), where a backend tells it. `end_to_end` reads PNG files, denoises and writes them.
Inputs are rendered images with noise, never zeros. `times_as_fast` is the median over rounds of the
ratio to the first subject at the same batch and size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from adnet.benchmarks.machine import MARK, roof_actions, roofs
from adnet.benchmarks.subject import Subject
from adnet.benchmarks.timing import interleave, median, ratio
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import plan_jobs
from numpy.typing import NDArray
from PIL import Image

from adnet.architecture import flops
from adnet.errors import AdnetError
from adnet.noise import add_published_noise
from adnet.synthetic import render

Cell = tuple[Subject, int, tuple[int, int]]


def measure_speed(
    subjects: Sequence[Subject],
    batches: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    rounds: int | None,
    sigma: float,
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Measure every subject at every batch and size, in interleaved rounds.

    A subject that fails is marked with its error and the others go on; shapes that a model does not
    take are left out.

    Args:
        rounds: as for `interleave`.

    Returns:
        One entry per subject, batch and size; the machine's roofs, measured in the same rounds.
    """
    cells: list[Cell] = []
    for subject in subjects:
        for size in sizes:
            cells += [(subject, n, size) for n in batches if _takes(subject, n, size)]
    alone: list[list[float]] = [[] for _ in cells]
    actions = roof_actions()
    for index, cell in enumerate(cells):
        actions[str(index)] = _guarded(cell[0], _inference(cell, sigma, alone[index]))
    seconds = interleave(actions, rounds=rounds)
    machine = roofs({name: each for name, each in seconds.items() if name.startswith(MARK)})
    entries: list[dict[str, Any]] = []
    first_of: dict[tuple[int, tuple[int, int]], int] = {}
    for index, cell in enumerate(cells):
        subject, batch, size = cell
        if subject.error is not None or subject.is_simulated:
            continue
        entry = _entry(cell, seconds[str(index)], alone[index], machine["gflop_per_s"])
        first = first_of.setdefault((batch, size), index)
        if first != index:
            times = ratio(seconds[str(first)], seconds[str(index)])
            entry["times_as_fast"] = {
                "as": cells[first][0].name, "value": times.value, "low": times.low,
                "high": times.high,
            }  # fmt: skip
        entries.append(entry)
    return entries, machine


def measure_end_to_end(
    subjects: Sequence[Subject], images: Sequence[NDArray[np.uint8]], rounds: int
) -> dict[str, dict[str, float]]:
    """Read, denoise and write PNG files: images/s of every subject, in interleaved rounds.

    Peers, which have no such program, take no part.
    """
    with tempfile.TemporaryDirectory(prefix="adnet-bench-") as folder:
        source = Path(folder, "in")
        source.mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(source / f"{index:04}.png")

        def run(subject: Subject, denoiser: Denoiser) -> Callable[[], object]:
            jobs = plan_jobs([source], Path(folder, subject.name))

            def action() -> None:
                summary = run_jobs(jobs, denoiser, overwrite=True)
                if summary.failed:
                    subject.error = summary.failed[0][1]

            return _guarded(subject, action)

        working = {
            one.name: (one, one.denoiser)
            for one in subjects
            if one.error is None and not one.is_simulated and one.denoiser is not None
        }
        actions = {name: run(one, denoiser) for name, (one, denoiser) in working.items()}
        seconds = interleave(actions, rounds=rounds)
    results = {}
    for name, (subject, _) in working.items():
        if subject.error is None:
            times = median([each / len(images) for each in seconds[name]])
            results[name] = {
                "images_per_s": 1 / times.value, "low": 1 / times.high, "high": 1 / times.low,
            }  # fmt: skip
    return results


def _takes(subject: Subject, batch: int, size: tuple[int, int]) -> bool:
    spec = subject.backend.spec
    if spec.sizes is not None and size not in spec.sizes:
        return False
    batches = spec.batches(size)
    return batches is None or batch in batches


def _inference(cell: Cell, sigma: float, alone: list[float]) -> Callable[[], object]:
    """Make the action of a cell; what the device alone took is appended to `alone`."""
    subject, batch, size = cell
    noisy = noisy_batch(batch, subject.backend.spec.channels, size, sigma)

    def infer() -> None:
        subject.backend.infer(noisy)
        if subject.backend.device_seconds is not None:
            alone.append(subject.backend.device_seconds)

    return infer


def noisy_batch(
    batch: int, channels: int, size: tuple[int, int], sigma: float = 25.0
) -> NDArray[np.float32]:
    """Render different noisy images as a batch (N, C, H, W)."""
    images = [
        np.atleast_3d(add_published_noise(render(*size, channels, seed), sigma))
        for seed in range(batch)
    ]
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2), np.float32)


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
        "subject": subject.name,
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
        "times_as_fast": None,
        "seconds": [round(one, 6) for one in seconds],
    }  # fmt: skip


def rendered_images(channels: int, size: tuple[int, int], count: int) -> list[NDArray[np.uint8]]:
    """Render noisy images for a run without a data set."""
    images = []
    for seed in range(count):
        noisy = add_published_noise(render(*size, channels, seed), 25)
        images.append(np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8))
    return images
