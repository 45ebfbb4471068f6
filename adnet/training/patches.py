"""Training pixels on the device, and the patches that a step draws from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from adnet.data.held_out import UInt8
from adnet.errors import TrainingError


class Sampler(Protocol):
    """Draws the training patches of a step."""

    patches_per_epoch: int | None
    """How many patches one pass over the data has; None where patches are cut at random."""

    def sample(self, step: int, count: int, rows: slice) -> Tensor:
        """Draw the `count` patches of a step and return the given rows of them.

        What a row holds depends on the seed, the step and the count alone, so workers that ask
        for different rows share one batch without talking to each other.

        Returns:
            (rows, C, patch, patch) uint8 on the device.
        """
        ...


def step_generator(seed: int, step: int, stream: int, device: torch.device) -> torch.Generator:
    """Random numbers of one step; every purpose has a `stream` (0..7) of its own."""
    mixed = (seed * 1_000_003 + step) * 8 + stream
    return torch.Generator(device).manual_seed(mixed % 2**63)  # generators take no more


_CPU = torch.device("cpu")
_PLACES, _ORIENTATIONS, _EPOCHS = 0, 1, 2  # streams


class StoreSampler:
    """Draws ready patches, such as an HDF5 store holds, in a new order each epoch.

    An epoch shows every patch once, but for the last ones that fill no batch.

    Args:
        patches: (N, C, H, W) uint8.
        augment: turn and mirror patches at random.
    """

    def __init__(self, patches: UInt8, device: torch.device, *, seed: int, augment: bool) -> None:
        self._patches = torch.from_numpy(patches).to(device)
        self._seed, self._augment = seed, augment
        self._order = torch.empty(0, dtype=torch.int64)
        self._epoch = -1
        self.patches_per_epoch: int | None = len(patches)

    def sample(self, step: int, count: int, rows: slice) -> Tensor:
        """See `Sampler`.

        Raises:
            TrainingError: the store holds less than one batch.
        """
        batches = len(self._patches) // count
        if not batches:
            raise TrainingError(
                f"the store holds {len(self._patches)} patches, less than one batch of {count}. "
                "Use a smaller --batch."
            )
        epoch, batch = divmod(step, batches)
        if epoch != self._epoch:
            generator = step_generator(self._seed, epoch, _EPOCHS, _CPU)
            self._order = torch.randperm(len(self._patches), generator=generator)
            self._epoch = epoch
        place = self._order[batch * count : (batch + 1) * count][rows]
        patches = self._patches[place.to(self._patches.device)]
        if not self._augment:
            return patches
        orientation = _draw_orientations(self._seed, step, count)[rows].to(patches.device)
        result = torch.empty_like(patches)
        for which in range(8):
            chosen = orientation == which
            turned = torch.rot90(patches[chosen], which % 4, dims=(2, 3))
            result[chosen] = turned.transpose(2, 3) if which >= 4 else turned
        return result


class PatchSampler:
    """Cuts random patches out of images that lie on the device.

    All pixels are one flat uint8 tensor per plane, so images may differ in size, and a batch is
    one gather. Every possible patch position has the same chance.

    Args:
        images: (H, W) or (H, W, C) uint8 arrays.
        patch: side of a patch in pixels.
        device: where the pixels lie and the patches are cut.
        augment: show every patch in one of its eight orientations (four rotations, mirrored or
            not).

    Raises:
        TrainingError: no image is as large as a patch.
    """

    def __init__(
        self,
        images: Sequence[UInt8],
        patch: int,
        device: torch.device,
        *,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        usable = [image for image in images if min(image.shape[:2]) >= patch]
        if not usable:
            raise TrainingError(
                f"no training image, at no scale of --scales, is as large as a patch, "
                f"{patch}x{patch}. Use larger images or a smaller --patch."
            )
        self.skipped = len(images) - len(usable)
        self.patches_per_epoch: int | None = None
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
        self._seed, self._augment = seed, augment

    def __len__(self) -> int:
        """Count the different patch positions."""
        return int(self._ends[-1])

    def sample(self, step: int, count: int, rows: slice) -> Tensor:
        """See `Sampler`."""
        generator = step_generator(self._seed, step, _PLACES, _CPU)
        place = torch.randint(len(self), (count,), generator=generator)[rows]
        if self._augment:
            orientation = _draw_orientations(self._seed, step, count)[rows]
        else:
            orientation = torch.zeros_like(place)
        image = torch.searchsorted(self._ends, place, right=True)
        place = place - torch.where(image > 0, self._ends[image - 1], 0)
        row, column = place // self._columns[image], place % self._columns[image]
        width = self._widths[image]
        corner = (self._starts[image] + row * width + column).to(self._device)
        grid_row, grid_column = self._grids[:, orientation.to(self._device)]
        offset = grid_row * width.to(self._device)[:, None, None] + grid_column
        patches = self._pixels[:, corner[:, None, None] + offset]
        return patches.transpose(0, 1)


def _draw_orientations(seed: int, step: int, count: int) -> Tensor:
    generator = step_generator(seed, step, _ORIENTATIONS, _CPU)
    return torch.randint(8, (count,), generator=generator)


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
