"""Additive white Gaussian noise, including the published test protocol without torch.

Noise levels (sigma) are on the 0-255 scale everywhere, see `levels`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from adnet.images.levels import WHITE

Float32 = NDArray[np.float32]


def published_noise(shape: tuple[int, ...], sigma: float, seed: int = 0) -> Float32:
    """Draw the noise that the published ADNet and DnCNN test scripts draw.

    They call `torch.manual_seed(0)` before every image and draw one `normal_` tensor of the
    image's shape on the CPU. Torch's CPU generator is MT19937 with the seeding of NumPy's
    `RandomState`, so the same numbers can be made without torch (equal to about 1e-7).

    Args:
        shape: of the image, e.g. (H, W).
        sigma: standard deviation on the 0-255 scale.
        seed: 0 in the published protocol.

    Returns:
        float32 noise of standard deviation sigma / WHITE (255).
    """
    size = math.prod(shape)
    generator = np.random.RandomState(seed)
    draw = _normal_blocks if size >= 16 else _normal_pairs
    return np.asarray(draw(generator, size) * (sigma / WHITE), np.float32).reshape(shape)


def add_published_noise(clean: Float32, sigma: float, seed: int = 0) -> Float32:
    """Return `clean` in [0, 1] plus `published_noise`; not clipped, as in the paper's protocol."""
    return clean + published_noise(clean.shape, sigma, seed)


def _normal_blocks(generator: np.random.RandomState, size: int) -> NDArray[np.float64]:
    """Torch's path for 16 or more values: Box-Muller on blocks of 16 uniforms.

    A uniform is the low 24 bits of one 32-bit word times 2^-24. The last 16 values are redrawn
    when the size is no multiple of 16.
    """
    uniforms = _uniform24(generator, size)
    whole = size - size % 16
    values = np.empty(size)
    values[:whole] = _box_muller(uniforms[:whole])
    if whole != size:
        values[-16:] = _box_muller(_uniform24(generator, 16))
    return values


def _uniform24(generator: np.random.RandomState, size: int) -> NDArray[np.float64]:
    words = generator.randint(0, 2**32, size=size, dtype=np.uint32)
    uniforms: NDArray[np.float64] = (words & np.uint32(2**24 - 1)) * 2.0**-24
    return uniforms


def _box_muller(uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    blocks = uniforms.reshape(-1, 2, 8)
    radius = np.sqrt(-2.0 * np.log(1.0 - blocks[:, 0]))
    angle = 2.0 * np.pi * blocks[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()


def _normal_pairs(generator: np.random.RandomState, size: int) -> NDArray[np.float64]:
    """Torch's path for fewer than 16 values: Box-Muller on pairs of 53-bit uniforms."""
    words = generator.randint(0, 2**32, size=4 * size, dtype=np.uint32).astype(np.uint64)
    uniforms = ((words[0::2] << np.uint64(32) | words[1::2]) & np.uint64(2**53 - 1)) * 2.0**-53
    first, second = uniforms[0::2], uniforms[1::2]
    radius = np.sqrt(-2.0 * np.log1p(-second))
    angle = 2.0 * np.pi * first
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()[:size]
