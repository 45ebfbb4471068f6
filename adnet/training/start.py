"""Start a training run: in this process, or in several workers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from adnet.training.config import TrainConfig
from adnet.training.launch import launch
from adnet.training.progress import TrainProgress
from adnet.training.train import train
from adnet.training.workers import Workers
from adnet.training.world import join_world

log = logging.getLogger(__name__)

Show = Callable[[TrainProgress], None]
Display = Callable[[], AbstractContextManager[Show]]
"""Opens a progress display; picklable, for it is opened in the main worker."""


@contextmanager
def no_display() -> Iterator[Show]:
    """Show nothing."""
    yield lambda _progress: None


def run_training(
    config: TrainConfig,
    run: Path,
    *,
    resume: bool = False,
    workers: Workers | None = None,
    display: Display = no_display,
) -> Path:
    """Train and return the path of best.pth.

    Args:
        run: run directory, see `RunDirectory`.
        resume: continue `run` from its last.pth.
        workers: start these; None trains in this process, which may be a worker that torchrun
            started.

    Raises:
        AdnetError: as `train` and `launch`.
        KeyboardInterrupt: after a signal; last.pth is saved.
    """
    return launch(_train, (config, run, resume, display), device=config.device, workers=workers)


def _train(config: TrainConfig, run: Path, resume: bool, display: Display) -> Path:
    """Train as this worker."""
    with join_world(config.device) as world:
        # A launcher counts only the restarts that its own workers caused, so the workers of
        # several machines ask each other.
        restarted = world.any(int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0)
        found = world.any(world.is_main and (run / "last.pth").exists())
        resume = resume or (restarted and found)
        if world.is_main:
            if restarted:
                log.warning(
                    "a worker died; all restart from %s", "last.pth" if resume else "step 0"
                )
            with display() as show:
                return train(config, run, world, resume=resume, on_progress=show)
        logging.disable(logging.WARNING)  # the main worker says it all
        return train(config, run, world, resume=resume)
