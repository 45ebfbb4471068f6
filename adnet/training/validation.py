"""PSNR of the averaged network on the validation images, shared out to the workers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from adnet.images.evaluate import Float32, evaluate
from adnet.images.levels import from_levels
from adnet.images.metrics import psnr
from adnet.training.data import ValidationImage
from adnet.training.world import World


def validate(
    network: nn.Module, images: Sequence[ValidationImage], sigma: float, world: World
) -> float:
    """Measure the mean PSNR in dB; the same number for any number of workers.

    Every worker denoises every size-th image; the PSNRs are then brought together and averaged in
    the images' order.

    Args:
        network: in evaluation mode.
        sigma: noise added to clean images, on the 0-255 scale (published protocol); pairs bring
            their own noise.

    Returns:
        NaN, or infinity with either sign, where the network's results are not finite or perfect.
    """

    @torch.inference_mode()
    def denoise(noisy: Float32) -> Float32:
        planes = torch.from_numpy(np.atleast_3d(noisy)).to(world.device).permute(2, 0, 1)[None]
        result: Float32 = network(planes)[0].permute(1, 2, 0).cpu().numpy().reshape(noisy.shape)
        return result

    results = torch.zeros(len(images), device=world.device)
    with np.errstate(invalid="ignore"):  # the result tells it
        for index in range(world.rank, len(images), world.size):
            image = images[index]
            clean = from_levels(image.clean)
            if image.noisy is None:
                results[index] = evaluate(denoise, [clean], sigma)[0].psnr
            else:
                denoised = denoise(from_levels(image.noisy))
                results[index] = psnr(clean, np.clip(denoised, 0.0, 1.0))
    return float(np.mean(world.sum(results).tolist()))
