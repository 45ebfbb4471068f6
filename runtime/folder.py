"""Denoise many files: reading and writing beside inference, failures collected."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from adnet.atomic import require_writable
from adnet.errors import AdnetError, DeviceLostError, ShapeError, UsageError
from adnet.images.decoder_lines import listening
from adnet.images.image import ImageFile, write_image
from adnet.runtime.bands import denoise_in_bands, estimate_in_bands
from adnet.runtime.budget import ByteBudget
from adnet.runtime.comparing import Comparison
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.image_report import report_image
from adnet.runtime.jobs import Job, is_done
from adnet.runtime.loading import Limits, Work, band_rows_of, examine, load
from adnet.runtime.progress import Listener
from adnet.runtime.summary import ImageReport, Summary

Result = TypeVar("Result")
Frames = list[NDArray[Any]]

_AHEAD = 2
"""Images read ahead, and images waiting to be written; fewer where `ByteBudget` says so."""

_LOOK_S = 0.5
"""How often a wait looks up: a signal that the system gave to another thread does not end it."""


def run_jobs(
    jobs: Sequence[Job],
    denoiser: Denoiser,
    *,
    overwrite: bool = False,
    limits: Limits = Limits(),  # noqa: B008  (it cannot be changed)
    listener: Listener | None = None,
    summary: Summary | None = None,
    comparison: Comparison | None = None,
) -> Summary:
    """Denoise every job; reading and writing overlap with inference.

    As many images are in work at once as the denoiser has lanes. An image that fails is noted and
    the others continue. An existing output is skipped unless `overwrite`. On KeyboardInterrupt,
    images already denoised are still written whole.

    Args:
        limits: what is taken, and the memory that images may take: those that do not fit in are
            denoised in bands where their format allows, else refused.
        summary: filled in and returned; pass your own to know what was done when the run ends
            with an exception.
        comparison: draws pictures of each image before and after.

    Raises:
        UsageError: the output folder cannot be made or written to.
        DeviceLostError: the device failed for good; images finished before are written.
    """
    begin = time.monotonic()
    todo = [job for job in jobs if overwrite or not is_done(job.target)]
    summary = Summary() if summary is None else summary
    summary.skipped += len(jobs) - len(todo)
    left = {job.target for job in todo}
    if comparison is not None and len(todo) < len(jobs):
        summary.remark(
            f"no picture was drawn of {len(jobs) - len(todo)} images whose results exist; "
            "--overwrite makes both again."
        )
    summary.images += [
        ImageReport(job.source, job.target, "skipped", "the output exists")
        for job in jobs
        if job.target not in left
    ]
    try:
        _Pipeline(denoiser, limits, listener or Listener(), summary, comparison).run(todo)
    finally:
        summary.seconds += time.monotonic() - begin
    return summary


@dataclass(frozen=True, slots=True)
class _Done:
    """An image that is denoised, but for what is written in bands not written yet."""

    work: Work
    frames: Frames | None
    """None where they were written in bands."""
    sigma: float | None
    """Estimated, where that was asked for."""
    seconds: float


class _Pipeline:
    """Read, denoise, write: three stages with bounded queues between them."""

    def __init__(
        self,
        denoiser: Denoiser,
        limits: Limits,
        listener: Listener,
        summary: Summary,
        comparison: Comparison | None,
    ) -> None:
        self._comparison = comparison
        self.summary = summary
        self._limits = limits
        self._denoiser = denoiser
        self._listener = listener
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._budget = ByteBudget(limits.memory)
        self._working: deque[tuple[Job, Future[_Done]]] = deque()
        self._reports: dict[Job, ImageReport] = {}
        self._writes: deque[tuple[Job, Future[None]]] = deque()

    def run(self, jobs: Sequence[Job]) -> None:
        with (
            ThreadPoolExecutor(1, "read") as reader,
            ThreadPoolExecutor(1, "write") as writer,
            ExitStack() as stack,
        ):
            workers, lanes = None, 1
            try:
                for job, image in _read_ahead(jobs, reader, self._read):
                    if workers is None:
                        _wait_for(image)
                        if (error := _attempt(image.result, job)[1]) is not None:
                            self._finish(job, error)
                            continue
                        self._prepare(jobs, image.result())
                        lanes = self._denoiser.lanes
                        workers = ThreadPoolExecutor(lanes, "denoise")
                        stack.callback(workers.shutdown, cancel_futures=True)
                    self._working.append((job, workers.submit(self._denoise, image)))
                    if len(self._working) > lanes:
                        self._hand_over(writer)
                while self._working:
                    self._hand_over(writer)
            finally:
                self._stopped.set()
                self._budget.close()
                reader.shutdown(cancel_futures=True)
                stack.close()
                while self._working:  # after an interrupt: what is finished is kept
                    future = self._working[0][1]
                    if future.cancelled() or future.exception() is not None:
                        self._working.popleft()
                    else:
                        self._hand_over(writer)
                while self._writes:
                    self._finish_write()

    def _prepare(self, jobs: Sequence[Job], first: Work) -> None:
        """Open the model that the first image needs, and make the folders.

        In this order: what cannot run leaves no empty folder. Later images may need another model.
        """
        with suppress(ShapeError):  # the image does not suit the model, others may
            self._denoiser.model_for(first.image.colour_channels)
        folders = [job.target.parent for job in jobs]
        if self._comparison is not None:
            folders.append(self._comparison.folder)
        for folder in dict.fromkeys(folders):
            _require_writable(folder)

    def _read(self, job: Job) -> Work:
        said: list[str] = []
        with listening(said, to_c=True):
            work = self._read_whole(job)
        return work.with_notes([f"its decoder said: {line}" for line in said]) if said else work

    def _read_whole(self, job: Job) -> Work:
        """Read an image; of one that goes in bands, the header."""
        work = examine(job, self._limits, self._budget.limit, band_rows_of(self._denoiser))
        self._budget.take(work.count)
        if work.heights is not None:
            return work
        try:
            file = load(work, self._limits)
            if work.file is None:  # its header was not known before
                work = replace(work, count=_count_bytes(file))
                self._budget.take(work.count)
        except BaseException:
            self._budget.give_back(work.count)
            raise
        return replace(work, file=file)

    def _denoise(self, image: Future[Work]) -> _Done:
        work = image.result()
        begin = time.monotonic()
        try:
            total = _count_pixels(work.image)

            def on_pixels(done: int) -> None:
                if self._stopped.is_set():
                    raise _StoppedError
                with self._lock:
                    self._listener.on_pixels(done, total)

            sigma = self._estimate(work)
            frames = None
            if work.heights is None:
                frames = [
                    self._denoiser(frame, on_pixels, sigma=sigma) for frame in work.image.frames
                ]
            else:
                told = denoise_in_bands(work, self._denoiser, self._limits, on_pixels, sigma)
                work = work.with_notes(told)
            return _Done(work, frames, sigma, time.monotonic() - begin)
        except BaseException:
            self._budget.give_back(work.count)
            raise

    def _estimate(self, work: Work) -> float | None:
        """Estimate the noise of the first frame or page, where that was asked for."""
        if self._denoiser.sigma != "auto":
            return None
        if work.heights is None:
            return self._denoiser.estimate(work.image.pixels)
        return estimate_in_bands(work, self._denoiser, self._limits)

    def _write(self, work: Work, file: ImageFile, denoised: Frames | None) -> None:
        try:
            if denoised is not None:  # else it is written already
                write_image(work.job.target, denoised, file)
            if self._comparison is not None:
                report = self._reports[work.job]
                report.compared = self._comparison.write(work.job, file, denoised)
        finally:
            self._budget.give_back(work.count)

    def _hand_over(self, writer: ThreadPoolExecutor) -> None:
        """Wait for the oldest image in work and give it to the writer."""
        job, future = self._working[0]
        _wait_for(future)  # interrupted, it stays in line
        lost = future.exception()
        self._working.popleft()
        if isinstance(lost, DeviceLostError):
            raise lost  # every other image would fail, too
        result, error = _attempt(future.result, job)
        if result is None:
            self._finish(job, error)
            return
        work, file = result.work, result.work.image
        self._reports[job] = report_image(
            job, file, self._denoiser,
            sigma=result.sigma, seconds=result.seconds, summary=self.summary,
        )  # fmt: skip
        self._writes.append((job, writer.submit(self._write, work, file, result.frames)))
        while self._writes and (len(self._writes) > _AHEAD or self._writes[0][1].done()):
            self._finish_write()

    def _finish_write(self) -> None:
        job, future = self._writes[0]
        _wait_for(future)  # interrupted, it stays in line
        error = _attempt(future.result, job)[1]
        self._writes.popleft()
        self._finish(job, error)

    def _finish(self, job: Job, error: str | None) -> None:
        report = self._reports.pop(job, None) or ImageReport(job.source, job.target, "failed")
        if error is None:
            self.summary.written.append(job.target)
        else:
            report.status, report.reason = "failed", error
            self.summary.failed.append((job.source, error))
        self.summary.images.append(report)
        with self._lock:
            self._listener.on_image(job, error)


class _StoppedError(Exception):
    """The run was interrupted; the image in work is given up."""


def _count_pixels(file: ImageFile) -> int:
    return sum(frame.shape[0] * frame.shape[1] for frame in file.frames)


def _count_bytes(file: ImageFile) -> int:
    """What an image takes in work: its pixels and as many denoised ones."""
    return 2 * sum(frame.nbytes for frame in file.frames)


def _read_ahead(
    jobs: Iterable[Job], reader: ThreadPoolExecutor, read: Callable[[Job], Work]
) -> Iterator[tuple[Job, Future[Work]]]:
    pending: deque[tuple[Job, Future[Work]]] = deque()
    for job in jobs:
        pending.append((job, reader.submit(read, job)))
        if len(pending) > _AHEAD:
            yield pending.popleft()
    yield from pending


def _wait_for(future: Future[Any]) -> None:
    """Wait until it has ended; Ctrl-C ends the wait whatever thread took the signal."""
    while not future.done():
        wait([future], timeout=_LOOK_S)


def _attempt(action: Callable[[], Result], job: Job) -> tuple[Result | None, str | None]:
    """Return the result and None, or None and what went wrong."""
    try:
        return action(), None
    except AdnetError as err:
        text = str(err)
        return None, text if str(job.source) in text else f"{job.source}: {text}"
    except OSError as err:
        where = f" ({err.filename})" if err.filename else ""
        return None, f"{job.source}: {err.strerror or err}{where}."
    except Exception as err:  # noqa: BLE001  (one bad image must not stop the folder)
        return None, f"{job.source}: unexpected {type(err).__name__}: {err}"


def _require_writable(folder: Path) -> None:
    try:
        require_writable(folder)
    except OSError as err:
        raise UsageError(
            f"{folder}: the output folder cannot be written: {err.strerror or err}."
        ) from err
