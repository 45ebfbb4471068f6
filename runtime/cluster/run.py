"""Denoise many images on a Ray cluster, with the summary of a run on one machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
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


@dataclass(frozen=True, slots=True)
class ImageTask:
    """Denoise the images that rows name."""

    settings: Settings
    overwrite: bool

    def open(self, sharers: int) -> _ImageWork:
        """See `Task`."""
        denoiser = self.settings.open_denoiser()
        return _ImageWork(denoiser, self.settings.limits(denoiser, sharers), self.overwrite)


@dataclass(slots=True)
class _ImageWork:
    denoiser: Denoiser
    limits: Limits
    overwrite: bool

    def run_rows(self, rows: list[Row]) -> Answer:
        pairs = [Pair(row["source"], row["target"]) for row in rows]
        # The driver left out what was there, so this was made by a worker that died.
        there = set() if self.overwrite else _made_before(pairs)
        result = Result(written=sorted(there))
        lost = None
        try:
            todo = [pair for pair in pairs if pair.target not in there]
            denoise_pairs(todo, self.denoiser, self.limits, result=result)
        except DeviceLostError as err:
            lost = err
        finished = {*result.written, *(source for source, _ in result.failed)}
        left = [
            row for row in rows if row["target"] not in finished and row["source"] not in finished
        ]
        # Only an answer that tells of some image counts as progress.
        done = asdict(result) if finished else {}
        return Answer(done, left if lost else [], lost, self.denoiser.describe())


@dataclass(slots=True)
class _Driver:
    """Counts what workers say."""

    summary: Summary
    listener: Listener
    skip: bool
    waiting: dict[str, Pair] = field(default_factory=dict)
    """Planned and not told of yet, by target."""
    targets: dict[str, str] = field(default_factory=dict)
    """Of those, by source."""
    looked: bool = False

    def rows(self, jobs: Iterable[Job | Pair], wave: int) -> Iterator[Row]:
        """Plan jobs in waves; what exists is left out, as one listing of each wave shows it."""
        batch: list[Pair] = []
        for job in jobs:
            batch.append(Pair(_absolute(job.source), _absolute(job.target)))
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
            self.waiting[pair.target] = pair
            self.targets[pair.source] = pair.target
            yield {"source": pair.source, "target": pair.target}

    def on_done(self, done: dict[str, Any], models: list[dict[str, str]]) -> None:
        """Take in an answer."""
        result = Result(**done)
        failed = dict(result.failed)
        result.add_to(self.summary)
        for one in models:
            if one["model"] not in {known["model"] for known in self.summary.models}:
                self.summary.models.append(one)
        self.listener.on_pixels(result.pixels, max(1, result.pixels))
        for target in result.written:
            self._tell(self.waiting.pop(target, None), None)
        for source, error in failed.items():
            target = self.targets.get(source, "")
            self._tell(self.waiting.pop(target, None), error)

    def _tell(self, pair: Pair | None, error: str | None) -> None:
        if pair is not None:
            self.targets.pop(pair.source, None)
            self.listener.on_image(Job(place_of(pair.source), place_of(pair.target)), error)


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
            settings = settings.with_model(_absolute(settings.model))
    driver = _Driver(summary, listener or Listener(), not overwrite)
    rows = driver.rows(jobs, options.wave)
    task = ImageTask(settings.with_threads(options.worker_cpus), overwrite)
    try:
        if (first := next(rows, None)) is not None:
            execute(_chain(first, rows), task, options, driver.on_done)
    finally:
        summary.seconds += time.monotonic() - begin
    return summary


def _made_before(pairs: list[Pair]) -> set[str]:
    return {pair.target for pair in pairs if storage.size_of(pair.target) is not None}


def _absolute(place: Path | str) -> str:
    """Workers run in other folders."""
    return str(place) if storage.is_address(place) else os.path.abspath(place)  # noqa: PTH100


def _chain(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest
