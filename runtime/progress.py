"""How far a run has come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adnet.runtime.jobs import Job


@dataclass(slots=True)
class Listener:
    """What a progress display hears; from any thread, one call at a time."""

    on_pixels: Callable[[int, int], None] = lambda _done, _total: None
    """Pixels finished since the last call, and all pixels of that image."""
    on_image: Callable[[Job, str | None], None] = lambda _job, _error: None
    """An image is finished: the error's message, or None."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a run."""

    done: int
    """Images finished, failed ones included."""
    images: int
    fraction: float
    """Of the whole run, images in work included."""
    megapixels_per_second: float
    image: Path | None = None
    """The input that was just finished."""
    error: str | None = None
    """Why it failed."""


class Position(Listener):
    """Counts images and pixels, and tells each step.

    Args:
        images: how many there are; more may be added to it while the run goes on.
    """

    def __init__(self, images: int, tell: Callable[[Progress], None]) -> None:
        self.images = images
        super().__init__(self._add_pixels, self._add_image)
        self._tell = tell
        self._begin = time.monotonic()
        self._done, self._part, self._pixels = 0, 0.0, 0

    def _add_pixels(self, pixels: int, of_image: int) -> None:
        self._pixels += pixels
        self._part += pixels / of_image
        self._step(None, None)

    def _add_image(self, job: Job, error: str | None) -> None:
        self._done += 1
        self._step(job.source, error)

    def _step(self, image: Path | None, error: str | None) -> None:
        seconds = max(time.monotonic() - self._begin, 1e-9)
        fraction = min(1.0, max(self._part, self._done) / max(1, self.images))
        rate = self._pixels / 1e6 / seconds
        self._tell(Progress(self._done, self.images, fraction, rate, image, error))
