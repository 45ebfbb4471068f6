"""One run of adnet-bench: what is measured, in which order, into which parts of the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adnet.benchmarks.candidates import Candidate, open_candidates
from adnet.benchmarks.memory import load_alone
from adnet.benchmarks.quality import PROTOCOL, load_clean, measure_quality
from adnet.benchmarks.results import Result
from adnet.benchmarks.speed import measure_end_to_end, measure_speed, rendered_images
from adnet.errors import UsageError

if TYPE_CHECKING:
    from adnet.runtime.backend import RunOptions

_END_TO_END_IMAGES = 8


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """What to measure."""

    backends: tuple[str, ...]
    models: tuple[str, ...]
    options: RunOptions
    """Asked of every backend."""
    peers: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    sizes: tuple[tuple[int, int], ...] = ((321, 481),)
    """(height, width) pairs."""
    rounds: int | None = None
    """Of timing; None: until the intervals are narrow, 0: no timing."""
    dataset: tuple[str, Path] | None = None
    """Name and folder of clean images; None: no quality."""
    sigma: float = 25.0
    images: int | None = None
    """Use only so many images."""

    def __post_init__(self) -> None:
        sides = [side for size in self.sizes for side in size]
        if min(self.batches, default=0) < 1 or min(sides, default=0) < 1:
            raise UsageError("--batch and --size: expected numbers of at least 1.")
        if self.rounds is not None and self.rounds < 0:
            raise UsageError(f"--rounds must not be negative, got {self.rounds}.")
        if not self.backends:
            raise UsageError("--backend: name at least one, or all.")
        if not 0 <= self.sigma <= 255:
            raise UsageError(f"--sigma must be 0 to 255, got {self.sigma:g}.")
        if self.images is not None and self.images < 1:
            raise UsageError(f"--images must be at least 1, got {self.images}.")
        if self.dataset is None and self.images is not None:
            raise UsageError("--images is of the images of --data, which is not given; give both.")
        if self.dataset is None and self.rounds == 0:
            raise UsageError("without --data and with --rounds 0 there is nothing to measure.")


def run_benchmark(
    config: BenchConfig, result: Result, on_progress: Callable[[float, str], None]
) -> None:
    """Measure into `result`, part by part, so that an interrupted run keeps what it has.

    Args:
        result: a new one.
        on_progress: called with the share that is done, roughly, and what is being measured.

    Raises:
        UsageError: no backend can run here, or gray and colour models are mixed.
    """
    with open_candidates(config.backends, config.models, config.options, config.peers) as found:
        opened = found.opened
        result.left_out = found.left_out
        if not opened:
            raise UsageError(f"no backend can run here: {found.left_out}")
        channels = opened[0].backend.card.channels
        if any(one.backend.card.channels != channels for one in opened):
            raise UsageError("gray and colour models cannot be compared; measure them one by one.")
        result.candidates = [one.record() for one in opened]
        clean = config.dataset and load_clean(config.dataset[1], channels, config.images)
        try:
            if config.rounds != 0:
                images = list(clean.values())[:_END_TO_END_IMAGES] if clean else None
                _measure_speed(config, result, opened, images, on_progress)
            if clean and config.dataset:
                result.protocol = PROTOCOL
                result.quality, result.examples = measure_quality(
                    opened, config.dataset[0], clean, config.sigma,
                    lambda share: on_progress(0.5 + share / 2, "quality"),
                    is_whole=config.images is None,
                )  # fmt: skip
        finally:
            result.errors |= {one.name: one.error for one in opened if one.error} | found.failed
    result.complete = not result.errors


def _measure_speed(
    config: BenchConfig,
    result: Result,
    candidates: list[Candidate],
    images: list[NDArray[np.uint8]] | None,
    on_progress: Callable[[float, str], None],
) -> None:
    on_progress(0.0, "loading, memory")
    for index, candidate in enumerate(candidates):
        alone = load_alone(candidate.source, config.sizes[0])
        result.candidates[index] = replace(
            result.candidates[index], load_s=alone.load_s, peak_memory_mb=alone.peak_memory_mb
        )
    measure_speed(
        result, candidates, config.batches, config.sizes, config.rounds, config.sigma,
        lambda share: on_progress(0.05 + 0.35 * share, "speed"),
    )  # fmt: skip
    on_progress(0.4, "end to end")
    channels = candidates[0].backend.card.channels
    files = images or rendered_images(channels, config.sizes[0], 4)
    rounds = 6 if config.rounds is None else max(3, config.rounds // 4)
    result.end_to_end, failures = measure_end_to_end(candidates, files, rounds)
    result.errors |= {f"{name}, end to end": text for name, text in failures.items()}
