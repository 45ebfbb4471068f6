"""The way of pixels through an opened model: tile by tile, several batches at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.errors import PrecisionError
from adnet.images.float_range import Range
from adnet.runtime.backend import Backend, InputSpec
from adnet.runtime.pixels import from_float, luma, mean_of_orientations, to_float, with_luma
from adnet.runtime.planning import ImagePlan
from adnet.runtime.tiling import Tile
from adnet.runtime.treatment import Treatment


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that is loaded."""

    backend: Backend
    spec: InputSpec
    """The backend's, without what an ensemble cannot use."""
    pool: ThreadPoolExecutor
    """One thread per lane of the backend."""


@dataclass(frozen=True, slots=True)
class Way:
    """From the pixels of a tile to those of its result."""

    opened: Opened
    values: Range
    treatment: Treatment

    def groups(self, planes: int) -> list[slice]:
        """Planes that go through the model together."""
        if self.treatment.color_mode == "luma":
            return [slice(0, planes)]
        together = self.opened.backend.card.channels
        return [slice(first, first + together) for first in range(0, planes, together)]

    def denoise(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Send (N, C, H, W) through the model; three planes through a gray one by their luma."""
        if batch.shape[1] > self.opened.backend.card.channels:
            before = luma(batch)
            return with_luma(batch, before, self.denoise(before))
        if self.treatment.ensemble:
            return mean_of_orientations(self.opened.backend.infer, batch)
        return self.opened.backend.infer(batch)


def work_through(
    plan: ImagePlan,
    way: Way,
    source: NDArray[Any],
    out: NDArray[Any],
    on_pixels: Callable[[int], None],
) -> None:
    """Denoise (H, W, C) into `out`, converting tile by tile to keep the memory flat.

    Batches of tiles go to as many threads as the backend has lanes.
    """
    backend, planes = way.opened.backend, source.shape[2]
    jobs = ((tile, group) for tile in plan.tiles for group in way.groups(planes))

    def work(chunk: list[tuple[Tile, slice]], allotted: int) -> int:
        batch = np.stack([to_float(source[t.rows, t.columns, g], way.values) for t, g in chunk])
        if allotted > len(chunk):  # a model of fixed batches: fill with copies of the last
            fill = np.repeat(batch[-1:], allotted - len(chunk), axis=0)
            batch = np.concatenate([batch, fill])
        pixels = 0
        for (place, group), denoised in zip(chunk, way.denoise(batch), strict=False):
            core = (place.core_rows, place.core_columns, group)
            kept = denoised[:, place.core_within[0], place.core_within[1]]
            if not np.isfinite(kept).all():
                raise PrecisionError(
                    f"{backend.name} backend: the result holds values that are no finite numbers, "
                    "though the input has none. Try --precision fp32 or another backend; if that "
                    "does not help, the model file is damaged."
                )
            out[core] = from_float(kept, source[core], way.values, way.treatment.strength)
            pixels += out[core].size
        return pixels

    running: deque[Future[int]] = deque()
    rest = 0

    def finish_oldest() -> None:
        nonlocal rest  # a batch may end between the planes of a tile
        pixels, rest = divmod(rest + running.popleft().result(), planes)
        on_pixels(pixels)

    try:
        for used, allotted in plan.batches:
            if len(running) > backend.lanes:
                finish_oldest()
            running.append(way.opened.pool.submit(work, list(islice(jobs, used)), allotted))
        while running:
            finish_oldest()
    finally:
        for future in running:  # after a failure
            future.cancel()
