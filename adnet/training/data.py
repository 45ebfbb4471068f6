"""What a training run learns from and is validated on: image folders, pairs or HDF5 stores."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adnet.data.distinct import distinct, pixel_key, refuse_shared
from adnet.data.folders import find_data
from adnet.data.held_out import UInt8, hold_out, rescaled, split
from adnet.data.pairs import distinct_pairs, find_clean, hold_out_scenes, load_pairs
from adnet.errors import TrainingError, UsageError
from adnet.images.image import load_image
from adnet.images.levels import WHITE
from adnet.training.config import TrainConfig, store_at
from adnet.training.patches import PatchSampler, Sampler, StoreSampler, step_generator
from adnet.training.world import World

log = logging.getLogger(__name__)

_SIGMAS, _NOISE = 3, 4  # streams of random numbers; patches.py has the others


@dataclass(frozen=True, slots=True)
class ValidationImage:
    """(H, W) or (H, W, 3) uint8; `noisy` is None where noise is added to `clean`."""

    clean: UInt8
    noisy: UInt8 | None = None


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Patches to learn from and images to validate on; they never share a file."""

    sampler: Sampler
    val_images: list[ValidationImage]
    description: str
    """For the record, e.g. `424 images`."""
    fingerprint: str
    """SHA-256 over all pixels; tells whether a resumed run sees the same data."""


def load_training_data(config: TrainConfig, device: torch.device) -> TrainingData:
    """Load folders of images, folders of pairs, or one HDF5 store, onto the device.

    Raises:
        UsageError: no such folder, no images, folders and stores mixed, or a folder that holds
            both.
        ImageError, TrainingError: data that cannot be used.
    """
    paths = [Path(text) for text in config.data]
    stores = [store for path in paths if (store := _only_store(path, config))]
    if stores and (len(paths) != 1 or config.noise == "pairs"):
        raise UsageError(
            f"{stores[0]}: an HDF5 store is trained on alone, not beside others or as pairs."
        )
    if config.epochs is not None and not stores:
        raise UsageError(
            "training: --epochs counts passes over an HDF5 store, because patches are cut from "
            "folders at random. Make a store with 'adnet-data prepare', or give --steps."
        )
    if stores:
        return _from_store(config, stores[0], device)
    if config.noise == "pairs":
        return _from_pairs(config, paths, device)
    return _from_folders(config, paths, device)


def _only_store(path: Path, config: TrainConfig, name: str = "train.h5") -> Path | None:
    """Return the store that a path means; refuse to choose between a store and images beside it.

    Args:
        name: of a store in a folder.
    """
    store = store_at(path, name)
    if store is None or not path.is_dir():
        return store
    try:
        images = len(find_data(path))
    except UsageError:
        return store
    if config.noise == "pairs":
        return None  # they are never in a store, so the images are meant
    raise UsageError(
        f"{path}: holds a store, {name}, and {images} images: which are meant? Give {store}, or "
        "a folder with the images alone."
    )


def make_batch(
    config: TrainConfig, data: TrainingData, world: World, step: int
) -> tuple[Tensor, Tensor]:
    """Make this worker's share of a step's batch.

    Patches, noise levels and noise are those of the whole batch, drawn alike in every worker, of
    which each keeps its rows: the batch does not depend on the number of workers.

    Returns:
        Noisy and clean patches, (N, C, H, W) float32 on the device.
    """
    rows = world.rows(config.batch)
    pixels = data.sampler.sample(step, config.batch, rows).to(torch.get_default_dtype()).div_(WHITE)
    if config.noise == "pairs":
        noisy, clean = torch.split(pixels, config.channels, dim=1)
        return noisy.contiguous(), clean.contiguous()
    low, high = config.sigma
    generator = step_generator(config.seed, step, _SIGMAS, torch.device("cpu"))
    sigma = torch.rand(config.batch, generator=generator)[rows] * (high - low) + low
    generator = step_generator(config.seed, step, _NOISE, world.device)
    noise = torch.empty(config.batch, *pixels.shape[1:], device=world.device)
    noise = noise.normal_(generator=generator)[rows]
    return pixels + noise * (sigma / WHITE).to(world.device)[:, None, None, None], pixels


