"""Judge finished weights on the validation images of their run, at several noise levels.

Training itself watches one level, so a blind model that gained at 25 may have lost at 50; and what
is to replace other weights must be measured on the same images as they. No test image is involved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from adnet.data.distinct import distinct, pixel_key
from adnet.data.folders import find_data
from adnet.data.held_out import hold_out
from adnet.data.pairs import distinct_pairs, hold_out_scenes, load_pairs
from adnet.errors import UsageError
from adnet.images.image import load_image
from adnet.models.checkpoint import load_checkpoint
from adnet.training.config import STORE_SUFFIXES
from adnet.training.data import ValidationImage, fingerprint, pixels_of
from adnet.training.validation import validate
from adnet.training.world import World

REAL = "real"
"""In place of a noise level where the noise is that of photographs."""

_BLIND_LEVELS = (15, 25, 50, 75)
_LOW_LEVELS = (0, 5)
"""Where the rounding of int8 shows most."""
_LEAST_GAIN = 0.005
_LARGEST_LOSS = 0.05
_TWIN_LOSS = 0.02


@dataclass(frozen=True, slots=True)
class Judgement:
    """PSNR of one set of weights on validation images."""

    images: str
    """Which images, e.g. `6 images held out of BSD432`."""
    images_sha256: str
    """Digest of their pixels: figures of different images do not compare."""
    weights_sha256: str
    psnr: Mapping[str, float]
    """Noise level, or `REAL`, -> mean PSNR in dB."""

    def to_dict(self) -> dict[str, Any]:
        """For a record: JSON types."""
        return asdict(self)

    def is_better_than(self, other: Judgement) -> bool:
        """Tell whether these weights may replace others.

        Their mean over the levels must be higher by at least 0.005 dB, and no level may be lower
        by more than 0.05 dB.

        Raises:
            UsageError: the two were not measured on the same images and levels.
        """
        gains = list(self.gains_over(other).values())
        return sum(gains) / len(gains) >= _LEAST_GAIN and min(gains) >= -_LARGEST_LOSS

    def is_close_to(self, whole: Judgement) -> bool:
        """Tell whether an int8 form may stand for its float network.

        It may lose 0.02 dB at every level, 0.05 dB at those below 15.

        Raises:
            UsageError: as `is_better_than`.
        """
        return all(
            round(gain, 4) >= -(_TWIN_LOSS if level not in map(str, _LOW_LEVELS) else _LARGEST_LOSS)
            for level, gain in self.gains_over(whole).items()
        )

    def gains_over(self, other: Judgement) -> dict[str, float]:
        """Return level -> dB that these weights are better by.

        Raises:
            UsageError: the two were not measured on the same images and levels.
        """
        if (self.images_sha256, set(self.psnr)) != (other.images_sha256, set(other.psnr)):
            raise UsageError(
                f"{self.images} at {', '.join(self.psnr)} and {other.images} at "
                f"{', '.join(other.psnr)} do not compare. Judge both on the same."
            )
        return {level: self.psnr[level] - other.psnr[level] for level in self.psnr}


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """The images that a run was validated on."""

    images: list[ValidationImage]
    description: str
    levels: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Digest of all pixels."""
        return fingerprint(pixels_of(self.images))


def validation_set(config: Mapping[str, Any], roots: Sequence[Path]) -> ValidationSet:
    """Find again what a run held out of its data, or was given with --val.

    Args:
        config: of the run, as `TrainConfig.to_dict` gives it: the data by name.
        roots: folders that hold the data sets, e.g. `BSD432`.

    Raises:
        UsageError: a data set is in none of the folders, or it is an HDF5 store.
    """
    given = [_find(name, roots) for name in config["val"]]
    folders = given or [_find(name, roots) for name in config["data"]]
    channels, count = config["channels"], None if given else config["val_images"]
    if config["noise"] == "pairs":
        if count is None:
            pairs = [pair for one in folders for pair in load_pairs(one, channels)]
        else:
            pairs = list(distinct_pairs(folders, channels).values())
            held = hold_out_scenes([pair.name for pair in pairs], count)
            pairs = [pairs[index] for index in sorted(held)]
        images = [ValidationImage(pair.clean, pair.noisy) for pair in pairs]
    else:
        paths = [path for one in folders for path in find_data(one)]
        if count is not None:
            by_pixels = distinct(paths, lambda path: pixel_key(load_image(path, channels)))
            paths = list(by_pixels.values())
            paths = [paths[index] for index in sorted(hold_out(len(paths), count))]
        images = [ValidationImage(load_image(path, channels)) for path in paths]
    kind = "pairs" if config["noise"] == "pairs" else "images"
    where = ", ".join(config["val"] or config["data"])
    description = f"{len(images)} {kind} {'of' if given else 'held out of'} {where}"
    return ValidationSet(images, description, _levels(config))


def judge(checkpoint: Path, on: ValidationSet, *, device: str = "cpu") -> Judgement:
    """Measure weights as training does (`adnet.training.validation`), in float32.

    Args:
        checkpoint: of any kind that `load_checkpoint` reads; an ONNX file of ours, too.
    """
    loaded = load_checkpoint(checkpoint)
    world = World(torch.device(device))
    network = loaded.network.to(world.device)
    psnr = {
        level: round(validate(network, on.images, 0.0 if level == REAL else float(level), world), 4)
        for level in on.levels
    }
    return Judgement(on.description, on.sha256, loaded.card.weights_sha256, psnr)


def _levels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Levels to judge at: the paper's that a blind model covers, else its own."""
    if config["noise"] == "pairs":
        return (REAL,)
    low, high = config["sigma"]
    if low == high:
        return (f"{low:g}",)
    levels = (*_LOW_LEVELS, *_BLIND_LEVELS) if config.get("quantize") else _BLIND_LEVELS
    covered = [level for level in levels if low <= level <= high]
    return tuple(f"{level:g}" for level in covered or [(low + high) / 2])


def _find(name: str, roots: Sequence[Path]) -> Path:
    if name.lower().endswith(STORE_SUFFIXES):
        raise UsageError(
            f"{name}: weights that were trained on an HDF5 store cannot be judged, because the "
            "store does not name its images."
        )
    for root in roots:
        if (root / name).is_dir():
            return root / name
    looked = ", ".join(map(str, roots)) or "no folder"
    raise UsageError(
        f"the data set {name} is not here (looked in {looked}). Give the folder that holds it "
        "with --data."
    )
