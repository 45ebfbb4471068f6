"""How far a run is, and the learning rate that belongs there."""

from __future__ import annotations

import math

from adnet.training.config import TrainConfig


def fraction_done(config: TrainConfig, steps: int | None, step: int, elapsed_s: float) -> float:
    """Share of the run that is done, in 0..1: by steps or by time, whichever is further.

    Args:
        steps: length of the run in steps (`config.steps`, or `config.epochs` turned into steps).
    """
    by_steps = step / steps if steps else 0.0
    by_time = elapsed_s / (60 * config.max_minutes) if config.max_minutes else 0.0
    return min(1.0, max(by_steps, by_time))


def learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
    """Linear warm-up by steps, then the schedule over the share of the run that is done."""
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "cosine":
        cosine = (1 + math.cos(math.pi * fraction)) / 2
        factor = config.final_lr_ratio + (1 - config.final_lr_ratio) * cosine
    else:
        # A hair's breadth, because a milestone such as 31/70 is rounded.
        passed = sum(fraction >= share - 1e-9 for share in config.milestones)
        factor = config.decay**passed
    return config.lr * warmup * factor
