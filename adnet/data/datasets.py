"""The public image sets that ADNet is trained and measured on, and how to fetch them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from adnet.atomic import atomic_path
from adnet.errors import FetchError, ImageError, UsageError
from adnet.images.image import load_image

_SUMS = "SHA256SUMS"
_CONNECTIONS = 4
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Dataset:
    """One set of images, as single files under one address."""

    name: str
    purpose: str
    channels: int
    address: str
    """Folder that holds the files, ends with a slash."""
    names: tuple[str, ...]

    @property
    def checksums(self) -> Mapping[str, str]:
        """File -> SHA-256, for the sets whose files we have seen; others are empty."""
        return _checksums().get(self.name, {})


def _numbered(pattern: str, first: int, last: int) -> tuple[str, ...]:
    return tuple(pattern.format(number) for number in range(first, last + 1))


_DNCNN = "https://raw.githubusercontent.com/cszn/DnCNN/55fdeb2ac82c8c8cae6e281dae2b8e87e2d47a4d/"
_FFDNET = "https://raw.githubusercontent.com/cszn/FFDNet/a68d544599bb9bb2f89da51ab9e18458fa882023/"
_SWINIR = (
    "https://raw.githubusercontent.com/JingyunLiang/SwinIR/"
    "33f616625268d08ba600f8db89388eec0328edb1/"
)
_CBSD68 = "https://raw.githubusercontent.com/clausmichele/CBSD68-dataset/master/"

DATASETS: Mapping[str, Dataset] = {
    one.name: one
    for one in (
        Dataset(
            "BSD68", "test, gray", 1, _DNCNN + "testsets/BSD68/", _numbered("test{:03}.png", 1, 68)
        ),
        Dataset("Set12", "test, gray", 1, _SWINIR + "testsets/Set12/",
                _numbered("{:02}.png", 1, 12)),
        Dataset("CBSD68", "test, colour", 3, _CBSD68 + "CBSD68/original_png/",
                _numbered("{:04}.png", 0, 67)),
        Dataset("Kodak24", "test, colour", 3, _FFDNET + "testsets/Kodak24/",
                _numbered("kodim{:02}.png", 1, 24)),
        Dataset("McMaster", "test, colour", 3, _SWINIR + "testsets/McMaster/",
                _numbered("{}.tif", 1, 18)),
        Dataset("Train400", "training, gray", 1,
                _DNCNN + "TrainingCodes/DnCNN_TrainingCodes_v1.0/data/Train400/",
                _numbered("test_{:03}.png", 1, 400)),
    )
}  # fmt: skip


def dataset_folder(name: str) -> Path:
    """Where a set is kept: $ADNET_DATA/NAME, or the user's cache directory."""
    import pooch  # noqa: PLC0415  (only for fetching)

    return Path(os.environ.get("ADNET_DATA") or pooch.os_cache("adnet") / "datasets") / name


def known_name(name: str) -> str:
    """Return the name of a set as it is written, whatever its case.

    Raises:
        UsageError: there is no set of this name.
    """
    known = {one.lower(): one for one in DATASETS}
    if name.lower() not in known:
        raise UsageError(f"data set {name!r} is not known; there are {', '.join(DATASETS)}.")
    return known[name.lower()]


