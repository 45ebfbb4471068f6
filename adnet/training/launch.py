"""Run a function in several workers, through torch's elastic launcher."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch.distributed as dist

from adnet.device import count_devices
from adnet.errors import AdnetError, TrainingError, UsageError
from adnet.out_of_memory import explain_memory_error
from adnet.training.workers import Workers
from adnet.training.world import PeerFailed, started_as_worker

Result = TypeVar("Result")

MOST_RESTARTS = 3
"""How often the workers are restarted after one of them died."""

_PATIENCE_S = 15
"""How long a rendezvous may take to answer."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error as a worker's result: raised again by the launcher, without a traceback."""

    error: AdnetError | OSError


def launch(
    work: Callable[..., Result], args: tuple[Any, ...], *, device: str, workers: Workers | None
) -> Result:
    """Call `work(*args)` in every worker and return the main one's result.

    When a worker dies (SIGKILL, out of memory, a lost device) the launcher restarts all of
    them, up to `MOST_RESTARTS` times; an AdnetError or OSError is no such death and is raised here.

    Args:
        work: a function at a module's top level; it and `args` are pickled.
        device: kind of device, `cpu`, `cuda`, `npu`.
        workers: start these; None calls `work` in this process, which may itself be a worker
            that torchrun started.

    Raises:
        UsageError: more workers than devices, or workers inside of workers.
        TrainingError: the workers cannot meet, or died too often.
        KeyboardInterrupt: after SIGINT or SIGTERM.
    """
    if workers is None:
        return work(*args)
    if started_as_worker():
        raise UsageError(
            "this process is already one of several workers (RANK is set). Leave --npus, --gpus "
            "or --procs out."
        )
    _check(device, workers)
    # Loading the elastic launcher takes a second: only those who use it pay.
    from torch.distributed.elastic.multiprocessing import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    # Otherwise the launcher's store outlives a restart, and new workers call at the addresses of
    # the dead ones that it still holds (seen with gloo, torch 2.13).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    settings = LaunchConfig(
        min_nodes=workers.nodes,
        max_nodes=workers.nodes,
        nproc_per_node=workers.count,
        # Machines find each other by this name; on one machine a fresh name keeps runs apart.
        run_id="adnet" if workers.nodes > 1 else uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=workers.rendezvous or "localhost:0",
        max_restarts=MOST_RESTARTS,
        monitor_interval=0.2,
    )
    # How long workers may take to finish a step and save after Ctrl-C, before they are killed.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "120")
    try:
        results = elastic_launch(settings, _guarded)(work, args)
    except SignalException as err:
        raise KeyboardInterrupt from err
    except ChildFailedError as err:
        rank, failure = err.get_first_failure()
        raise TrainingError(
            f"worker {rank} died {MOST_RESTARTS + 1} times, the last time with exit code "
            f"{failure.exitcode}: {_reason(failure.message)}"
        ) from err
    except RuntimeError as err:  # RendezvousError is one
        raise TrainingError(
            f"the workers cannot meet at {workers.rendezvous or 'localhost'} "
            f"({str(err).splitlines()[0]}). Check the address, and that the port is free on the "
            "first machine."
        ) from err
    outcomes = [results[rank] for rank in sorted(results)]
    failures = [one.error for one in outcomes if isinstance(one, _Failure)]
    for error in sorted(failures, key=lambda error: isinstance(error, PeerFailed)):
        raise error
    return cast("Result", outcomes[0])


def _check(device: str, workers: Workers) -> None:
    if workers.rendezvous:
        _check_rendezvous(workers.rendezvous)
    if device == "cpu":
        return
    present = count_devices(device)
    if workers.count > present:
        raise UsageError(
            f"{workers.count} workers need {workers.count} devices {device!r}, this machine has "
            f"{present}."
        )


def _check_rendezvous(address: str) -> None:
    """Refuse a port that another program listens on: torch would wait for it for ever."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return  # nobody is there yet: the first machine opens it, the others wait

    def greet() -> None:
        with suppress(RuntimeError):
            dist.TCPStore(  # type: ignore[attr-defined]
                host, int(port), is_master=False, wait_for_workers=False
            )
            answered.set()

    answered = threading.Event()
    threading.Thread(target=greet, daemon=True).start()
    if not answered.wait(_PATIENCE_S):
        raise TrainingError(
            f"the workers cannot meet at {address}: another program listens on this port. Choose "
            "a free one, the same on every machine."
        )


def _guarded(work: Callable[..., Result], args: tuple[Any, ...]) -> Result | _Failure:
    """Call `work` in a worker; errors that are no crash become its result."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        return work(*args)
    except KeyboardInterrupt:
        # The launcher got the signal too and only waits for its workers to be gone.
        sys.stderr.flush()
        os._exit(130)
    except (AdnetError, OSError) as err:
        return _Failure(err.with_traceback(None))


def _end_with(launcher: int) -> None:
    """End this worker when its launcher is gone: nobody else would, and it would keep writing."""
    while os.getppid() == launcher:
        time.sleep(0.5)
    os._exit(1)


def _reason(message: object) -> str:
    """Take what an error said out of what torch's launcher knows of it, traceback and all."""
    if isinstance(message, dict):
        message = message.get("message", "")
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    if not lines:
        return "no message."
    return explain_memory_error(RuntimeError(lines[0]), "--batch or --patch") or lines[0]
