"""Make the chunks of one huge image on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from adnet.errors import AdnetError, DeviceLostError, ImageError
from adnet.runtime.cluster.execute import execute
from adnet.runtime.cluster.options import ClusterOptions
from adnet.runtime.cluster.worker import Answer, Row
from adnet.runtime.gigapixel.grid import Cell
from adnet.runtime.gigapixel.run import Runner
from adnet.runtime.gigapixel.work import ChunkTask, ChunkWork

CHUNKS_PER_TASK = 8


@dataclass(frozen=True, slots=True)
class _RowTask:
    task: ChunkTask

    def open(self, sharers: int) -> _RowWork:  # noqa: ARG002  (memory is set by the chunk)
        return _RowWork(self.task.open())


@dataclass(slots=True)
class _RowWork:
    work: ChunkWork

    def run_rows(self, rows: list[Row]) -> Answer:
        done: list[Cell] = []
        failed = ""
        lost: AdnetError | None = None
        try:
            self.work.run([(row["row"], row["column"]) for row in rows], done.append)
        except DeviceLostError as err:
            lost = err
        except ImageError as err:
            failed = str(err)
        finished = set(done)
        left = [row for row in rows if (row["row"], row["column"]) not in finished]
        told: dict[str, Any] = {"cells": done, "failed": failed} if done or failed else {}
        return Answer(told, left if lost else [], lost, self.work.describe())


def runner_on(options: ClusterOptions) -> Runner:
    """Return what makes the chunks of `denoise_by_chunk` on a cluster."""

    def run(
        task: ChunkTask, cells: list[Cell], on_chunk: Callable[[Cell], None]
    ) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []

        def on_done(done: dict[str, Any], models: list[dict[str, str]]) -> None:
            found[:] = found or models
            for row, column in done["cells"]:
                on_chunk((row, column))
            if done["failed"]:
                raise ImageError(done["failed"])

        threaded = replace(task, settings=task.settings.with_threads(options.worker_cpus))
        rows = ({"row": row, "column": column} for row, column in cells)
        execute(rows, _RowTask(threaded), options, on_done, per_task=CHUNKS_PER_TASK)
        return found

    return run
