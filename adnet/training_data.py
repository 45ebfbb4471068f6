"""What a training run learns from and is validated on: image folders or HDF5 stores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from adnet.dataset import PatchSampler, StoreSampler, UInt8, hold_out, rescaled
from adnet.errors import TrainingError, UsageError
from adnet.evaluate import Float32
from adnet.image import load_folder
from adnet.train_config import TrainConfig

log = logging.getLogger(__name__)

STORE_SUFFIXES = (".h5", ".hdf5")


class Sampler(Protocol):
    """Draws training patches."""

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Return (count, C, patch, patch) uint8 on the device; `generator` decides everything."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Patches to learn from and images to validate on; they never share a file."""

    sampler: Sampler
    val_images: list[Float32]
    """(H, W) or (H, W, 3) in [0, 1]."""
    description: str
    """For the record, e.g. `424 images`."""


def load_training_data(config: TrainConfig, device: torch.device) -> TrainingData:
    """Load folders of images, or one HDF5 store, onto the device.

    Raises:
        UsageError: no such folder, no images, or folders and stores mixed.
        ImageError, TrainingError: data that cannot be used.
    """
    paths = [Path(text) for text in config.data]
    stores = [path for path in paths if path.suffix.lower() in STORE_SUFFIXES]
    if not stores:
        return _from_folders(config, paths, device)
    if len(paths) != 1:
        raise UsageError(f"{stores[0]}: an HDF5 store is trained on alone, not beside others.")
    return _from_store(config, stores[0], device)


def _from_folders(
    config: TrainConfig, folders: Sequence[Path], device: torch.device
) -> TrainingData:
    images: list[UInt8] = []
    for folder in folders:
        images += load_folder(folder, config.channels).values()
    if config.val:
        validation = _load_validation(config)
    else:
        held = hold_out(len(images), config.val_images)
        validation = [image for index, image in enumerate(images) if index in held]
        images = [image for index, image in enumerate(images) if index not in held]
    sampler = PatchSampler(rescaled(images, config.scales), config.patch, device)
    if sampler.skipped:
        log.warning(
            "%d images (scales included) are smaller than a patch, not used", sampler.skipped
        )
    return TrainingData(sampler, _as_float(validation), f"{len(images)} images")


def _from_store(config: TrainConfig, store: Path, device: torch.device) -> TrainingData:
    from adnet.patch_store import read_images, read_patches  # noqa: PLC0415  (needs h5py)

    patches = read_patches(store)
    expected = (config.channels, config.patch, config.patch)
    if patches.shape[1:] != expected:
        raise TrainingError(
            f"{store}: holds patches of shape {patches.shape[1:]}, the run expects {expected}. "
            "Set --channels and --patch, or prepare another store."
        )
    beside = store.with_name("val.h5")
    if config.val:
        validation = _load_validation(config)
    elif beside.is_file():
        validation = read_images(beside)
    else:
        raise UsageError(f"{store}: no val.h5 beside it. Give --val FOLDER or a store.")
    return TrainingData(
        StoreSampler(patches, device), _as_float(validation), f"{len(patches)} stored patches"
    )


def _load_validation(config: TrainConfig) -> list[UInt8]:
    images: list[UInt8] = []
    for path in map(Path, config.val):
        if path.suffix.lower() in STORE_SUFFIXES:
            from adnet.patch_store import read_images  # noqa: PLC0415  (needs h5py)

            images += read_images(path)
        else:
            images += load_folder(path, config.channels).values()
    for image in images:
        channels = 1 if image.ndim == 2 else image.shape[2]
        if channels != config.channels:
            raise TrainingError(
                f"validation images have {channels} channels, the run {config.channels}."
            )
    return images


def _as_float(images: Sequence[UInt8]) -> list[Float32]:
    return [image / np.float32(255) for image in images]