def fetch(
    name: str,
    folder: Path | None = None,
    *,
    mirror: str | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Path:
    """Download a set; files that are there already and whole are not fetched again.

    Every file appears whole and with its known SHA-256, or not at all. Where no checksum is known
    beforehand, what comes must be an image; the sum of the first download is written to SHA256SUMS
    and checked from then on. A picture under the name of one of the set that is not the set's is
    kept beside it, as NAME.kept.

    Args:
        folder: where to; None is `dataset_folder(name)`.
        mirror: address of a folder with the same files.
        on_progress: gets the files done and all files.

    Returns:
        The folder.

    Raises:
        UsageError: there is no set of this name.
        FetchError: a file cannot be fetched, or is not what it should be; the others stay.
        OSError: the disk is full or the folder cannot be written.
    """
    import pooch  # noqa: PLC0415  (only for fetching)
    import requests  # noqa: PLC0415

    dataset = DATASETS[known_name(name)]
    target = folder if folder is not None else dataset_folder(dataset.name)
    if mirror is not None and not mirror.lower().startswith(("http://", "https://")):
        raise UsageError(
            f"--mirror: expected an address that begins with http:// or https://, got {mirror!r}. "
            f"Files that are here already are put into {target} themselves."
        )
    address = dataset.address if mirror is None else mirror.rstrip("/") + "/"
    target.mkdir(parents=True, exist_ok=True)
    sums = _read_sums(target / _SUMS) | dict(dataset.checksums)
    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT_S)
    lock = threading.Lock()
    done = 0

    def fetch_one(file: str) -> None:
        nonlocal done
        expected = sums.get(file)
        path = target / file
        found = _digest(path) if path.exists() else None
        is_right = found is not None and found == expected
        if found is not None and file not in dataset.checksums and expected in (None, found):
            # Nobody has seen that this is an image: it may be a page that came in its place.
            is_right = _is_image(path, dataset.channels)
            expected = expected if is_right else None
        if not is_right:
            try:
                with atomic_path(path) as temporary:
                    downloader(address + file, str(temporary), None)
                    found = _check(dataset, address + file, temporary, target, expected)
                    _keep_picture(path, dataset.channels)
            except requests.RequestException as err:
                raise FetchError(
                    f"{dataset.name}: cannot download {address + file} ({err}). Run it again to "
                    f"continue, use --mirror, or put the files into {target} yourself."
                ) from err
        assert found is not None
        with lock:
            if sums.get(file) != found:
                sums[file] = found
                _write_sums(target / _SUMS, sums)
            done += 1
            on_progress(done, len(dataset.names))

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        futures = [pool.submit(fetch_one, file) for file in dataset.names]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _write_sums(target / _SUMS, sums)
    return target


def files_present(dataset: Dataset, folder: Path) -> int:
    """Count the files of a set that are in a folder."""
    return sum((folder / file).is_file() for file in dataset.names)


@cache
def _checksums() -> Mapping[str, Mapping[str, str]]:
    text = files("adnet.data").joinpath("dataset_checksums.json").read_text(encoding="utf-8")
    loaded: Mapping[str, Mapping[str, str]] = json.loads(text)
    return loaded


def _check(
    dataset: Dataset, address: str, temporary: Path, target: Path, expected: str | None
) -> str:
    """Make sure that a download is what it should be, before it is kept; returns its SHA-256.

    Raises:
        FetchError: it has another SHA-256, or is no image where none is expected.
    """
    if expected is None:
        if _is_image(temporary, dataset.channels):
            return _digest(temporary)
        content = temporary.read_bytes()
        raise FetchError(
            f"{dataset.name}: {address} gave no image that can be read, but {len(content)} bytes "
            f"that begin with {content[:40]!r}. Nothing was kept of it; use --mirror, or put the "
            f"files into {target} yourself."
        )
    found = _digest(temporary)
    if found != expected:
        known = f" (which {target / _SUMS} has of the first download: if that was a wrong one, "
        known = "" if dataset.checksums else f"{known}take its line out)"
        raise FetchError(
            f"{dataset.name}: {address} is damaged or another file: its SHA-256 is not {expected}"
            f"{known}. Nothing was kept of it; run it again, or use --mirror."
        )
    return found


def _is_image(path: Path, channels: int) -> bool:
    try:
        load_image(path, channels)
    except ImageError:
        return False
    return True


def _keep_picture(path: Path, channels: int) -> None:
    """Move a picture of somebody's own out of the way; what is no picture is of no use."""
    if not path.exists() or not _is_image(path, channels):
        return
    number = 1
    while (kept := path.with_name(f"{path.name}.kept{number if number > 1 else ''}")).exists():
        number += 1
    path.rename(kept)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_sums(path: Path) -> dict[str, str]:
    """Read a file such as `sha256sum` writes.

    Raises:
        FetchError: a line is no sum and name.
    """
    if not path.is_file():
        return {}
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, file = line.partition(" ")
        if line.strip() and not (re.fullmatch("[0-9a-fA-F]{64}", digest) and file.strip()):
            raise FetchError(
                f"{path}: expected lines of a SHA-256 and a file's name, got {line[:80]!r}. Move "
                "it away to take the files as they are there."
            )
        sums[file.strip().lstrip("*")] = digest.lower()
    sums.pop("", None)
    return sums


def _write_sums(path: Path, sums: Mapping[str, str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{sums[file]}  {file}\n" for file in sorted(sums)))
