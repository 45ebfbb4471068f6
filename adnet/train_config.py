"""Everything that decides a training run, checked when it is made."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adnet.errors import UsageError

_FREE_TO_CHANGE = {"data", "val", "device", "compile", "val_every", "log_every", "save_minutes"}
"""Fields that a resumed run may change: none of them alters what is learned from a step."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides a training run; written to config.json."""

    data: tuple[str, ...]
    """Folders of clean images."""
    val: tuple[str, ...] = ()
    """Folders of clean validation images; empty: `val_images` images are held out of `data`."""
    val_images: int = 8
    channels: Literal[1, 3] = 1
    sigma: tuple[float, float] = (0.0, 55.0)
    """Noise range on the 0-255 scale; equal ends train for one known level."""
    val_sigma: float = 25.0
    patch: int = 50
    batch: int = 128
    scales: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7)
    steps: int | None = None
    max_minutes: float | None = None
    """The schedule ends at whichever of `steps` and `max_minutes` comes first."""
    lr: float = 1e-3
    warmup_steps: int = 500
    final_lr_ratio: float = 1e-3
    """Learning rate at the end of the cosine, as a share of `lr`."""
    ema: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0
    init: str | None = None
    """Checkpoint to start from; None starts from scratch."""
    freeze_norm: bool = False
    """Fine-tune with the batch norms' stored statistics, as they are used after training. A small
    batch of mixed noise levels has statistics of its own, which a model may come to rely on."""
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    device: str = "cpu"
    val_every: int = 1000
    log_every: int = 50
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        low, high = self.sigma
        for wrong, problem in (
            (not self.data, "no folder of training images is given"),
            (self.channels not in (1, 3), f"channels must be 1 or 3, got {self.channels}"),
            (not 0 <= low <= high <= 255, f"sigma must lie in 0..255, got {low:g},{high:g}"),
            (not 0 <= self.val_sigma <= 255, f"val sigma must lie in 0..255, got {self.val_sigma}"),
            (self.patch < 8, f"patch must be at least 8 pixels, got {self.patch}"),
            (self.batch < 1, f"batch must be at least 1, got {self.batch}"),
            (not self.lr > 0, f"lr must be above 0, got {self.lr}"),
            (not 0 <= self.ema < 1, f"ema must lie in 0..1, got {self.ema}"),
            (not self.clip_norm > 0, f"clip norm must be above 0, got {self.clip_norm}"),
            (not all(0 < s <= 1 for s in self.scales), f"scales must lie in 0..1: {self.scales}"),
            (self.steps is None and self.max_minutes is None, "give --steps or --max-minutes"),
            (self.steps is not None and self.steps < 1, f"steps must be above 0, got {self.steps}"),
            (
                self.max_minutes is not None and not self.max_minutes > 0,
                f"max minutes must be above 0, got {self.max_minutes}",
            ),
        ):
            if wrong:
                raise UsageError(f"training: {problem}.")


def refuse_changes(before: Mapping[str, Any], now: TrainConfig, checkpoint: Path) -> None:
    """Make sure that a resumed run goes on as it began.

    Args:
        before: the stored config, as `dataclasses.asdict` gives it.

    Raises:
        UsageError: naming the fields that changed.
    """
    old = json.loads(json.dumps(before))
    new = json.loads(json.dumps(dataclasses.asdict(now)))
    changed = [
        f"{name} was {old.get(name)}, is {value}"
        for name, value in new.items()
        if name not in _FREE_TO_CHANGE and old.get(name) != value
    ]
    if changed:
        raise UsageError(
            f"{checkpoint}: the run to resume was made with other settings: {'; '.join(changed)}. "
            "Use the same ones, or start a new run with --init."
        )
