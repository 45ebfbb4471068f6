"""Watch folders and denoise what appears in them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from adnet.errors import UsageError
from adnet.runtime.jobs import Job, Plan, is_done
from adnet.runtime.progress import Position
from adnet.runtime.request import Request
from adnet.runtime.summary import Summary

INTERVAL = 1.0
"""Seconds between two looks."""
_MOST_REPORTS = 10_000
"""Of single images that are kept: a watch may last for months."""

Stamp = tuple[int, int]
"""Size and time of the last change of a file."""


def watch(
    request: Request,
    position: Position,
    summary: Summary,
    tell: Callable[[str], None] = lambda _: None,
    *,
    interval: float = INTERVAL,
) -> None:
    """Denoise what lacks a result, and whatever appears later, until Ctrl-C.

    A file is taken when its size and time stood still between two looks, so that what is still
    being copied is left alone. One that failed is tried again when it changes. Folders are looked
    through again each time, which works on network drives, too.

    Args:
        request: whose inputs are folders.
        position: counts the images.
        tell: hears of what keeps it from looking, such as a folder that is gone.
        interval: seconds between two looks.

    Raises:
        UsageError, ModelError: see `Request.opened`; or an input is no folder.
    """
    for path in request.inputs:
        if not path.is_dir():
            raise UsageError(f"{path}: --watch takes folders, and this is none.")
    summary.remarks += request.remarks()
    watching = _Watching(request)
    summary.found = watching.look(tell)[0].found  # a request that cannot be is refused at once
    try:
        with request.opened() as session:
            while True:
                plan, ready = watching.look(tell)
                summary.found = plan.found
                if ready:
                    position.images += len(ready)
                    before = len(summary.failed)
                    session.run(ready, position, summary)
                    watching.remember(ready)
                    _forget(summary, {job.source for job in ready}, before)
                    del summary.images[:-_MOST_REPORTS]
                time.sleep(interval)
    except KeyboardInterrupt:
        return


class _Watching:
    def __init__(self, request: Request) -> None:
        self._request = request
        self._last: dict[Path, Stamp] = {}
        self._tried: dict[Path, Stamp] = {}
        self._is_first = True
        self._told = ""

    def look(self, tell: Callable[[str], None]) -> tuple[Plan, list[Job]]:
        """Return all images that there are, and the jobs that are ready."""
        try:
            plan = self._request.plan(may_be_empty=True)
        except UsageError as err:
            if self._is_first:
                raise
            if str(err) != self._told:
                tell(f"waiting: {err}")
            self._told = str(err)
            return Plan(), []
        self._is_first, self._told = False, ""
        now = {job.source: stamp for job in plan.jobs if (stamp := _stamp(job.source))}
        ready = [job for job in plan.jobs if self._is_ready(job, now)]
        self._last = now
        return plan, ready

    def remember(self, jobs: list[Job]) -> None:
        """Note which state of each file was tried."""
        self._tried.update({job.source: self._last[job.source] for job in jobs})

    def _is_ready(self, job: Job, now: dict[Path, Stamp]) -> bool:
        stamp = now.get(job.source)
        stands_still = stamp is not None and self._last.get(job.source) == stamp
        is_new = self._tried.get(job.source) != stamp
        return stands_still and is_new and (self._request.overwrite or not is_done(job.target))


def _forget(summary: Summary, tried: set[Path], before: int) -> None:
    """Drop earlier failures of files that were tried again."""
    earlier = [one for one in summary.failed[:before] if one[0] not in tried]
    summary.failed = earlier + summary.failed[before:]


def _stamp(path: Path) -> Stamp | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns
