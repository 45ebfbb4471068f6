"""Rendered test images: edges, gradients, fine texture and flat areas, made from a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def render(height: int, width: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """Render a clean image.

    Args:
        height, width: in pixels, from 1.
        channels: 1 or 3.
        seed: chooses the scene.

    Returns:
        (H, W) or (H, W, 3) float32 in [0, 1].
    """
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / max(height, width), x / max(height, width)
    image = np.empty((height, width, 3), np.float32)
    top, bottom = generator.uniform(0.25, 0.85, (2, 3))
    image[:] = top + (bottom - top) * y[..., None]
    for _ in range(14):
        centre_y, centre_x, radius = generator.uniform(0, 1, 3) * (0.8, 1.0, 0.22) + (0, 0, 0.03)
        colour = generator.uniform(0.05, 0.95, 3)
        dy, dx = y - centre_y, x - centre_x
        if generator.random() < 0.5:
            inside = dy**2 + dx**2 < radius**2
        else:
            angle = generator.uniform(0, np.pi)
            along = dx * np.cos(angle) + dy * np.sin(angle)
            across = dy * np.cos(angle) - dx * np.sin(angle)
            inside = (np.abs(along) < radius) & (np.abs(across) < radius / 3)
        frequency, phase = generator.uniform(20, 260), generator.uniform(0, 2 * np.pi)
        direction = generator.uniform(0, np.pi)
        stripes = np.sin(frequency * (dx * np.cos(direction) + dy * np.sin(direction)) + phase)
        amount = generator.choice([0.0, 0.08, 0.2])
        shade = (1 - 0.4 * (dy + dx) / radius) * 0.5 + 0.5
        image[inside] = (colour * shade[..., None] + amount * stripes[..., None])[inside]
    image = np.clip(image, 0.0, 1.0)
    if channels == 3:
        return image
    luma = image @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(luma, np.float32)
