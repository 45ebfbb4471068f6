"""Run rows through workers on a Ray cluster: in waves, and again where a device was lost."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from adnet import errors
from adnet.errors import AdnetError, DeviceLostError, UsageError
from adnet.runtime.cluster.connect import connected
from adnet.runtime.cluster.options import ClusterOptions
from adnet.runtime.cluster.worker import Row, Task, Worker

_log = logging.getLogger(__name__)

OnDone = Callable[[dict[str, Any], "list[dict[str, str]]"], None]
"""What a task says of some rows, and which models it used; called in the driver."""


def execute(
    rows: Iterable[Row],
    task: Task,
    options: ClusterOptions,
    on_done: OnDone,
    per_task: int | None = None,
) -> None:
    """Work through all rows, each of them at least once, and told of once.

    Ray starts a dead worker again and hands it its block again, so a row may be worked through
    twice: a task skips what is there, or makes the same again.

    Args:
        rows: taken in waves, so that a long list is never planned as a whole.
        per_task: rows of a block; None for `images_per_task`.

    Raises:
        UsageError: no cluster, or no node that could take a worker.
        DeviceLostError: not one worker can go on.
        AdnetError: not one worker can begin; what the last of them said.
    """
    rest = iter(rows)
    with connected(options) as nodes:
        workers = options.most_workers(nodes)
        while wave := list(islice(rest, options.wave)):
            while wave:
                wave = _run_wave(wave, task, options, on_done, (workers, per_task))


def _run_wave(
    wave: list[Row],
    task: Task,
    options: ClusterOptions,
    on_done: OnDone,
    shape: tuple[int, int | None],
) -> list[Row]:
    """Return the rows that are left over."""
    workers, per_task = shape
    count = -(-len(wave) // options.per_task(len(wave), workers, per_task))
    left: list[Row] = []
    parked: set[str] = set()
    lost: tuple[str, str] | None = None
    moved = False
    for told in _answers(wave, task, options, min(workers, count), count):
        if told["done"]:
            moved = True
            on_done(told["done"], told["models"])
        left += told["left"]
        if told["lost"] is not None:
            lost = (told["lost"][0], told["lost"][1])
            if told["worker"] not in parked:
                parked.add(told["worker"])
                _log.warning(
                    "warning: a worker on %s stopped: %s", told["worker"].partition(":")[0], lost[1]
                )
            if not moved and len(parked) >= min(workers, count):
                break
    if lost is not None and left and not moved:
        raise _error(*lost)
    return left


def _answers(
    wave: list[Row], task: Task, options: ClusterOptions, workers: int, count: int
) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import ray.data
    import ray.exceptions

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it says at ERROR is raised, too
    needs = options.needs
    others = {name: value for name, value in needs.items() if name not in ("CPU", "GPU")}
    least = min(options.workers[0], workers)
    results = (
        ray.data.from_arrow(
            pa.table({"row": [json.dumps(row) for row in wave]}), override_num_blocks=count
        )
        .map_batches(
            Worker,
            fn_constructor_args=(task, needs),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                # All at once: Ray adds workers slowly, and one that is parked might stay alone.
                min_size=least,
                max_size=workers,
                initial_size=workers,
                max_tasks_in_flight_per_actor=2,
            ),
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU"),
            resources=others or None,
        )
        .iter_batches(batch_size=None, batch_format="pyarrow")
    )
    try:
        for batch in results:
            for text in batch["answer"].to_pylist():
                yield json.loads(text)
    except ray.exceptions.RayError as err:
        missing = re.search(r"No module named '([\w.]+)'", str(err))
        if missing is None:
            raise
        name = missing[1].partition(".")[0]
        raise UsageError(
            f"--cluster {options.address}: the workers cannot import {name}. Install {name} on "
            "every node, in the environment that 'ray start' runs in; see docs/cluster.md."
        ) from err


def _error(name: str, text: str) -> AdnetError:
    """Return the error that a worker had; its class travelled by name."""
    kind = getattr(errors, name, AdnetError)
    if not (isinstance(kind, type) and issubclass(kind, AdnetError)):
        kind = AdnetError
    if issubclass(kind, DeviceLostError):
        return DeviceLostError(f"no worker is left that could go on: {text}")
    return kind(text)
