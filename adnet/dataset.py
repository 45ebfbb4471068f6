"""Training images as one tensor on the device; patches are cut there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from adnet.errors import TrainingError

UInt8 = NDArray[np.uint8]


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


class StoreSampler:
    """Draws ready patches, such as an HDF5 store holds; same interface as `PatchSampler`.

    Args:
        patches: (N, C, H, W) uint8.
    """

    def __init__(self, patches: UInt8, device: torch.device) -> None:
        self._patches = torch.from_numpy(patches).to(device)

    def __len__(self) -> int:
        """Count the patches."""
        return len(self._patches)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` patches, with replacement, each in one of the eight orientations."""
        place = torch.randint(len(self), (count,), generator=generator)
        orientation = torch.randint(8, (count,), generator=generator)
        patches = self._patches[place.to(self._patches.device)]
        result = torch.empty_like(patches)
        for which in range(8):
            chosen = (orientation == which).to(patches.device)
            turned = torch.rot90(patches[chosen], which % 4, dims=(2, 3))
            result[chosen] = turned.transpose(2, 3) if which >= 4 else turned
        return result


class PatchSampler:
    """Cuts random patches out of images that lie on the device.

    All pixels are one flat uint8 tensor per plane, so images may differ in size, and a batch is
    one gather. Every possible patch position has the same chance; every patch is seen in one of
    the eight orientations (four rotations, mirrored or not).

    Args:
        images: (H, W) or (H, W, C) uint8 arrays.
        patch: side of a patch in pixels.
        device: where the pixels lie and the patches are cut.

    Raises:
        TrainingError: no image is as large as a patch.
    """

    def __init__(self, images: Sequence[UInt8], patch: int, device: torch.device) -> None:
        usable = [image for image in images if min(image.shape[:2]) >= patch]
        if not usable:
            raise TrainingError(
                f"none of the {len(images)} training images is as large as a patch, "
                f"{patch}x{patch}. Use larger images or a smaller --patch."
            )
        self.skipped = len(images) - len(usable)
        planes = [
            np.atleast_3d(image).reshape(image.shape[0] * image.shape[1], -1) for image in usable
        ]
        self._pixels = torch.from_numpy(np.concatenate(planes).T.copy()).to(device)
        heights = torch.tensor([image.shape[0] for image in usable])
        self._widths = torch.tensor([image.shape[1] for image in usable])
        areas = heights * self._widths
        self._starts = torch.cumsum(areas, 0) - areas
        self._columns = self._widths - patch + 1
        positions = (heights - patch + 1) * self._columns
        self._ends = torch.cumsum(positions, 0)
        self._grids = _orientations(patch).to(device)
        self._device = device

    def __len__(self) -> int:
        """Count the different patch positions."""
        return int(self._ends[-1])

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Cut `count` patches.

        Args:
            generator: on the CPU; decides everything.

        Returns:
            (count, C, patch, patch) uint8 on the device.
        """
        place = torch.randint(len(self), (count,), generator=generator)
        orientation = torch.randint(8, (count,), generator=generator)
        image = torch.searchsorted(self._ends, place, right=True)
        place = place - torch.where(image > 0, self._ends[image - 1], 0)
        row, column = place // self._columns[image], place % self._columns[image]
        width = self._widths[image]
        corner = (self._starts[image] + row * width + column).to(self._device)
        grid_row, grid_column = self._grids[:, orientation.to(self._device)]
        offset = grid_row * width.to(self._device)[:, None, None] + grid_column
        patches = self._pixels[:, corner[:, None, None] + offset]
        return patches.transpose(0, 1)


def _orientations(patch: int) -> Tensor:
    """Coordinates (2, 8, patch, patch) of a patch's pixels in its eight orientations."""
    axis = torch.arange(patch)
    row, column = torch.meshgrid(axis, axis, indexing="ij")
    grids = [
        torch.stack([torch.rot90(first, turns), torch.rot90(second, turns)])
        for first, second in ((row, column), (column, row))
        for turns in range(4)
    ]
    return torch.stack(grids, dim=1)
