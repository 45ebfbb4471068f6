"""Denoise many images on a Ray cluster, with the summary of a run on one machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adnet import storage
from adnet.errors import DeviceLostError
from adnet.models.shipped import resolve_model
from adnet.runtime.cluster.execute import execute
from adnet.runtime.cluster.options import ClusterOptions
from adnet.runtime.cluster.worker import Answer, Row
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.jobs import Job
from adnet.runtime.loading import Limits
from adnet.runtime.progress import Listener
from adnet.runtime.settings import Settings
from adnet.runtime.staged import (
    Pair,
    Result,
    add_skipped,
    denoise_pairs,
    place_of,
    require_writable,
)
from adnet.runtime.summary import Summary

_DIED = "written by a worker that died before it told of it"


@dataclass(frozen=True, slots=True)
class ImageTask:
    """Denoise the images that rows name."""

    settings: Settings
    overwrite: bool
    base: str
    """Folder of the driver: workers run in others."""

    def open(self, sharers: int) -> _ImageWork:
        """See `Task`."""
        denoiser = self.settings.open_denoiser()
        limits = self.settings.limits(denoiser, sharers)
        return _ImageWork(denoiser, limits, self.overwrite, self.base)


@dataclass(slots=True)
class _ImageWork:
    denoiser: Denoiser
    limits: Limits
    overwrite: bool
    base: str

    def run_rows(self, rows: list[Row]) -> Answer:
        pairs = [Pair(row["source"], row["target"]) for row in rows]
        there = set() if self.overwrite else {pair for pair in pairs if self._is_there(pair)}
        result = Result()
        for pair in there:
            result.written.append(pair.target)
            result.images.append(
                {"input": pair.source, "output": pair.target, "status": "written", "reason": _DIED}
            )
        lost = None
        try:
            todo = [pair for pair in pairs if pair not in there]
            denoise_pairs(todo, self.denoiser, self.limits, result=result, base=self.base)
        except DeviceLostError as err:
            lost = err
        finished = {(one["input"], one["output"]) for one in result.images}
        left = [row for row in rows if (row["source"], row["target"]) not in finished]
        # Only an answer that tells of some image counts as progress.
        done = asdict(result) if finished else {}
        return Answer(done, left if lost else [], lost, self.denoiser.describe())

    def _is_there(self, pair: Pair) -> bool:
        """The driver left out what was there, so this was made by a worker that died."""
        place = pair.target
        if not storage.is_address(place):
            place = str(Path(self.base, place))
        return storage.size_of(place) is not None


@dataclass(slots=True)
class _Driver:
    """Counts what workers say."""

    summary: Summary
    listener: Listener
    skip: bool
    looked: bool = False

    def rows(self, jobs: Iterable[Job | Pair], wave: int) -> Iterator[Row]:
        """Plan jobs in waves; what exists is left out, as one listing of each wave shows it."""
        batch: list[Pair] = []
        for job in jobs:
            batch.append(Pair(str(job.source), str(job.target)))
            if len(batch) == wave:
                yield from self._plan(batch)
                batch = []
        yield from self._plan(batch)

    def _plan(self, pairs: list[Pair]) -> Iterator[Row]:
        there = storage.existing(pair.target for pair in pairs) if self.skip else set()
        todo = [pair for pair in pairs if pair.target not in there]
        add_skipped(self.summary, pairs, there)
        if not self.looked:
            require_writable(todo)
            self.looked = True
        for pair in todo:
            yield {"source": pair.source, "target": pair.target}

    def on_done(self, done: dict[str, Any], models: list[dict[str, str]]) -> None:
        """Take in an answer."""
        result = Result(**done)
        result.add_to(self.summary)
        for one in models:
            if one["model"] not in {known["model"] for known in self.summary.models}:
                self.summary.models.append(one)
        self.listener.on_pixels(result.pixels, max(1, result.pixels))
        for one in result.images:
            job = Job(place_of(one["input"]), place_of(one["output"]))
            self.listener.on_image(job, one["reason"] if one["status"] == "failed" else None)


def run_on_cluster(
    jobs: Iterable[Job | Pair],
    options: ClusterOptions | None = None,
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
    summary: Summary | None = None,
) -> Summary:
    """Denoise every job on the workers of a Ray cluster.

    As `run_jobs` on one machine: an image that fails is noted and the others continue; an existing
    output is skipped unless `overwrite`; the results are the same byte for byte. Local paths must
    lead to the same files on all nodes. A worker or node that dies is replaced, and its block of
    images done again; a worker whose device is lost is parked.

    Args:
        jobs: pairs of paths, or of addresses such as s3://bucket/key; may be any iterable, which is
            planned in waves.
        summary: filled in and returned; pass your own to know what was done when the run ends
            with an exception.

    Raises:
        UsageError: no cluster, or an output that cannot be listed or written to.
        ModelError, BackendUnavailable: not one worker could open the model.
        DeviceLostError: not one worker is left.
    """
    begin = time.monotonic()
    options, settings = options or ClusterOptions(), settings or Settings()
    summary = Summary() if summary is None else summary
    if settings.model is not None:
        resolve_model(settings.model)  # a wrong name is told at once
        if os.path.exists(settings.model):  # noqa: PTH110  (it may be a name)
            settings = settings.with_model(os.path.abspath(settings.model))  # noqa: PTH100
    driver = _Driver(summary, listener or Listener(), not overwrite)
    rows = driver.rows(jobs, options.wave)
    task = ImageTask(settings.with_threads(options.worker_cpus), overwrite, os.getcwd())  # noqa: PTH109
    try:
        if (first := next(rows, None)) is not None:
            execute(_chain(first, rows), task, options, driver.on_done)
    finally:
        summary.seconds += time.monotonic() - begin
    return summary


def _chain(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest
