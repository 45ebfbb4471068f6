"""PSNR and SSIM, as the denoising literature uses them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def psnr(clean: FloatArray, denoised: FloatArray) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(1 / mean squared error).

    Args:
        clean, denoised: arrays of one shape, in [0, 1], so that the peak is 1. The mean runs over
            all pixels and planes.

    Returns:
        The PSNR; infinite when the arrays are equal.

    Raises:
        ValueError: the shapes differ.
    """
    _same_shape(clean, denoised)
    error = np.mean(np.square(clean.astype(np.float64) - denoised.astype(np.float64)))
    return math.inf if error == 0 else -10.0 * math.log10(float(error))


def ssim(clean: FloatArray, denoised: FloatArray) -> float:
    """Structural similarity, mean over pixels and planes.

    Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004, section III: Gaussian window 11x11 with
    standard deviation 1.5, K1 = 0.01, K2 = 0.03, only windows that lie wholly inside the image.

    Args:
        clean, denoised: (H, W) or (H, W, C) in [0, 1], at least 11 pixels each way.

    Raises:
        ValueError: the shapes differ or the image is smaller than the window.
    """
    _same_shape(clean, denoised)
    if min(clean.shape[:2]) < 11:
        raise ValueError(f"ssim: needs at least 11x11 pixels, got {clean.shape[:2]}")
    x, y = clean.astype(np.float64), denoised.astype(np.float64)
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = _gaussian(x), _gaussian(y)
    variance_x = _gaussian(x * x) - mean_x**2
    variance_y = _gaussian(y * y) - mean_y**2
    covariance = _gaussian(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float(np.mean(numerator / denominator))


def _gaussian(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Filter the first two axes with the 11-tap Gaussian, keeping the valid part."""
    taps = np.exp(-np.square(np.arange(-5, 6)) / (2 * 1.5**2))
    taps /= taps.sum()
    rows = image.shape[0] - 10
    columns = image.shape[1] - 10
    vertical = sum(tap * image[i : i + rows] for i, tap in enumerate(taps))
    assert isinstance(vertical, np.ndarray)  # sum() of a non-empty sequence
    result = sum(tap * vertical[:, i : i + columns] for i, tap in enumerate(taps))
    assert isinstance(result, np.ndarray)
    return result


def _same_shape(a: FloatArray, b: FloatArray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images to compare must have one shape, got {a.shape} and {b.shape}")
