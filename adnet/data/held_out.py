"""Which images are kept aside for validation, and images at smaller scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adnet.errors import TrainingError

UInt8 = NDArray[np.uint8]
Item = TypeVar("Item")


def hold_out(count: int, held: int) -> set[int]:
    """Choose `held` of `count` images for validation, evenly spread and always the same.

    Raises:
        TrainingError: nothing would be left to train on.
    """
    if count <= held:
        raise TrainingError(
            f"{count} images are too few to hold out {held} for validation. Give more images, "
            "--val FOLDER or a lower --val-images."
        )
    every = count // held if held else 1
    return set(range(0, every * held, every))


def split(items: Sequence[Item], held: set[int]) -> tuple[list[Item], list[Item]]:
    """Part items into those to train on and those held out, by their indices."""
    kept = [item for index, item in enumerate(items) if index not in held]
    return kept, [items[index] for index in sorted(held)]


def rescaled(images: Sequence[UInt8], scales: Sequence[float]) -> list[UInt8]:
    """Return every image at every scale (Pillow's bicubic, anti-aliased when shrinking)."""
    result = []
    for image in images:
        height, width = image.shape[:2]
        for scale in scales:
            if scale == 1:
                result.append(image)
                continue
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
            result.append(np.asarray(resized))
    return result
