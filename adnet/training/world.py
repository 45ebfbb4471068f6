"""The workers of a run: who this process is, and the few things that workers tell each other.

A process started by torchrun, by `adnet.training.launch` or by a scheduler that sets RANK,
WORLD_SIZE, MASTER_ADDR and MASTER_PORT is one worker of many; any other is alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from adnet.device import count_devices, resolve_device
from adnet.errors import AdnetError, BackendUnavailable, TrainingError, UsageError

_COLLECTIVES = {"cpu": "gloo", "cuda": "nccl", "npu": "hccl", "xpu": "xccl"}
"""Device -> torch.distributed backend."""

_TIMEOUT = timedelta(minutes=10)
"""How long a worker waits for the others, e.g. while one loads its data from a slow disk."""

_HCCL_WAITS_S = (120, 7200)
"""The range of HCCL_CONNECT_TIMEOUT; its default is the shortest."""


class PeerFailed(TrainingError):
    """Another worker failed; its own message says why."""


@dataclass(frozen=True, slots=True)
class World:
    """This worker among all; the default is a run of one."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this worker writes files and shows progress."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """Return this worker's rows of a batch; together the workers have every row once.

        Raises:
            UsageError: the batch cannot be shared out evenly.
        """
        if count % self.size:
            raise UsageError(
                f"a batch of {count} cannot be shared out evenly to {self.size} workers. "
                f"Use a --batch that is a multiple of {self.size}."
            )
        share = count // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def sum(self, tensor: Tensor) -> Tensor:
        """Add a tensor up over all workers, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether it is so for any worker."""
        return self.sum(torch.tensor(float(flag), device=self.device)).item() > 0

    def agree(self, stop: bool, elapsed_s: float) -> tuple[bool, float]:
        """Agree on whether to stop (one wants to) and on the time (the main worker's)."""
        if self.size == 1:
            return stop, elapsed_s
        votes = torch.tensor([stop, elapsed_s if self.is_main else 0.0], device=self.device)
        stops, elapsed_s = self.sum(votes).tolist()
        return stops > 0, elapsed_s

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block that all workers run; when it fails for one, it fails for all.

        Without it the others would wait for the failed one in their next exchange.

        Raises:
            PeerFailed: the block failed in another worker.
        """
        error: BaseException | None = None
        try:
            yield
        except (AdnetError, OSError) as err:
            error = err
        failures = self.sum(torch.tensor(float(error is not None), device=self.device)).item()
        if error is not None:
            raise error
        if failures:
            raise PeerFailed("another worker failed.")


def started_as_worker() -> bool:
    """Whether this process was started as one worker of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def speaks_for_all() -> bool:
    """Whether this process tells the user: it is the first worker, or no worker at all."""
    return not started_as_worker() or os.environ["RANK"] == "0"


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Join the workers of a run for a block, and leave them at its end.

    Args:
        device: kind of device, e.g. `npu`; with several workers each takes the one of its
            LOCAL_RANK. A worker alone may name one, e.g. `npu:1`.

    Raises:
        BackendUnavailable: there is no such device.
        UsageError: several workers on one named device.
        TrainingError: the workers cannot reach each other.
    """
    if not started_as_worker():
        yield World(resolve_device(device))
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    kind, _, index = device.partition(":")
    if index and size > 1:
        raise UsageError(f"device {device!r}: with {size} workers name the kind alone, {kind!r}.")
    if kind == "cpu":
        place = resolve_device("cpu")
        if "OMP_NUM_THREADS" not in os.environ:
            # Workers that each use every core would only get in each other's way.
            local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_size))
    else:
        try:
            count = count_devices(kind)
            # A scheduler that sets no LOCAL_RANK is taken to fill machine after machine.
            local_rank = int(os.environ.get("LOCAL_RANK", rank % count))
            place = resolve_device(f"{kind}:{local_rank}")
        except BackendUnavailable as err:
            if "TORCHELASTIC_RUN_ID" in os.environ:
                # The others wait for this worker already: only a crash ends their waiting.
                raise RuntimeError(str(err)) from err
            raise
        torch.accelerator.set_device_index(place)
    if kind not in _COLLECTIVES:
        raise UsageError(f"device {kind!r} cannot be used by several workers.")
    if kind == "npu":
        _let_hccl_wait(_TIMEOUT)
    try:
        dist.init_process_group(_COLLECTIVES[kind], timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as err:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise  # a crash: the launcher restarts all workers
        raise TrainingError(
            f"the workers cannot reach each other at {os.environ.get('MASTER_ADDR')}:"
            f"{os.environ.get('MASTER_PORT')}: {str(err).splitlines()[0]}"
        ) from err
    try:
        yield World(place, rank, size)
    finally:
        dist.destroy_process_group()


def _let_hccl_wait(timeout: timedelta) -> None:
    """Let HCCL wait for the other workers as long as the process group does.

    It has a time of its own, two minutes, and reads it when it is initialised (EI0006 after that).
    What the user has set stays.
    """
    shortest, longest = _HCCL_WAITS_S
    seconds = min(longest, max(shortest, int(timeout.total_seconds())))
    os.environ.setdefault("HCCL_CONNECT_TIMEOUT", str(seconds))
