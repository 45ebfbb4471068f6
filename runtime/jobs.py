"""Which images to denoise, and where each result goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adnet.errors import UsageError
from adnet.image import FORMATS, find_images


@dataclass(frozen=True, slots=True)
class Job:
    """One image to denoise."""

    source: Path
    target: Path


def plan_jobs(inputs: Sequence[Path], output: Path) -> list[Job]:
    """Find the images and name their outputs; touches nothing.

    A folder's tree is mirrored under `output`; a file goes to `output`/name. One input file and
    an `output` with an image suffix that is no folder: that file is written.

    Raises:
        UsageError: missing input, no image found, an output inside an input folder or on top of
            an input, or two inputs with one output.
    """
    jobs = []
    for path in inputs:
        if path.is_dir():
            if _is_within(output, path):
                raise UsageError(
                    f"the output folder {output} lies inside the input folder {path}; a second run "
                    "would denoise its own results. Choose an output elsewhere."
                )
            jobs += [Job(source, output / source.relative_to(path)) for source in find_images(path)]
        elif path.is_file():
            if path.suffix.lower() not in FORMATS:
                raise UsageError(
                    f"{path}: the suffix {path.suffix or '(none)'} is not one of "
                    f"{', '.join(FORMATS)}."
                )
            as_file = len(inputs) == 1 and output.suffix.lower() in FORMATS and not output.is_dir()
            jobs.append(Job(path, output if as_file else output / path.name))
        else:
            raise UsageError(f"{path}: no such file or folder.")
    jobs = list(dict.fromkeys(jobs))
    _refuse_collisions(jobs)
    return jobs


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    sources = {_identity(job.source) for job in jobs}
    by_target: dict[str, Job] = {}
    for job in jobs:
        key = _identity(job.target)
        if key in sources:
            raise UsageError(
                f"{job.target}: the output would replace an input file. Choose another output."
            )
        other = by_target.setdefault(key, job)
        if other is not job and _identity(other.source) != _identity(job.source):
            raise UsageError(
                f"{other.source} and {job.source} would both be written to {job.target}. "
                "Denoise them into different folders."
            )


def _identity(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))


def _is_within(path: Path, folder: Path) -> bool:
    return Path(_identity(path)).is_relative_to(_identity(folder))
