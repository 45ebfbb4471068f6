"""How much white Gaussian noise an image has, estimated from the image alone.

Donoho's estimate is the median of the absolute values of the finest diagonal wavelet coefficients,
divided by 0.6745 (Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, Biometrika
81, 1994, section 4.1; the wavelet is Daubechies', of four taps). Texture adds to it and clipped
pixels take away from it, so it is taken of the smooth blocks without clipped pixels only; how far
that helps is measured in docs/run.md. Noise that neighbouring pixels share, and what JPEG left of
noise, is hardly seen.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.images.float_range import FARTHEST, NOMINAL, Range, to_nominal
from adnet.images.levels import WHITE

BLOCK = 32
"""Side of a block in pixels."""
HARDLY_ANY = 2.0
"""Clean photographs are estimated up to about this."""

_LEAST_SIDE = 32
"""Of an image: smaller ones leave nothing to choose from."""
_SMALL_BLOCK = 8
"""For images with a side under two blocks."""
_SMOOTH = 0.3
"""Share of the blocks that counts, those with the least texture."""
_CLIPPED = 0.01
"""Share of clipped pixels that a block may have."""
_LEAST = 0.05
"""Share of blocks that must be left; else those count that are clipped least."""
_MOST_BLOCKS = 4096
"""Of an image: four megapixels."""
_MEDIAN = 0.6744897501960817
"""Of the absolute value of a standard normal variable."""

_LOW = np.array([1 + math.sqrt(3), 3 + math.sqrt(3), 3 - math.sqrt(3), 1 - math.sqrt(3)])
_LOW /= 4 * math.sqrt(2)
_HIGH = _LOW[::-1] * [1, -1, 1, -1]


class NoiseMeter:
    """Estimates the noise of an image that comes in stripes.

    Args:
        size: (height, width) of the image.
        value_range: black and white of float images.
    """

    def __init__(self, size: tuple[int, int], value_range: Range = NOMINAL) -> None:
        self.block = BLOCK if min(size) >= 2 * BLOCK else _SMALL_BLOCK
        """Rows of a stripe."""
        blocks = (size[0] // self.block) * (size[1] // self.block)
        self._step = max(1, math.ceil(math.sqrt(blocks / _MOST_BLOCKS)))
        self._too_small = min(size) < _LEAST_SIDE
        self._range = value_range
        self._seen = 0
        self._stripes: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []

    def add(self, rows: NDArray[Any]) -> None:
        """Take the next stripe: (`block`, W, C), colours only; a lower one is left out."""
        stripe, self._seen = self._seen, self._seen + 1
        count = rows.shape[1] // self.block
        if self._too_small or len(rows) < self.block or not count or stripe % self._step:
            return
        cut = rows[: self.block, : count * self.block].reshape(self.block, count, self.block, -1)
        values = to_nominal(cut[:, :: self._step].transpose(3, 1, 0, 2), self._range)
        # What is farther away is refused, but in bands only after the estimate.
        values = np.clip(values, -FARTHEST, FARTHEST)
        clipped = np.mean((values == 0) | (values == 1), axis=(2, 3))
        high, low = _filtered(values, _HIGH, 2), _filtered(values, _LOW, 2)
        texture = np.mean(
            np.square(_filtered(high, _LOW, 3)) + np.square(_filtered(low, _HIGH, 3)), axis=(2, 3)
        )
        diagonal = np.abs(_filtered(high, _HIGH, 3))
        self._stripes.append((clipped, texture, diagonal.reshape(*clipped.shape, -1)))

    def sigma(self) -> float | None:
        """Return the estimate on the 0-255 scale, the mean over the planes.

        None for an image under 32x32 pixels.
        """
        if not self._stripes:
            return None
        parts = (np.concatenate(part, axis=1) for part in zip(*self._stripes, strict=True))
        return float(np.mean([_of_plane(*plane) for plane in zip(*parts, strict=True)])) * WHITE


def estimate_sigma(pixels: NDArray[Any], value_range: Range = NOMINAL) -> float | None:
    """Estimate the standard deviation of the white noise in an image, on the 0-255 scale.

    Args:
        pixels: (H, W) or (H, W, C), as `ImageFile.pixels`; alpha does not count.

    Returns:
        The mean over the colour planes; None for an image under 32x32 pixels.
    """
    planes = pixels.reshape(*pixels.shape[:2], -1)
    colours = planes[..., : 3 if planes.shape[2] >= 3 else 1]
    height, width = pixels.shape[:2]
    meter = NoiseMeter((height, width), value_range)
    for top in range(0, height, meter.block):
        meter.add(colours[top : top + meter.block])
    return meter.sigma()


def plain_estimate(image: NDArray[Any]) -> float:
    """Return Donoho's estimate of a whole (H, W) float image, on the 0-255 scale: to compare."""
    diagonal = _filtered(_filtered(image.astype(np.float64), _HIGH, 0), _HIGH, 1)
    return float(np.median(np.abs(diagonal))) / _MEDIAN * WHITE


def _of_plane(clipped: NDArray[Any], texture: NDArray[Any], diagonal: NDArray[Any]) -> float:
    """Return the standard deviation by (N,), (N,) and (N, coefficients) of the blocks."""
    if np.mean(clipped <= _CLIPPED) >= _LEAST:
        is_whole = clipped <= _CLIPPED
    else:
        is_whole = clipped <= np.quantile(clipped, _LEAST)
    smooth = is_whole & (texture <= np.quantile(texture[is_whole], _SMOOTH))
    return float(np.median(diagonal[smooth])) / _MEDIAN


def _filtered(values: NDArray[Any], taps: NDArray[Any], axis: int) -> NDArray[Any]:
    """Filter an axis with four taps and keep every second value; only where all taps fit."""
    values = np.moveaxis(values, axis, -1)
    count = (values.shape[-1] - 4) // 2 + 1
    found = sum(
        float(tap) * values[..., start : start + 2 * count - 1 : 2]
        for start, tap in enumerate(taps)
    )
    assert isinstance(found, np.ndarray)  # sum() of a non-empty sequence
    return np.moveaxis(found, -1, axis)
