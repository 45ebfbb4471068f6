"""How throughput and memory grow with the image, the batch, the threads and the streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adnet.benchmarks.candidates import Candidate, CandidateSource
from adnet.benchmarks.machine import is_under_roof, roof_actions, roofs
from adnet.benchmarks.memory import forget_peak, peak_memory
from adnet.benchmarks.results import Result, ScalingRecord
from adnet.benchmarks.speed import noisy_batch
from adnet.benchmarks.timing import interleave, rate
from adnet.errors import AdnetError, UsageError
from adnet.images.levels import WHITE, to_levels
from adnet.images.synthetic import render
from adnet.models.shipped import resolve_model

if TYPE_CHECKING:
    from adnet.runtime.backend import RunOptions

_SIZE_ROUNDS = 5
_SIZE_BUDGET = 20.0
"""Seconds after which a size takes no part in further rounds; each is measured at least once."""

_PAGE = 1000
"""Side of the rendered scene that larger images repeat."""


@dataclass(frozen=True, slots=True)
class ScalingConfig:
    """What to vary; an empty axis is left out."""

    backend: str
    model: str
    options: RunOptions
    megapixels: tuple[float, ...]
    batches: tuple[int, ...]
    threads: tuple[int, ...]
    streams: tuple[int, ...]
    size: tuple[int, int] = (321, 481)
    """Height and width of the images of every axis but the size."""
    rounds: int | None = None
    """Of every axis but the size; None: until the intervals are narrow."""

    def __post_init__(self) -> None:
        values = (*self.megapixels, *self.batches, *self.threads, *self.streams, *self.size)
        if (
            len(values) == len(self.size)
            or min(values) <= 0
            or (self.rounds is not None and self.rounds < 1)
        ):
            raise UsageError("scaling: expected at least one axis, of numbers above 0.")


def measure_scaling(
    config: ScalingConfig, result: Result, on_progress: Callable[[float, str], None]
) -> None:
    """Measure into `result.scaling`, axis by axis, and the machine's roofs.

    Peak memory, told for sizes, includes image and result (one byte a pixel and plane each). Sizes
    go through `Denoiser`, in tiles, as adnet-run does; the other axes through `Backend.infer` with
    images of `config.size`.

    Raises:
        AdnetError: the backend does not run the model. An axis that it lacks is left out.
    """
    with ExitStack() as stack:
        source = CandidateSource(config.backend, resolve_model(config.model), config.options)
        candidate = source.open(stack)
        if candidate.is_simulated:
            raise UsageError(f"{config.backend} backend: a simulated device has no speed.")
        result.candidates = [candidate.record()]
        # First, because what later parts leave in the process would count as theirs.
        for share, entries in _sizes(candidate, config.megapixels):
            result.scaling = entries
            on_progress(0.6 * share, "sizes")
        on_progress(0.6, "batches")
        if config.batches:
            result.scaling += _batches(candidate, config, result)
        on_progress(0.8, "threads and streams")
        for axis, places in (("threads", config.threads), ("streams", config.streams)):
            if places:
                _lanes(source, axis, places, config, result)
        if is_under_roof(result.candidates[0], None):
            on_progress(0.95, "the machine")
            result.machine = roofs(interleave(roof_actions(), rounds=config.rounds))
    result.complete = True


def _batches(candidate: Candidate, config: ScalingConfig, result: Result) -> list[ScalingRecord]:
    """Measure batches; those that the model does not take are noted in the result."""
    channels = candidate.backend.spec.channels
    actions = {}
    for count in config.batches:
        if not candidate.backend.spec.takes(count, config.size):
            result.left_out[f"batch {count}"] = "the model does not take this shape"
            continue
        noisy = noisy_batch(count, channels, config.size)
        actions[str(count)] = lambda noisy=noisy: candidate.backend.infer(noisy)
    seconds = interleave(actions, rounds=config.rounds)
    return _records("batch", seconds, config.size, lambda count: count)


def _lanes(
    source: CandidateSource, axis: str, places: Sequence[int], config: ScalingConfig, result: Result
) -> None:
    """Measure numbers of threads of one stream, or of streams that share the cores.

    Places that the backend refuses are noted in the result.
    """
    images = 2 * max(places) if axis == "streams" else 1
    with ExitStack() as stack:
        actions: dict[str, Callable[[], object]] = {}
        for count in places:
            options = replace(source.options, **{axis: count})  # type: ignore[arg-type]
            try:
                backend = CandidateSource(source.backend, source.model, options).open(stack).backend
            except AdnetError as err:
                result.left_out[f"{axis} {count}"] = str(err)
                continue
            pool = stack.enter_context(ThreadPoolExecutor(backend.lanes))
            noisy = noisy_batch(1, backend.spec.channels, config.size)
            work = [noisy] * images
            actions[str(count)] = lambda run=backend.infer, pool=pool, work=work: list(  # type: ignore[misc]
                pool.map(run, work)
            )
        seconds = interleave(actions, rounds=config.rounds)
    result.scaling += _records(axis, seconds, config.size, lambda _: images)


def _sizes(
    candidate: Candidate, megapixels: Sequence[float]
) -> Iterator[tuple[float, list[ScalingRecord]]]:
    """Measure sizes in interleaved rounds; yields the share done and the entries so far."""
    denoiser = candidate.denoiser
    assert denoiser is not None  # opened as a backend of ours
    channels = candidate.backend.card.channels
    seconds: dict[float, list[float]] = {each: [] for each in megapixels}
    memory: dict[float, float | None] = {}
    if megapixels:
        denoiser(_page(min(0.1, *megapixels), channels))  # warm-up
    for done in range(_SIZE_ROUNDS):
        for index, each in enumerate(sorted(megapixels), start=1):
            if sum(seconds[each]) > _SIZE_BUDGET:
                continue
            image = _page(each, channels)
            can_tell = forget_peak()
            begin = time.perf_counter()
            denoiser(image)
            seconds[each].append(time.perf_counter() - begin)
            # Of the first round, in which sizes only grow: later the largest counts for all.
            memory.setdefault(each, peak_memory() if can_tell else None)
            entries = [
                _record("size", size, seconds[size], size, peak) for size, peak in memory.items()
            ]
            yield (done + index / len(megapixels)) / _SIZE_ROUNDS, entries


def _page(megapixels: float, channels: int) -> NDArray[np.uint8]:
    """Render a noisy image of so many megapixels, 3 to 2; large ones repeat one scene."""
    height = max(48, round((megapixels * 1e6 / 1.5) ** 0.5))
    width = max(48, round(1.5 * height))
    scene = render(min(height, _PAGE), min(width, _PAGE), channels)
    noise = np.random.default_rng(0).normal(0, 25 / WHITE, scene.shape)
    levels = to_levels(scene + noise)
    repeats = (-(-height // levels.shape[0]), -(-width // levels.shape[1]), 1)
    page: NDArray[np.uint8] = np.tile(levels, repeats[: levels.ndim])[:height, :width]
    return page


def _records(
    axis: str,
    seconds: dict[str, list[float]],
    size: tuple[int, int],
    images: Callable[[int], int],
) -> list[ScalingRecord]:
    pixels = size[0] * size[1] / 1e6
    return [
        replace(_record(axis, int(place), times, images(int(place)) * pixels), size=size)
        for place, times in seconds.items()
    ]


def _record(
    axis: str, place: float, seconds: Sequence[float], mpix: float, peak: float | None = None
) -> ScalingRecord:
    return ScalingRecord(
        axis=axis,
        x=place,
        mpix_per_s=rate(seconds, mpix),
        runs=len(seconds),
        peak_memory_mb=peak,
        seconds=tuple(round(one, 6) for one in seconds),
    )


def default_counts(cores: int) -> tuple[int, ...]:
    """Powers of two up to the number of cores, and that number."""
    counts = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return (*counts, cores)
