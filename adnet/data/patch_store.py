"""HDF5 stores of training patches and validation images.

Ours, written by `prepare_stores`:

    train.h5   dataset `patches`, uint8 (N, C, patch, patch), chunked; attributes say how made
    val.h5     group `images` with one uint8 dataset (C, H, W) an image

The ModelZoo layout is read too: one float32 dataset (C, H, W) in [0, 1] for every patch or image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from adnet import __version__
from adnet.atomic import atomic_path
from adnet.data.distinct import distinct, pixel_key, refuse_shared
from adnet.data.hdf5_writing import hdf5_writer
from adnet.data.held_out import UInt8, hold_out, rescaled, split
from adnet.data.pairs import find_clean
from adnet.errors import TrainingError, UsageError
from adnet.images.image import load_image
from adnet.images.levels import to_levels

MODES = {"S": (40, 1), "B": (10, 2)}
"""Mode -> (stride, copies of a patch): S one known noise level, B blind. ModelZoo's numbers."""

_CHUNK = 16
"""Patches in one HDF5 chunk: large enough to read fast in order, small enough to read at random."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How patches are cut."""

    mode: str = "S"
    channels: int = 1
    patch: int = 50
    scales: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7)
    val_images: int = 8
    """Images held out for val.h5 when no validation folder is given."""
    seed: int = 0
    """Chooses the orientation of second copies (mode B)."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UsageError(f"mode must be {' or '.join(MODES)}, got {self.mode!r}.")
        if self.channels not in (1, 3):
            raise UsageError(f"channels must be 1 or 3, got {self.channels}.")
        if self.patch < 8:
            raise UsageError(f"patch must be at least 8 pixels, got {self.patch}.")
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise UsageError(f"scales must lie in 0..1, got {self.scales}.")
        if self.seed < 0:
            raise UsageError(f"seed must not be negative, got {self.seed}.")


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What was written."""

    train: Path
    val: Path
    patches: int
    val_images: int
    skipped: int
    """Images smaller than a patch at every scale."""


def prepare_stores(
    images: Path,
    output: Path,
    options: StoreOptions,
    *,
    val: Path | None = None,
    overwrite: bool = False,
    on_progress: Callable[[float, int], None] = lambda _fraction, _patches: None,
) -> StoreReport:
    """Cut the images of a folder into train.h5 and val.h5; both appear whole or not at all.

    One image is in memory at a time. An image that comes again is left out; to know that, each is
    read twice, which is little beside cutting it. Images are resized by Pillow's bicubic filter,
    which anti-aliases when it shrinks (OpenCV's, in the ModelZoo script, does not).

    Args:
        val: folder of validation images; None holds some of `images` out.
        on_progress: gets the share of images done and the patches so far.

    Raises:
        UsageError: no image, none to validate on, pairs among them, stores that exist already, or
            `val` shares images with `images`.
        ImageError: an image cannot be decoded.
        TrainingError: no image is as large as a patch.
        OSError: not everything could be written.
    """
    train_path, val_path = output / "train.h5", output / "val.h5"
    if val is None and options.val_images < 1:
        raise UsageError(
            f"--val-images: hold out at least 1 image for val.h5, got {options.val_images}; or "
            "give --val FOLDER."
        )
    for path in (train_path, val_path):
        if path.exists() and not overwrite:
            raise UsageError(f"{path}: exists. Add --overwrite to replace it.")
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; a file of this name is written. Move it away.")

    def key(path: Path) -> bytes:
        return pixel_key(load_image(path, options.channels))

    by_pixels = distinct(find_clean(images), key)
    found = list(by_pixels.values())
    if val is not None:
        training, validation = found, find_clean(val)
        refuse_shared(by_pixels, {str(path): key(path) for path in validation})
    else:
        held = hold_out(len(found), options.val_images)
        training, validation = split(found, held)
    output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        train_temporary = stack.enter_context(atomic_path(train_path))
        val_temporary = stack.enter_context(atomic_path(val_path))
        with hdf5_writer(train_temporary) as (file, keeper):

            def show(fraction: float, count: int) -> None:
                keeper.check()
                on_progress(fraction, count)

            patches, skipped = _write_patches(file, training, options, show)
        if not patches:
            raise TrainingError(
                f"{images}: no image is as large as a patch, {options.patch}x{options.patch}."
            )
        with hdf5_writer(val_temporary) as (file, _):
            _describe(file, options)
            group = file.create_group("images", track_order=True)
            for index, path in enumerate(validation):
                planes = np.atleast_3d(load_image(path, options.channels)).transpose(2, 0, 1)
                group.create_dataset(f"{index:05}", data=planes).attrs["name"] = path.name
    return StoreReport(train_path, val_path, patches, len(validation), skipped)


