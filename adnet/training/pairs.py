"""Folders of pairs: the same scene photographed noisy and clean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adnet.errors import TrainingError
from adnet.image import find_images, load_image

_SUFFIXES = {"_real": "_mean", "_noisy": "_clean"}
"""End of a noisy image's name -> end of its clean one's, where both lie in one folder."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One scene twice, pixel for pixel."""

    name: str
    noisy: NDArray[np.uint8]
    clean: NDArray[np.uint8]


def load_pairs(folder: Path, channels: int) -> list[Pair]:
    """Read all pairs of a folder, sorted by name.

    Two layouts are known: sub-folders `noisy/` and `clean/` with equal names (suffixes may
    differ), and names that end in `_real` and `_mean` (PolyU) or `_noisy` and `_clean`.

    Args:
        channels: 1 reads gray, 3 RGB.

    Raises:
        UsageError: no such folder, or no image in it.
        TrainingError: an image without its counterpart, or of another size.
        ImageError: an image cannot be decoded.
    """
    found = find_images(folder)
    noisy: dict[str, Path] = {}
    clean: dict[str, Path] = {}
    for path in found:
        name = path.relative_to(folder).with_suffix("").as_posix()
        top, _, rest = name.partition("/")
        if top in ("noisy", "clean") and rest:
            (noisy if top == "noisy" else clean)[rest] = path
            continue
        for noisy_end, clean_end in _SUFFIXES.items():
            if name.endswith(noisy_end):
                noisy[name.removesuffix(noisy_end)] = path
            elif name.endswith(clean_end):
                clean[name.removesuffix(clean_end)] = path
    alone = sorted(noisy.keys() ^ clean.keys())
    if alone or not noisy:
        problem = f"{alone[0]!r} has no counterpart" if alone else "no pair was found"
        raise TrainingError(
            f"{folder}: {problem}. Expected folders noisy/ and clean/ with equal names, or names "
            "that end in _real and _mean, or in _noisy and _clean."
        )
    pairs = [
        Pair(name, load_image(noisy[name], channels), load_image(clean[name], channels))
        for name in sorted(noisy)
    ]
    for pair in pairs:
        if pair.noisy.shape != pair.clean.shape:
            raise TrainingError(
                f"{folder}: {pair.name!r} is {pair.noisy.shape[1]}x{pair.noisy.shape[0]} noisy "
                f"and {pair.clean.shape[1]}x{pair.clean.shape[0]} clean; a pair has one size."
            )
    return pairs


def hold_out_scenes(names: Sequence[str], count: int) -> set[int]:
    """Choose at least `count` of `names` for validation, whole scenes at a time.

    Names that differ only in a number at their end are taken for crops of one scene: a crop beside
    one that was trained on would flatter the validation. Where that makes all of them one scene,
    every name is a scene.

    Raises:
        TrainingError: nothing would be left to train on.
    """
    scenes: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        scenes.setdefault(re.sub(r"[\W_]*\d*$", "", name), []).append(index)
    if len(scenes) == 1:
        scenes = {name: [index] for index, name in enumerate(names)}
    groups = list(scenes.values())
    every = max(1, len(names) // max(1, count))  # spread over the names
    held: set[int] = set()
    for start in range(every):
        for group in groups[start::every]:
            if len(held) < count:
                held.update(group)
    if len(held) == len(names):
        raise TrainingError(
            f"{len(names)} pairs are too few to hold out {count} for validation. Give more, "
            "--val FOLDER or a lower --val-images."
        )
    return held
