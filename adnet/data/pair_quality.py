"""Measure a denoiser on pairs: photographs of the same scene, noisy and clean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.data.pairs import Pair, group_scenes
from adnet.images.evaluate import Quality, compare
from adnet.images.levels import from_levels

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PairsQuality:
    """PSNR in dB of the noisy photographs and of what was made of them."""

    pairs: int
    noisy: float
    """Mean over the pairs of the photograph as it came."""
    denoised: float
    scenes: dict[str, tuple[float, float]]
    """Scene -> mean (noisy, denoised) of its pairs, by `adnet.data.pairs.scene_of`."""

    def to_dict(self) -> dict[str, Any]:
        """For a record: JSON types, rounded to 0.0001 dB."""
        return {
            "pairs": self.pairs,
            "noisy": round(self.noisy, 4),
            "denoised": round(self.denoised, 4),
            "scenes": {
                name: [round(before, 4), round(after, 4)]
                for name, (before, after) in self.scenes.items()
            },
        }


def measure_pairs(denoise: Callable[[Float32], Float32], pairs: Sequence[Pair]) -> PairsQuality:
    """Denoise the noisy image of every pair; PSNR per image on floats, mean over images.

    Args:
        denoise: takes and returns (H, W) or (H, W, 3) float32 in [0, 1].
    """
    before: list[Quality] = []
    after: list[Quality] = []
    for pair in pairs:
        clean, noisy = (from_levels(image) for image in (pair.clean, pair.noisy))
        before.append(compare(clean, noisy))
        after.append(compare(clean, denoise(noisy)))
    return summarise(pairs, [one.psnr for one in before], [one.psnr for one in after])


def summarise(
    pairs: Sequence[Pair], before: Sequence[float], after: Sequence[float]
) -> PairsQuality:
    """Bring together the PSNR of every pair, before and after, by scene and over all."""
    scenes = {
        name: (
            float(np.mean([before[index] for index in members])),
            float(np.mean([after[index] for index in members])),
        )
        for name, members in sorted(group_scenes([pair.name for pair in pairs]).items())
    }
    return PairsQuality(len(pairs), float(np.mean(before)), float(np.mean(after)), scenes)
