"""Denoise files that lie elsewhere: fetched to scratch files, denoised as any others, put back.

The work itself is `run_jobs`, so the result is byte for byte that of a local run, with the same
limits, bands and notes. While one group of images is denoised, the next is fetched and the last is
put; so many lie on the scratch disk at once, as files, not in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

from adnet import storage
from adnet.errors import AdnetError
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import Job
from adnet.runtime.loading import Limits
from adnet.runtime.progress import Listener
from adnet.runtime.summary import ImageReport, Summary

GROUP = 8
"""Images fetched together; up to three groups lie on the scratch disk at once."""
_TRANSFERS = 4
"""Objects on their way at once, in each direction."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One image to denoise, by address or path."""

    source: str
    target: str


Report = Callable[[Pair, "str | None"], None]
"""An image is finished: the error's message, or None."""


@dataclass(slots=True)
class Result:
    """What became of some pairs; plain values, which go through JSON."""

    written: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    pixels: int = 0
    colour_with_gray: int = 0
    remarks: list[str] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    """As `ImageReport.as_json` gives them."""

    def add_to(self, summary: Summary) -> None:
        """Count it in a summary."""
        summary.written += [place_of(target) for target in self.written]
        summary.failed += [(place_of(source), text) for source, text in self.failed]
        summary.notes += [(place_of(source), text) for source, text in self.notes]
        summary.pixels += self.pixels
        summary.colour_with_gray += self.colour_with_gray
        for remark in self.remarks:
            summary.remark(remark)
        for one in self.images:
            places = {name: place_of(one[name]) for name in ("input", "output")}
            summary.images.append(ImageReport(**one | places))


def denoise_pairs(
    pairs: Iterable[Pair],
    denoiser: Denoiser,
    limits: Limits,
    *,
    result: Result,
    report: Report = lambda _pair, _error: None,
    on_pixels: Callable[[int, int], None] = lambda _done, _total: None,
    base: str = "",
) -> None:
    """Denoise every pair, in groups; existing targets are replaced.

    Args:
        base: folder that relative paths start from; they are told of as they are given.
        result: filled in, so that it is known when the run ends with an exception.

    Raises:
        DeviceLostError: the device failed for good; what was finished before is put.
        UsageError: a local output folder cannot be written to.
    """
    with (
        tempfile.TemporaryDirectory(prefix="adnet-", ignore_cleanup_errors=True) as folder,
        ThreadPoolExecutor(_TRANSFERS, "fetch") as fetching,
        ThreadPoolExecutor(_TRANSFERS, "put") as putting,
    ):
        run = _Run(
            denoiser, limits, result, report, on_pixels, fetching, putting, Path(folder), base
        )
        waiting: list[_Staged] = []
        try:
            for group in run.fetched(pairs):
                waiting += run.denoise(group)
                while len(waiting) > GROUP:
                    run.finish(waiting.pop(0))
        finally:
            for staged in waiting:
                run.finish(staged)


@dataclass(slots=True)
class _Staged:
    """One pair, and the files of this machine that stand for its two ends."""

    pair: Pair
    source: Path
    target: Path
    fetched: Future[None] | None = None
    put: Future[None] | None = None
    error: str | None = None
    report: dict[str, Any] | None = None

    @property
    def job(self) -> Job:
        return Job(self.source, self.target)