def read_patches(path: Path) -> UInt8:
    """Read all patches of a store, ours or ModelZoo's.

    Returns:
        (N, C, patch, patch) uint8.

    Raises:
        TrainingError: the file is damaged, of another shape, or holds values that are no pixels.
    """
    with _opened(path) as file:
        if "patches" in file:
            dataset = file["patches"]
            if dataset.ndim != 4 or dataset.dtype != np.uint8 or 0 in dataset.shape:
                raise TrainingError(
                    f"{path}: expected uint8 patches (N, C, H, W), got {dataset.dtype} "
                    f"{dataset.shape}. Make the store again with 'adnet-data prepare'."
                )
            return np.asarray(dataset[...])
        patches = list(_modelzoo_images(file, path))
        shapes = sorted({patch.shape for patch in patches})
        if len(shapes) != 1:
            raise TrainingError(
                f"{path}: patches of different shapes, {shapes[0]} and {shapes[1]}; is this a "
                "store of validation images?"
            )
        return np.stack(patches)


def read_images(path: Path) -> list[UInt8]:
    """Read the validation images of a store, ours or ModelZoo's.

    Returns:
        (H, W) or (H, W, 3) arrays.

    Raises:
        TrainingError: as `read_patches`.
    """
    with _opened(path) as file:
        group = file.get("images")
        found = (
            [np.asarray(dataset[...]) for dataset in group.values()]
            if isinstance(group, h5py.Group)
            else list(_modelzoo_images(file, path))
        )
    if not found:
        raise TrainingError(
            f"{path}: holds no image to validate on. Make it again with 'adnet-data prepare', or "
            "give --val."
        )
    return [planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0) for planes in found]


def _write_patches(
    file: h5py.File,
    images: Sequence[Path],
    options: StoreOptions,
    on_progress: Callable[[float, int], None],
) -> tuple[int, int]:
    """Append the patches of all images; return their number and that of unused images."""
    shape = (options.channels, options.patch, options.patch)
    dataset = file.create_dataset(
        "patches", (0, *shape), np.uint8, maxshape=(None, *shape), chunks=(_CHUNK, *shape)
    )
    _describe(file, options)
    generator = np.random.default_rng(options.seed)
    skipped = 0
    for index, path in enumerate(images, start=1):
        before = len(dataset)
        for scaled in rescaled([load_image(path, options.channels)], options.scales):
            for row in _patch_rows(scaled, options, generator):
                dataset.resize(len(dataset) + len(row), axis=0)
                dataset[-len(row) :] = row
        skipped += len(dataset) == before
        on_progress(index / len(images), len(dataset))
    return len(dataset), skipped


def _patch_rows(
    image: UInt8, options: StoreOptions, generator: np.random.Generator
) -> Iterator[UInt8]:
    """Yield the patches of an image, one row of the grid at a time to bound the memory."""
    if min(image.shape[:2]) < options.patch:
        return
    stride, copies = MODES[options.mode]
    planes = np.atleast_3d(image).transpose(2, 0, 1)
    windows = np.lib.stride_tricks.sliding_window_view(planes, (options.patch,) * 2, axis=(1, 2))
    for row in windows[:, ::stride, ::stride].transpose(1, 2, 0, 3, 4):
        yield np.ascontiguousarray(row)
        for _ in range(copies - 1):
            yield np.stack([_turn(patch, int(generator.integers(1, 8))) for patch in row])


def _turn(patch: UInt8, orientation: int) -> UInt8:
    """One of the eight orientations of (C, H, W); 0 is the patch itself."""
    turned = np.rot90(patch, orientation % 4, axes=(1, 2))
    return turned[:, :, ::-1] if orientation >= 4 else turned


def _describe(file: h5py.File, options: StoreOptions) -> None:
    file.attrs["made_by"] = f"adnet {__version__}"
    file.attrs["options"] = json.dumps(asdict(options))
    file.attrs["resize"] = "Pillow bicubic, anti-aliased"
    stride, copies = MODES[options.mode]
    file.attrs["stride"], file.attrs["copies"] = stride, copies


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError as err:
        raise TrainingError(f"{path}: no such HDF5 store.") from err
    except OSError as err:
        raise TrainingError(
            f"{path}: not an HDF5 file, or a truncated one ({err}). Make it again with "
            "'adnet-data prepare'."
        ) from err
    with file:
        try:
            yield file
        except (OSError, RuntimeError) as err:
            raise TrainingError(f"{path}: damaged, cannot be read ({err}).") from err


def _modelzoo_images(file: h5py.File, path: Path) -> Iterator[UInt8]:
    """Yield the images of the layout with one float dataset a key, as 8-bit pixels."""
    if not len(file):
        raise TrainingError(f"{path}: an empty HDF5 file.")
    for key, dataset in file.items():
        shape: tuple[int, ...] = getattr(dataset, "shape", ())
        if not isinstance(dataset, h5py.Dataset) or len(shape) != 3 or 0 in shape:
            raise TrainingError(
                f"{path}: expected datasets (C, H, W), but {key!r} has shape {shape}. "
                "Make the store again with 'adnet-data prepare'."
            )
        values = np.asarray(dataset[...])
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise TrainingError(f"{path}: {key!r} holds nan or values outside 0..1.")
        yield to_levels(values)
