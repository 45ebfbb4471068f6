"""Folders of pairs: the same scene photographed noisy and clean."""

from __future__ import annotations

import filecmp
import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adnet.data.distinct import distinct, pixel_key
from adnet.data.folders import find_data
from adnet.errors import TrainingError, UsageError
from adnet.images.image import load_image

_SUFFIXES = {"_real": "_mean", "_noisy": "_clean"}
"""End of a noisy image's name -> end of its clean one's, where both lie in one folder."""

_CAMERA_SETTINGS = re.compile(r"(?:.*/)?[^_/]+(?:_[\d-]+){3}_+([A-Za-z]+)$")
"""Camera, aperture, shutter, ISO, object: `Canon600D_4-5_125_1600_toy`."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One scene twice, pixel for pixel."""

    name: str
    noisy: NDArray[np.uint8]
    clean: NDArray[np.uint8]


def find_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Find all pairs of a folder: name -> paths of the noisy and of the clean image, sorted.

    Two layouts are known: sub-folders `noisy/` and `clean/` with equal names (suffixes may
    differ), and names that end in `_real` and `_mean` (PolyU) or `_noisy` and `_clean`.

    Raises:
        UsageError: no such folder, or no image in it.
        TrainingError: an image without its counterpart, two of one name, or no pair at all.
    """
    return _match(folder, find_data(folder))


def _match(folder: Path, found: Sequence[Path]) -> dict[str, tuple[Path, Path]]:
    noisy: dict[str, Path] = {}
    clean: dict[str, Path] = {}
    for path in found:
        side, name = _place(path.relative_to(folder).with_suffix("").as_posix())
        if not side:
            continue
        images = noisy if side == "noisy" else clean
        if name in images:
            raise TrainingError(
                f"{folder}: {images[name].relative_to(folder)} and {path.relative_to(folder)} are "
                f"both the {side} image of {name!r}. Take one away, or give it another name."
            )
        images[name] = path
    alone = sorted(noisy.keys() ^ clean.keys())
    if alone or not noisy:
        problem = f"{alone[0]!r} has no counterpart" if alone else "no pair was found"
        raise TrainingError(
            f"{folder}: {problem}. Expected folders noisy/ and clean/ with equal names, or names "
            "that end in _real and _mean, or in _noisy and _clean."
        )
    return {name: (noisy[name], clean[name]) for name in sorted(noisy)}


def _place(name: str) -> tuple[str, str]:
    """Tell by its name below the folder which side of a pair an image is, and of which pair.

    Returns:
        "noisy" or "clean", and the pair's name; two empty texts for an image of no pair.
    """
    top, _, rest = name.partition("/")
    if top in ("noisy", "clean") and rest:
        return top, rest
    for noisy_end, clean_end in _SUFFIXES.items():
        for side, end in (("noisy", noisy_end), ("clean", clean_end)):
            if name.endswith(end):
                return side, name.removesuffix(end)
    return "", ""


def holds_pairs(folder: Path) -> bool:
    """Tell whether the images of a folder are pairs, all of them."""
    found = find_data(folder)
    try:
        return 2 * len(_match(folder, found)) == len(found)
    except TrainingError:
        return False


def refuse_pairs(folder: Path, images: Iterable[Path], program: str) -> None:
    """Make sure that images are all clean.

    Args:
        images: below `folder`.
        program: that takes --pairs.

    Raises:
        UsageError: there are pairs among them, of which one image is noisy.
    """
    names: dict[str, set[str]] = {"noisy": set(), "clean": set(), "": set()}
    for path in images:
        side, name = _place(path.relative_to(folder).with_suffix("").as_posix())
        names[side].add(name)
    if pairs := names["noisy"] & names["clean"]:
        raise UsageError(
            f"{folder}: holds pairs of a noisy and a clean image ({len(pairs)}, such as "
            f"{min(pairs)!r}), and the noisy ones would be taken as clean. Give {program} "
            "--pairs, or a folder with the clean ones alone."
        )


def find_clean(folder: Path) -> list[Path]:
    """List the images of a folder of clean ones, as `find_data` does.

    Raises:
        UsageError: as `find_data`; or there are pairs among them, of which one image is noisy.
    """
    found = find_data(folder)
    refuse_pairs(folder, found, "adnet-train")
    return found


def load_pairs(folder: Path, channels: int) -> list[Pair]:
    """Read all pairs of a folder, sorted by name; the layouts are those of `find_pairs`.

    Args:
        channels: 1 reads gray, 3 RGB.

    Raises:
        UsageError: no such folder, or no image in it.
        TrainingError: an image without its counterpart, or of another size.
        ImageError: an image cannot be decoded.
    """
    pairs = [
        Pair(name, load_image(noisy, channels), load_image(clean, channels))
        for name, (noisy, clean) in find_pairs(folder).items()
    ]
    for pair in pairs:
        if pair.noisy.shape != pair.clean.shape:
            raise TrainingError(
                f"{folder}: {pair.name!r} is {pair.noisy.shape[1]}x{pair.noisy.shape[0]} noisy "
                f"and {pair.clean.shape[1]}x{pair.clean.shape[0]} clean; a pair has one size."
            )
    return pairs


def distinct_pairs(folders: Sequence[Path], channels: int) -> dict[bytes, Pair]:
    """Read the pairs of several folders, by `pixel_key`; a pair that comes again is left out.

    Raises:
        AdnetError: as `load_pairs`.
    """
    pairs = (pair for folder in folders for pair in load_pairs(folder, channels))
    return distinct(pairs, lambda pair: pixel_key(pair.noisy, pair.clean), "pairs")


def scene_of(name: str) -> str:
    """Name the physical scene that a pair shows.

    Names that differ only in a number at their end are crops of one scene. In PolyU's names
    (camera_aperture_shutter_ISO_object_number) the object alone is the scene, because the same
    objects were photographed with several cameras and settings.
    """
    scene = re.sub(r"[\W_]*\d*$", "", name)
    settings = _CAMERA_SETTINGS.match(scene)
    return settings.group(1).lower() if settings else scene


def group_scenes(names: Sequence[str]) -> dict[str, list[int]]:
    """Group names by scene; where all are one scene by their names, every name is a scene."""
    scenes: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        scenes.setdefault(scene_of(name), []).append(index)
    return {name: [i] for i, name in enumerate(names)} if len(scenes) == 1 else scenes


def split_pairs(folder: Path, output: Path) -> dict[str, int]:
    """Split a folder of pairs by scene into three folders to train, validate and test on.

    What a scene is for follows from its name alone (the SHA-256 of it, modulo 3), so it is the
    same on every machine, and more scenes move none. The remainders are dealt so that PolyU gives
    55 pairs of 9 scenes to train on, 24 of 8 to validate and 21 of 6 to test, of all five cameras.

    Args:
        output: receives NAME-train, NAME-val and NAME-test (NAME is that of `folder`), which hold
            symbolic links, or copies where links cannot be made. What is there already must be
            the same split.

    Returns:
        Folder name -> pairs in it.

    Raises:
        TrainingError: no pairs, or too few scenes to fill three folders.
        UsageError: `output` lies in `folder`, or a folder of that name holds something else.
    """
    if output.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"--output {output}: lies in {folder}, where the parts would be taken for more pairs. "
            "Choose another."
        )
    pairs = find_pairs(folder)
    names = list(pairs)
    parts: dict[str, list[str]] = {part: [] for part in ("train", "val", "test")}
    for scene, members in group_scenes(names).items():
        digest = int(hashlib.sha256(scene.encode()).hexdigest(), 16)
        parts[("val", "train", "test")[digest % 3]] += [names[index] for index in members]
    if not all(parts.values()):
        empty = ", ".join(part for part, chosen in parts.items() if not chosen)
        raise TrainingError(
            f"{folder}: too few scenes to split {len(names)} pairs in three, nothing is left for: "
            f"{empty}. Give more scenes, or sort them into folders yourself."
        )
    label = folder.resolve().name
    files = {
        output / f"{label}-{part}": {
            path.relative_to(folder): path.resolve() for name in chosen for path in pairs[name]
        }
        for part, chosen in parts.items()
    }
    for target, wanted in files.items():
        _require_place(target, wanted, folder)
    for target, wanted in files.items():
        for relative, source in wanted.items():
            link = target / relative
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.unlink(missing_ok=True)  # a link into nowhere
                try:
                    link.symlink_to(source)
                except OSError:  # a file system, or a Windows account, without links
                    shutil.copyfile(source, link)
    return {target.name: len(wanted) // 2 for target, wanted in files.items()}


def _require_place(target: Path, wanted: Mapping[Path, Path], folder: Path) -> None:
    """Make sure that a folder is not there, or holds nothing but links to these files.

    Raises:
        UsageError: it holds something else.
    """
    there = {path.relative_to(target) for path in target.rglob("*") if not _is_folder(path)}
    if not there <= wanted.keys():
        raise UsageError(
            f"{target}: holds other files than this part of {folder}, for example "
            f"{min(there - wanted.keys())}. Choose another --output, or remove it."
        )
    for relative, source in wanted.items():
        if not _is_same(target / relative, source):
            raise UsageError(
                f"{target / relative}: is there already, but is not {source}. Choose another "
                "--output, or remove it."
            )


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_same(link: Path, source: Path) -> bool:
    """Whether a link leads to a file, a copy equals it, or nothing is in its place."""
    if not link.exists():  # a link into nowhere, too
        return not link.parent.exists() or _is_folder(link.parent)
    return link.is_file() and (link.resolve() == source or filecmp.cmp(link, source, shallow=False))


def hold_out_scenes(names: Sequence[str], count: int) -> set[int]:
    """Choose at least `count` of `names` for validation, whole scenes at a time.

    A crop beside one that was trained on would flatter the validation; `scene_of` says what is
    taken for one scene.

    Raises:
        TrainingError: nothing would be left to train on.
    """
    groups = list(group_scenes(names).values())
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
