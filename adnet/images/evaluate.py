"""Measure a denoiser on clean images under known noise; used by training and by benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adnet.images.levels import from_levels, to_levels
from adnet.images.metrics import psnr, ssim
from adnet.images.noise import add_published_noise

PAPER_SIGMAS = {1: (15, 25, 50), 3: (15, 25, 35, 50, 75)}
"""Noise levels that the paper reports, by channels."""

Float32 = NDArray[np.float32]
DenoiseFunction = Callable[[Float32], Float32]


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of one denoised image."""

    psnr: float
    """On floats, as the papers report it."""
    ssim: float | None
    """None for images under 11 pixels, and where it was not asked for (it takes its time)."""
    psnr_8_bit: float
    """Of the image as it is saved: rounded to 256 levels."""


def evaluate(
    denoise: DenoiseFunction,
    clean_images: Iterable[Float32],
    sigma: float,
    *,
    with_ssim: bool = False,
) -> list[Quality]:
    """Denoise every image under the published noise protocol and compare with the clean one.

    Protocol: noise of `published_noise` (seed 0 for every image), noisy image not clipped,
    result clipped to [0, 1], PSNR on floats.

    Args:
        denoise: takes and returns (H, W) or (H, W, 3) float32.
        clean_images: float32 in [0, 1].
        sigma: noise level on the 0-255 scale.
    """
    return [
        compare(clean, denoise(add_published_noise(clean, sigma)), with_ssim=with_ssim)
        for clean in clean_images
    ]


def compare(clean: Float32, denoised: Float32, *, with_ssim: bool = False) -> Quality:
    """Compare one denoised image, not clipped yet, with the clean one."""
    denoised = np.clip(denoised, 0.0, 1.0)
    large_enough = with_ssim and min(clean.shape[:2]) >= 11
    return Quality(
        psnr(clean, denoised),
        ssim(clean, denoised) if large_enough else None,
        psnr(clean, from_levels(to_levels(denoised))),
    )


def mean_psnr(results: Iterable[Quality]) -> float:
    """Mean over images of the PSNR in dB, as the papers report it."""
    return float(np.mean([result.psnr for result in results]))
