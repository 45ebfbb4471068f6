"""What is asked of a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass

from adnet.errors import UsageError

IMAGES_PER_TASK = 64
WAVE = 200_000
"""Jobs that are planned at once: Ray's planner holds about a kilobyte of each in the driver."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Where a job runs, and what each of its workers takes there.

    Raises:
        UsageError: out of range.
    """

    address: str = "auto"
    """Of a running Ray cluster: `auto` for the one that this machine belongs to, or `HOST:6379`;
    `local` starts one for this job alone."""
    workers: tuple[int, int | None] = (1, None)
    """The least and the most of them; None: as many as fit."""
    worker_cpus: int = 1
    """Also the CPU threads of each."""
    worker_npus: int = 0
    worker_gpus: int = 0
    images_per_task: int = IMAGES_PER_TASK
    """What is lost and done again when a worker dies; fewer where there are few images."""
    wave: int = WAVE

    def __post_init__(self) -> None:
        least, most = self.workers
        if least < 1 or (most is not None and most < least):
            raise UsageError(f"workers: expected N or LEAST:MOST, from 1, got {least}:{most}.")
        for name, value, lowest in (
            ("--worker-cpus", self.worker_cpus, 1),
            ("--worker-npus", self.worker_npus, 0),
            ("--worker-gpus", self.worker_gpus, 0),
            ("--images-per-task", self.images_per_task, 1),
            ("wave", self.wave, 1),
        ):
            if value < lowest:
                raise UsageError(f"{name} must be at least {lowest}, got {value}.")

    @property
    def needs(self) -> dict[str, int]:
        """Ray's resources of one worker, by name."""
        needs = {"CPU": self.worker_cpus, "NPU": self.worker_npus, "GPU": self.worker_gpus}
        return {name: count for name, count in needs.items() if count}

    def most_workers(self, resources: list[dict[str, float]]) -> int:
        """Return how many workers fit on nodes with these resources, at the most those wanted."""
        fit = sum(
            min(int(node.get(name, 0) // count) for name, count in self.needs.items())
            for node in resources
        )
        least, most = self.workers
        return max(least, fit if most is None else min(most, fit))

    def per_task(self, jobs: int, workers: int, whole: int | None = None) -> int:
        """Return how many jobs go into a task, so that each worker gets several.

        Args:
            whole: at the most so many; None for `images_per_task`.
        """
        return max(1, min(whole or self.images_per_task, jobs // (4 * workers)))


def parse_workers(text: str) -> tuple[int, int | None]:
    """Read `N` or `LEAST:MOST`; the most may be left open, as in `4:`.

    Raises:
        UsageError: it is neither.
    """
    found = re.fullmatch(r"(\d+)(?:(:)(\d*))?", text.strip())
    if found is None:
        raise UsageError(f"--workers: expected a number, or LEAST:MOST such as 4:64; got {text!r}.")
    least = int(found[1])
    if found[2] is None:
        return least, least
    return least, int(found[3]) if found[3] else None
