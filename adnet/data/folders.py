"""Which images of a folder are data: all but the pictures that training runs drew."""

from __future__ import annotations

import re
from pathlib import Path

from adnet.errors import UsageError
from adnet.images.image import find_images

SAMPLES = "samples"
"""Folder of a run directory that holds pictures of validation images."""

_PICTURE = re.compile(r"(noisy|clean|\d{8,})-\d+\.png")


def find_data(folder: Path) -> list[Path]:
    """List the images below `folder`, as `find_images` does, without sample pictures of runs.

    A run directory may so lie in the folder that it learns from, and be resumed there.

    Raises:
        UsageError: no such folder, it cannot be read, or no image in it.
    """
    found = [path for path in find_images(folder) if not _is_sample(path)]
    if not found:
        raise UsageError(f"{folder}: no image in this folder but sample pictures of training runs.")
    return found


def _is_sample(path: Path) -> bool:
    """Tell by name and place: only there does a run write under these names."""
    if not _PICTURE.fullmatch(path.name):
        return False
    samples = path.parent.resolve()  # a link may lead here under another name
    # config.json is the first file of a run: a run that is killed soon is known by it, too.
    return samples.name == SAMPLES and (samples.parent / "config.json").is_file()
