"""How many workers train, and on what."""

from __future__ import annotations

from dataclasses import dataclass

from adnet.errors import UsageError


@dataclass(frozen=True, slots=True)
class Workers:
    """How many workers to start, and where.

    Raises:
        UsageError: numbers below 1, or several machines that do not know where to meet.
    """

    count: int
    """Workers on this machine."""
    nodes: int = 1
    rendezvous: str = ""
    """HOST:PORT of the first machine, the same on all; empty on a single one."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.nodes < 1:
            raise UsageError(
                f"expected at least 1 worker on 1 machine, got {self.count} on {self.nodes}."
            )
        if self.nodes > 1 and not self.rendezvous:
            raise UsageError("--nodes needs --rendezvous HOST:PORT, the same on every machine.")
        host, _, port = self.rendezvous.rpartition(":")
        if self.rendezvous and not (host and port.isdecimal()):
            raise UsageError(f"--rendezvous: expected HOST:PORT, got {self.rendezvous!r}.")


def choose_workers(
    device: str | None = None,
    *,
    npus: int | None = None,
    gpus: int | None = None,
    procs: int | None = None,
    nodes: int = 1,
    rendezvous: str = "",
) -> tuple[str, Workers | None]:
    """Turn what is asked for into a device, for `TrainConfig`, and the workers, for `run_training`.

    Args:
        npus, gpus, procs: workers on NPUs, on GPUs, or as processes on the CPU.

    Returns:
        No workers where none are asked for: this process trains.

    Raises:
        UsageError: these do not go together.
    """
    asked = {"npu": npus, "cuda": gpus, "cpu": procs}
    counts = {kind: count for kind, count in asked.items() if count is not None}
    if not counts:
        if nodes > 1:
            raise UsageError(
                "--nodes needs --npus, --gpus or --procs: the workers of each machine."
            )
        return device or "cpu", None
    (kind, count), *more = counts.items()
    if more or device not in (None, kind):
        raise UsageError(
            "--npus, --gpus and --procs say the device themselves: give one of them, and no "
            "--device (but --device cpu with --procs)."
        )
    return kind, Workers(count, nodes, rendezvous)
