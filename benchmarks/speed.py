"""Speed: latency and throughput of `Backend.infer`, and end to end through `adnet-run`'s runner.

What is inside: `infer` includes copies to and from the device and conversions, as a user gets it.
`device_only` is ais_bench's definition, the time around the execution alone (1000 x batch / mean
milliseconds), where a backend tells it. `end_to_end` reads PNG files, denoises and writes them.
Inputs are rendered images with noise, never zeros. `times_as_fast` is the median over rounds of the
ratio to the first candidate at the same batch and size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adnet.benchmarks.candidates import Candidate
from adnet.benchmarks.machine import is_under_roof, roof_actions, roofs
from adnet.benchmarks.results import (
    EndToEndRecord,
    Latency,
    Result,
    SpeedRecord,
    TimesAsFast,
)
from adnet.benchmarks.timing import interleave, median, rate, ratio
from adnet.errors import ImageError
from adnet.images.levels import to_levels
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.architecture import flops
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import plan_jobs

Size = tuple[int, int]


@dataclass(slots=True)
class _Cell:
    """One candidate at one batch and size."""

    candidate: Candidate
    batch: int
    size: Size
    alone: list[float] = field(default_factory=list)
    """Seconds that the device took by itself, warm-up included."""

    @property
    def name(self) -> str:
        return self.name_for(self.candidate.name)

    def name_for(self, candidate: str) -> str:
        """Name the cell of another candidate at the same batch and size."""
        return f"{candidate} at {self.batch}x{self.size[0]}x{self.size[1]}"


def measure_speed(
    result: Result,
    candidates: Sequence[Candidate],
    batches: Sequence[int],
    sizes: Sequence[Size],
    rounds: int | None,
    sigma: float,
    on_progress: Callable[[float], None] = lambda _: None,
) -> None:
    """Measure every candidate at every batch and size, in interleaved rounds.

    Into `result`, also when it is interrupted: `speed`, one record for each candidate, batch and
    size, and `machine`, the roofs, measured in the same rounds. A cell that fails is noted in
    `errors` and the others go on; shapes that a model does not take are noted in `left_out`.
    Simulated devices take no part.

    Args:
        rounds: as for `interleave`.
    """
    cells = []
    for candidate in candidates:
        taken = []
        for size in sizes:
            for batch in batches:
                cell = _Cell(candidate, batch, size)
                if candidate.backend.spec.takes(batch, size):
                    taken.append(cell)
                else:
                    result.left_out[cell.name] = "the model does not take this shape"
        if not taken:
            result.errors[f"{candidate.name}, speed"] = (
                "the model takes none of these batches and sizes; see --batch and --size"
            )
        cells += [] if candidate.is_simulated else taken
    actions = {cell.name: _inference(cell, sigma) for cell in cells}
    roof = roof_actions()
    seconds: dict[str, list[float]] = {}
    failures: dict[str, str] = {}
    try:
        interleave(
            roof | actions, rounds=rounds, seconds=seconds, failures=failures, beside=roof,
            on_progress=on_progress,
        )  # fmt: skip
    finally:
        result.machine = roofs(seconds)
        result.errors |= failures
        result.speed = [_record(cell, seconds, result) for cell in cells if seconds.get(cell.name)]


def measure_end_to_end(
    candidates: Sequence[Candidate], images: Sequence[NDArray[np.uint8]], rounds: int
) -> tuple[dict[str, EndToEndRecord], dict[str, str]]:
    """Read, denoise and write PNG files: images/s of every candidate, in interleaved rounds.

    Peers, which have no such program, and simulated devices take no part.

    Returns:
        Figures by the candidate's name; errors by the candidate's name.
    """
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="adnet-bench-") as folder:
        source = Path(folder, "in")
        source.mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(source / f"{index:04}.png")

        def run(number: int, denoiser: Denoiser) -> Callable[[], object]:
            jobs = plan_jobs([source], Path(folder, str(number)))

            def action() -> None:
                summary = run_jobs(jobs, denoiser, overwrite=True)
                if summary.failed:
                    raise ImageError(summary.failed[0][1])

            return action

        actions = {
            one.name: run(number, one.denoiser)
            for number, one in enumerate(candidates)
            if one.denoiser is not None and not one.is_simulated
        }
        seconds = interleave(actions, rounds=rounds, failures=failures)
    pixels = sum(image.shape[0] * image.shape[1] for image in images)
    results = {
        name: EndToEndRecord(
            images=len(images),
            images_per_s=rate(times, len(images)),
            mpix_per_s=rate(times, pixels / 1e6).value,
            seconds=tuple(round(one, 6) for one in times),
        )
        for name, times in seconds.items()
    }
    return results, failures


def _inference(cell: _Cell, sigma: float) -> Callable[[], object]:
    backend = cell.candidate.backend
    noisy = noisy_batch(cell.batch, backend.spec.channels, cell.size, sigma)

    def infer() -> None:
        backend.infer(noisy)
        if backend.device_seconds is not None:
            cell.alone.append(backend.device_seconds)

    return infer


def noisy_batch(batch: int, channels: int, size: Size, sigma: float = 25.0) -> NDArray[np.float32]:
    """Render different noisy images as a batch (N, C, H, W)."""
    images = np.empty((batch, channels, *size), np.float32)  # fails now if it is too large
    for seed, image in enumerate(images):
        noisy = add_published_noise(render(*size, channels, seed), sigma)
        image[:] = np.atleast_3d(noisy).transpose(2, 0, 1)
    return images


def _record(cell: _Cell, seconds: dict[str, list[float]], result: Result) -> SpeedRecord:
    candidate, batch, (height, width) = cell.candidate, cell.batch, cell.size
    times = seconds[cell.name]
    middle = median(times)
    flop_rate = flops(height, width, candidate.backend.spec.channels) * batch / middle.value / 1e9
    alone = cell.alone[-len(times) :]  # without the warm-up
    (described,) = (one for one in result.candidates if one.name == candidate.name)
    machine = result.machine
    has_roof = is_under_roof(described, candidate.source.options.threads)
    first = result.candidates[0].name
    base = seconds.get(cell.name_for(first))
    times_as_fast = None
    if base and candidate.name != first:
        beside = ratio(base, times)
        times_as_fast = TimesAsFast(beside.value, beside.low, beside.high, base=first)
    return SpeedRecord(
        candidate=candidate.name,
        batch=batch,
        size=cell.size,
        calls=len(times),
        latency_ms=Latency(*np.percentile(np.asarray(times) * 1e3, (50, 90, 99)).tolist()),
        images_per_s=rate(times, batch),
        device_only_images_per_s=batch / float(np.mean(alone)) if alone else None,
        mpix_per_s=batch * height * width / middle.value / 1e6,
        gflop_per_s=flop_rate,
        share_of_peak=flop_rate / machine.gflop_per_s if machine and has_roof else None,
        times_as_fast=times_as_fast,
        is_peer=candidate.is_peer,
        seconds=tuple(round(one, 6) for one in times),
    )


def rendered_images(channels: int, size: Size, count: int) -> list[NDArray[np.uint8]]:
    """Render noisy images for a run without a data set."""
    images = []
    for seed in range(count):
        noisy = add_published_noise(render(*size, channels, seed), 25)
        images.append(to_levels(noisy))
    return images