@dataclass(slots=True)
class _Run:
    denoiser: Denoiser
    limits: Limits
    result: Result
    report: Report
    on_pixels: Callable[[int, int], None]
    fetching: ThreadPoolExecutor
    putting: ThreadPoolExecutor
    folder: Path
    base: str
    count: int = 0

    def fetched(self, pairs: Iterable[Pair]) -> Iterator[list[_Staged]]:
        """Yield groups of pairs while the next group is on its way."""
        rest = iter(pairs)
        ahead: list[_Staged] = []
        while True:
            now, ahead = ahead, [self._start(pair) for pair in islice(rest, GROUP)]
            if now:
                yield now
            if not ahead:
                return

    def _start(self, pair: Pair) -> _Staged:
        self.count += 1
        staged = _Staged(pair, Path(self.base, pair.source), Path(self.base, pair.target))
        if storage.is_address(pair.target):
            staged.target = self.folder / f"{self.count}o{storage.suffix_of(pair.target)}"
        if storage.is_address(pair.source):
            staged.source = self.folder / f"{self.count}i{storage.suffix_of(pair.source)}"
            staged.fetched = self.fetching.submit(storage.fetch, pair.source, staged.source)
        return staged

    def denoise(self, group: Sequence[_Staged]) -> list[_Staged]:
        """Denoise a group and begin to put its results; returns what is to be finished."""
        ready = []
        for staged in group:
            error = _error_of(staged.fetched) if staged.fetched else None
            if error is None:
                ready.append(staged)
            else:
                staged.error = error
        by_job = {staged.job: staged for staged in ready}
        begun: set[int] = set()

        def on_image(job: Job, error: str | None) -> None:
            staged = by_job[job]
            staged.error = None if error is None else self._renamed(staged, error)
            begun.add(id(staged))
            if error is None and storage.is_address(staged.pair.target):
                staged.put = self.putting.submit(
                    storage.put_file, staged.pair.target, staged.target
                )

        summary = Summary()
        try:
            run_jobs(
                [staged.job for staged in ready],
                self.denoiser,
                overwrite=True,
                limits=self.limits,
                listener=Listener(self.on_pixels, on_image),
                summary=summary,
            )
        except BaseException:
            self._count(summary, by_job)
            for staged in ready:
                if id(staged) in begun:
                    self.finish(staged)
            raise
        self._count(summary, by_job)
        return list(group)

    def _count(self, summary: Summary, by_job: dict[Job, _Staged]) -> None:
        self.result.pixels += summary.pixels
        self.result.colour_with_gray += summary.colour_with_gray
        self.result.remarks += [one for one in summary.remarks if one not in self.result.remarks]
        for report in summary.images:
            staged = by_job[Job(report.input, report.output)]
            report.notes = [self._renamed(staged, note) for note in report.notes]
            staged.report = report.as_json()
            self.result.notes += [(staged.pair.source, note) for note in report.notes]

    def _renamed(self, staged: _Staged, text: str) -> str:
        """Put the places as they were given into a message about the files that stand for them."""
        text = text.replace(str(staged.source), str(place_of(staged.pair.source)))
        return text.replace(str(staged.target), str(place_of(staged.pair.target)))

    def finish(self, staged: _Staged) -> None:
        """Wait until a result is put, count it, and remove its scratch files."""
        error = staged.error
        if error is None and staged.put is not None:
            error = _error_of(staged.put)
        if error is None:
            self.result.written.append(staged.pair.target)
        else:
            self.result.failed.append((staged.pair.source, error))
        if staged.fetched is not None:
            staged.source.unlink(missing_ok=True)
        if staged.put is not None:
            staged.target.unlink(missing_ok=True)
        told = staged.report or {"status": "failed"}
        if error is not None:
            told |= {"status": "failed", "reason": error}
        self.result.images.append(
            told | {"input": staged.pair.source, "output": staged.pair.target}
        )
        self.report(staged.pair, error)


def run_pairs(
    pairs: Sequence[Pair],
    denoiser: Denoiser,
    *,
    overwrite: bool = False,
    limits: Limits = Limits(),  # noqa: B008  (it cannot be changed)
    listener: Listener | None = None,
    summary: Summary | None = None,
) -> Summary:
    """Denoise pairs of addresses or paths on this machine, as `run_jobs` does with paths.

    What exists is skipped unless `overwrite`, as one listing shows it.

    Raises:
        UsageError: an output cannot be listed or written to.
        DeviceLostError: see `run_jobs`.
    """
    from time import monotonic  # noqa: PLC0415

    begin = monotonic()
    summary = Summary() if summary is None else summary
    listener = listener or Listener()
    there = set() if overwrite else storage.existing(pair.target for pair in pairs)
    todo = [pair for pair in pairs if pair.target not in there]
    add_skipped(summary, pairs, there)
    require_writable(todo)
    result = Result()

    def report(pair: Pair, error: str | None) -> None:
        listener.on_image(Job(place_of(pair.source), place_of(pair.target)), error)

    try:
        denoise_pairs(
            todo, denoiser, limits, result=result, report=report, on_pixels=listener.on_pixels
        )
    finally:
        result.add_to(summary)
        summary.seconds += monotonic() - begin
    return summary


def add_skipped(summary: Summary, pairs: Sequence[Pair], there: set[str]) -> None:
    """Count the pairs whose target exists."""
    for pair in pairs:
        if pair.target in there:
            summary.skipped += 1
            summary.images.append(
                ImageReport(
                    place_of(pair.source), place_of(pair.target), "skipped", "the output exists"
                )
            )


def place_of(text: str) -> Path:
    """Return a path; an address as it is, for messages and lists: a path would lose a slash."""
    return cast("Path", text) if storage.is_address(text) else Path(text)


def require_writable(pairs: Sequence[Pair]) -> None:
    """Find out before any work whether the first output's place can be written to.

    Raises:
        UsageError: it cannot.
    """
    if pairs and storage.is_address(pairs[0].target):
        storage.require_writable(storage.folder_of(pairs[0].target))


def _error_of(future: Future[None]) -> str | None:
    try:
        future.result()
    except AdnetError as err:
        return str(err)
    except Exception as err:  # noqa: BLE001  (one bad object must not stop the others)
        return f"unexpected {type(err).__name__}: {err}"
    return None
