"""Denoise files and folders: discover, name outputs, skip existing, collect failures."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from adnet.runtime.denoiser import Denoiser
from numpy.typing import NDArray

from adnet.errors import AdnetError, UsageError
from adnet.image import (
    DEFAULT_MAX_PIXELS,
    FORMATS,
    ImageFile,
    find_images,
    read_image,
    write_image,
)

Result = TypeVar("Result")

_AHEAD = 2
"""Images read ahead, and images waiting to be written: bounds the memory of the pipeline."""


@dataclass(frozen=True, slots=True)
class Job:
    """One image to denoise."""

    source: Path
    target: Path


@dataclass(slots=True)
class Summary:
    """What a run did."""

    written: list[Path] = field(default_factory=list)
    skipped: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    pixels: int = 0
    seconds: float = 0.0
    colour_with_gray: int = 0
    """Colour images that the gray model denoised plane by plane."""


@dataclass(slots=True)
class Listener:
    """What a progress display hears; called on the calling thread."""

    on_pixels: Callable[[int, int], None] = lambda _done, _total: None
    """Pixels finished since the last call, and all pixels of that image."""
    on_image: Callable[[Job, str | None], None] = lambda _job, _error: None
    """An image is finished: the error's message, or None."""


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


def run_jobs(
    jobs: Sequence[Job],
    denoiser: Denoiser,
    *,
    overwrite: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    listener: Listener | None = None,
) -> Summary:
    """Denoise every job; reading and writing overlap with inference.

    An image that fails is noted and the rest goes on. An existing output is skipped unless
    `overwrite`. On KeyboardInterrupt, images already denoised are still written whole.

    Raises:
        UsageError: the output folder cannot be made or written to.
    """
    listener = listener or Listener()
    summary = Summary()
    begin = time.monotonic()
    todo = []
    for job in jobs:
        if job.target.exists() and not overwrite:
            summary.skipped += 1
        else:
            todo.append(job)
    for folder in dict.fromkeys(job.target.parent for job in todo):
        _require_writable(folder)

    def finish(job: Job, error: str | None) -> None:
        if error is None:
            summary.written.append(job.target)
        else:
            summary.failed.append((job.source, error))
        listener.on_image(job, error)

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        writes: deque[tuple[Job, Future[None]]] = deque()

        def finish_oldest_write() -> None:
            job, future = writes.popleft()
            finish(job, _attempt(future.result, job)[1])

        try:
            for job, image in _read_ahead(todo, reader, max_pixels):
                file, error = _attempt(image.result, job)
                if file is not None:
                    denoised, error = _attempt(partial(_denoise, file, denoiser, listener), job)
                if file is None or denoised is None:
                    finish(job, error)
                    continue
                gray_model = denoiser.model_for(file.colour_channels).card.channels == 1
                summary.colour_with_gray += gray_model and file.colour_channels == 3
                summary.pixels += file.pixels.shape[0] * file.pixels.shape[1]
                writes.append((job, writer.submit(write_image, job.target, denoised, file)))
                while writes and (len(writes) > _AHEAD or writes[0][1].done()):
                    finish_oldest_write()
        finally:
            reader.shutdown(cancel_futures=True)
            while writes:
                finish_oldest_write()
    summary.seconds = time.monotonic() - begin
    return summary


def _read_ahead(
    jobs: Iterable[Job], reader: ThreadPoolExecutor, max_pixels: int
) -> Iterator[tuple[Job, Future[ImageFile]]]:
    pending: deque[tuple[Job, Future[ImageFile]]] = deque()
    for job in jobs:
        pending.append((job, reader.submit(read_image, job.source, max_pixels)))
        if len(pending) > _AHEAD:
            yield pending.popleft()
    yield from pending


def _denoise(file: ImageFile, denoiser: Denoiser, listener: Listener) -> NDArray[np.uint8]:
    total = file.pixels.shape[0] * file.pixels.shape[1]
    return denoiser(file.pixels, lambda done: listener.on_pixels(done, total))


def _attempt(action: Callable[[], Result], job: Job) -> tuple[Result | None, str | None]:
    """Return the result and None, or None and what went wrong."""
    try:
        return action(), None
    except AdnetError as err:
        text = str(err)
        return None, text if str(job.source) in text else f"{job.source}: {text}"
    except Exception as err:  # noqa: BLE001  (one bad image must not stop the folder)
        return None, f"{job.source}: unexpected {type(err).__name__}: {err}"


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


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".adnet-{os.getpid()}-probe.tmp"
        probe.touch()
        probe.unlink()
    except OSError as err:
        raise UsageError(
            f"{folder}: the output folder cannot be written: {err.strerror or err}."
        ) from err
