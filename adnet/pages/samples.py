"""Pictures to try a denoiser with: rendered, with noise; nothing is photographed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from adnet.images.levels import to_levels
from adnet.images.noise import add_published_noise
from adnet.images.scenes import foliage, page
from adnet.images.synthetic import render

SIGMA = 25.0
_SIZE = (256, 384)


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture."""

    name: str
    title: str
    clean: NDArray[np.uint8]
    """(H, W) or (H, W, 3)."""
    noisy: NDArray[np.uint8]
    """With Gaussian noise of `SIGMA`."""


@cache
def samples() -> tuple[Sample, ...]:
    """Render them; the same on every machine with the same font."""
    scenes = (
        ("shapes", "Shapes, colour", render(*_SIZE, 3, seed=6)),
        ("leaves", "Leaves, colour", foliage(*_SIZE)),
        ("print", "Print, gray", page(*_SIZE)),
    )
    return tuple(
        Sample(name, title, to_levels(clean), to_levels(add_published_noise(clean, SIGMA)))
        for name, title, clean in scenes
    )
