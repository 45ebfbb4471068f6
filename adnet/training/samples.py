"""Pictures of a few validation images as the network denoises them, while it learns."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from adnet.atomic import atomic_path, write_atomically
from adnet.data.folders import SAMPLES
from adnet.images.levels import from_levels, to_levels
from adnet.images.metrics import psnr
from adnet.images.noise import add_published_noise
from adnet.training.data import ValidationImage
from adnet.training.report import INDEX

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]

_IMAGES = 3
_SIDE = 192
"""Of a detail, in pixels: what is seen at a glance, and done within a second on a CPU."""
_MOST = 10
"""Validations whose pictures are kept; of longer runs those in between are dropped."""


class Samples:
    """Details of up to three validation images, kept in RUN/samples.

    Args:
        run: run directory, which is there.
        sigma: noise added to clean images, on the 0-255 scale.
        step: what a resumed run begins at: later pictures are dropped.
    """

    def __init__(
        self, run: Path, images: Sequence[ValidationImage], sigma: float, step: int
    ) -> None:
        self._folder = run / SAMPLES
        self._pairs = [_detail(one, sigma) for one in images[:_IMAGES]]
        self._index: list[dict[str, Any]] = []
        index = self._folder / INDEX
        if step and index.exists():
            entries = json.loads(index.read_text(encoding="utf-8"))["validations"]
            self._index = [one for one in entries if one["step"] <= step]

    @np.errstate(invalid="ignore")  # of a network that has run away: the validation tells it
    def draw(self, network: nn.Module, device: torch.device, step: int) -> list[NDArray[np.uint8]]:
        """Denoise the details and write them; a full disk costs the pictures, not the run.

        Args:
            network: in evaluation mode.
            step: 0 for the network that the run starts from.

        Returns:
            Noisy, denoised and clean beside each other, (H, 3 W) or (H, 3 W, 3), of each image.
        """
        rows, found = [], []
        results = [_denoise(network, noisy, device) for noisy, _ in self._pairs]
        for (noisy, clean), denoised in zip(self._pairs, results, strict=True):
            rows.append(np.concatenate([to_levels(x) for x in (noisy, denoised, clean)], axis=1))
            found.append(round(psnr(clean, np.clip(denoised, 0, 1)), 3))
        try:
            self._write(step, results, found)
        except OSError as err:
            log.warning("step %d: sample pictures are not written: %s", step, err)
        return rows

    def _write(self, step: int, results: list[Float32], found: list[float]) -> None:
        self._folder.mkdir(exist_ok=True)
        for number, (noisy, clean) in enumerate(self._pairs):
            for name, pixels in (("noisy", noisy), ("clean", clean)):
                if not (path := self._folder / f"{name}-{number}.png").exists():
                    _save(path, pixels)
            _save(self._folder / f"{step:08}-{number}.png", results[number])
        self._index = [one for one in self._index if one["step"] != step]
        self._index.append({"step": step, "psnr": found})
        while len(self._index) > _MOST:
            self._drop_one()
        data = {"images": len(self._pairs), "validations": self._index}
        write_atomically(self._folder / INDEX, (json.dumps(data, indent=1) + "\n").encode())

    def _drop_one(self) -> None:
        """Drop the validation that is nearest to its neighbours; the ends stay."""
        steps = [one["step"] for one in self._index]
        gaps = {steps[i]: steps[i + 1] - steps[i - 1] for i in range(1, len(steps) - 1)}
        step = min(gaps, key=lambda one: gaps[one])
        self._index = [one for one in self._index if one["step"] != step]
        for path in self._folder.glob(f"{step:08}-*.png"):
            path.unlink(missing_ok=True)


def _detail(image: ValidationImage, sigma: float) -> tuple[Float32, Float32]:
    """Cut noisy and clean out of the middle."""
    height, width = image.clean.shape[:2]
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    part = (slice(top, top + _SIDE), slice(left, left + _SIDE))
    clean = from_levels(image.clean[part])
    if image.noisy is not None:
        return from_levels(image.noisy[part]), clean
    return add_published_noise(clean, sigma), clean


@torch.inference_mode()
def _denoise(network: nn.Module, noisy: Float32, device: torch.device) -> Float32:
    planes = torch.from_numpy(np.atleast_3d(noisy)).to(device).permute(2, 0, 1)[None]
    result: Float32 = network(planes)[0].permute(1, 2, 0).cpu().numpy().reshape(noisy.shape)
    return result


def _save(path: Path, pixels: Float32) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(to_levels(pixels)).save(temporary, "PNG")
