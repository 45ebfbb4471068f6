"""Run rows through workers on a Ray cluster: in waves, and again where a device was lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from adnet import errors
from adnet.errors import AdnetError, DeviceLostError, UsageError
from adnet.extras import install_extra
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

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
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
    for batch in results:
        for text in batch["answer"].to_pylist():
            yield json.loads(text)


@contextmanager
def connected(options: ClusterOptions) -> Iterator[list[dict[str, float]]]:
    """Join the cluster while a block runs; yields what each node has.

    A connection that is there is used and left open.

    Raises:
        UsageError: there is no cluster, or it refuses us.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as err:
        raise UsageError(
            f"--cluster: {err.name} is not installed. Install it: {install_extra('cluster')}."
        ) from err

    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(
                address=options.address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if options.address == "local" else None,
            )
        except ConnectionError as err:
            raise UsageError(
                f"--cluster {options.address}: no Ray cluster is found ({_first_line(err)}). Start "
                "one with 'ray start --head', or give the address of its head, HOST:6379."
            ) from err
        except (RuntimeError, ValueError) as err:
            raise UsageError(
                f"--cluster {options.address}: {_first_line(err)} All nodes need the same versions "
                "of Python and Ray, and the same token; see docs/cluster.md."
            ) from err
    try:
        nodes = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
        if not any(_fits(node, options.needs) for node in nodes):
            told = ", ".join(f"{count} {name}" for name, count in options.needs.items())
            _log.warning("warning: no node has %s for a worker; waiting until one joins.", told)
        yield nodes
    finally:
        if ours:
            ray.shutdown()


def _fits(node: dict[str, float], needs: dict[str, int]) -> bool:
    return all(node.get(name, 0) >= count for name, count in needs.items())


def _error(name: str, text: str) -> AdnetError:
    """Return the error that a worker had; its class travelled by name."""
    kind = getattr(errors, name, AdnetError)
    if not (isinstance(kind, type) and issubclass(kind, AdnetError)):
        kind = AdnetError
    if issubclass(kind, DeviceLostError):
        return DeviceLostError(f"no worker is left that could go on: {text}")
    return kind(text)


def _first_line(err: BaseException) -> str:
    lines = str(err).strip().splitlines()
    return lines[0] if lines else type(err).__name__