def _from_folders(
    config: TrainConfig, folders: Sequence[Path], device: torch.device
) -> TrainingData:
    found = distinct(
        (
            (path, load_image(path, config.channels))
            for folder in folders
            for path in find_clean(folder)
        ),
        lambda one: pixel_key(one[1]),
    )
    images = [image for _, image in found.values()]
    if config.val:
        validation = _load_validation(config, {key: path for key, (path, _) in found.items()})
    else:
        held = hold_out(len(images), config.val_images)
        images, aside = split(images, held)
        validation = [ValidationImage(image) for image in aside]
    return TrainingData(
        _patch_sampler(config, rescaled(images, config.scales), device),
        validation,
        f"{len(images)} images",
        fingerprint([*images, *pixels_of(validation)]),
    )


def _from_pairs(config: TrainConfig, folders: Sequence[Path], device: torch.device) -> TrainingData:
    found = distinct_pairs(folders, config.channels)
    pairs = list(found.values())
    if config.val:
        validation = _load_validation(config, {key: one.name for key, one in found.items()})
    else:
        held = hold_out_scenes([pair.name for pair in pairs], config.val_images)
        pairs, aside = split(pairs, held)
        validation = [ValidationImage(pair.clean, pair.noisy) for pair in aside]
    # Noisy and clean planes as one image: they are cut and turned alike.
    images = [np.dstack([pair.noisy, pair.clean]) for pair in pairs]
    return TrainingData(
        _patch_sampler(config, images, device),
        validation,
        f"{len(pairs)} pairs",
        fingerprint([*images, *pixels_of(validation)]),
    )


def _from_store(config: TrainConfig, store: Path, device: torch.device) -> TrainingData:
    from adnet.data.patch_store import read_images, read_patches  # noqa: PLC0415  (needs h5py)

    patches = read_patches(store)
    expected = (config.channels, config.patch, config.patch)
    if patches.shape[1:] != expected:
        raise TrainingError(
            f"{store}: holds patches of shape {patches.shape[1:]}, the run expects {expected}. "
            "Set --channels and --patch, or prepare another store."
        )
    beside = store.with_name("val.h5")
    if config.val:
        validation = _load_validation(config, {})
    elif beside.is_file():
        validation = [ValidationImage(image) for image in read_images(beside)]
    else:
        raise UsageError(f"{store}: no val.h5 beside it. Give --val FOLDER or a store.")
    return TrainingData(
        StoreSampler(patches, device, seed=config.seed, augment=config.augment),
        validation,
        f"{len(patches)} stored patches",
        fingerprint([patches, *pixels_of(validation)]),
    )


def _patch_sampler(
    config: TrainConfig, images: Sequence[UInt8], device: torch.device
) -> PatchSampler:
    sampler = PatchSampler(images, config.patch, device, seed=config.seed, augment=config.augment)
    if sampler.skipped:
        log.warning(
            "%d images (scales included) are smaller than a patch, not used", sampler.skipped
        )
    return sampler


def _load_validation(
    config: TrainConfig, trained_on: Mapping[bytes, object]
) -> list[ValidationImage]:
    """Read what --val names.

    Args:
        trained_on: `pixel_key` -> name; empty where it is not known, as of patches.
    """
    images: dict[str, ValidationImage] = {}
    for path in map(Path, config.val):
        store = _only_store(path, config, "val.h5")
        if store is not None:
            from adnet.data.patch_store import read_images  # noqa: PLC0415  (needs h5py)

            for number, image in enumerate(read_images(store), 1):
                images[f"image {number} of {store}"] = ValidationImage(image)
        elif config.noise == "pairs":
            for pair in load_pairs(path, config.channels):
                images[str(path / pair.name)] = ValidationImage(pair.clean, pair.noisy)
        else:
            for one in find_clean(path):
                images[str(one)] = ValidationImage(load_image(one, config.channels))
    for shown in images.values():
        channels = 1 if shown.clean.ndim == 2 else shown.clean.shape[2]
        if channels != config.channels:
            raise TrainingError(
                f"validation images have {channels} channels, the run {config.channels}. Give "
                f"--channels {channels}, or others with --val."
            )
    if trained_on:
        refuse_shared(trained_on, {name: pixel_key(one.clean) for name, one in images.items()})
    return list(images.values())


def pixels_of(images: Iterable[ValidationImage]) -> list[UInt8]:
    """List all arrays of pixels, the clean and the noisy ones."""
    return [part for image in images for part in (image.clean, image.noisy) if part is not None]


def fingerprint(arrays: Iterable[UInt8]) -> str:
    """Digest pixels and shapes (SHA-256)."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
