"""Noisy images to calibrate a quantised model with, and to measure its loss on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adnet.errors import UsageError
from adnet.images.image import find_images, load_image
from adnet.images.levels import from_levels
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.card import ModelCard

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Clean and noisy image, each (1, C, H, W)."""

COUNT = 40
"""Images to use; every fifth is kept aside to measure the loss."""

_SIDE = 160
_LEAST = 10


def load_pairs(card: ModelCard, folder: Path | None) -> tuple[list[Pair], list[Pair]]:
    """Make pairs for calibrating and for measuring; noise levels run through the model's range.

    The lowest tenth of it is left out: a blind model quantised to 8 bits is not for clean images.

    Args:
        folder: photographs, cut to 160x160; None: rendered images, which cost no photographs but
            fit the model's use less well.

    Raises:
        UsageError: the folder has too few images.
    """
    if folder is None:
        images = [render(_SIDE, _SIDE, card.channels, seed) for seed in range(COUNT)]
    else:
        images = list(islice(_large_images(folder, card.channels), COUNT))
        if len(images) < _LEAST:
            raise UsageError(
                f"{folder}: calibrating needs at least {_LEAST} images of {_SIDE}x{_SIDE} pixels "
                f"or more, found {len(images)}."
            )
    low, high = card.noise_range()
    low = max(low, high / 10)  # below, the error of 8 bits is larger than the noise
    pairs = []
    for index, clean in enumerate(images):
        sigma = low + (high - low) * index / max(1, len(images) - 1)
        noisy = add_published_noise(clean, sigma)
        pairs.append((_batch(clean), _batch(noisy)))
    measured = pairs[::5]
    return [pair for index, pair in enumerate(pairs) if index % 5], measured


def _large_images(folder: Path, channels: int) -> Iterator[NDArray[np.float32]]:
    """Yield the middle of every image that is large enough."""
    for path in find_images(folder):
        image = load_image(path, channels)
        if min(image.shape[:2]) >= _SIDE:
            top, left = ((length - _SIDE) // 2 for length in image.shape[:2])
            yield from_levels(image[top : top + _SIDE, left : left + _SIDE])


def _batch(image: NDArray[np.float32]) -> NDArray[np.float32]:
    planes = np.atleast_3d(image).transpose(2, 0, 1)
    return np.ascontiguousarray(planes[None], np.float32)
