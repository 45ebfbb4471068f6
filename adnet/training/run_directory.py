"""What a run leaves on disk: every file whole or not at all, and only by the main worker."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from adnet.atomic import atomic_path
from adnet.errors import AdnetError, UsageError
from adnet.models.card import ModelCard
from adnet.models.checkpoint import load_checkpoint, save_checkpoint
from adnet.training.config import TrainConfig

_WRITTEN_FROM_THE_START = ("config.json", "metrics.jsonl", "report.html")


class RunDirectory:
    """Files of one run.

    config.json, last.pth (the newest state to resume from), step-*.pth (the `keep` - 1 states
    before it), best.pth (highest validation PSNR), metrics.jsonl and TensorBoard events,
    samples/ with pictures of validation images, and report.html, which shows it all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "last.pth"
        self.best = path / "best.pth"
        self.last_step: int | None = None
        """Step at which last.pth was written, as far as this process knows."""

    def check(self, resume: bool) -> None:
        """Refuse to overwrite a run by accident, or to resume none.

        Raises:
            UsageError: says what to do instead.
        """
        for place in (self.path, *self.path.parents):
            if place.exists() and not place.is_dir():
                raise UsageError(f"{place}: is a file; expected a folder for the run. Choose "
                                 "another -o.")  # fmt: skip
        others = [path for path in (self.best, *self.path.glob("step-*.pth")) if path.exists()]
        if resume and not self.last.exists():
            raise UsageError(f"{self.path}: nothing to resume, last.pth is missing.")
        if self.last.exists() and not resume:
            raise UsageError(
                f"{self.path}: holds a training run. Add --resume, or choose another -o."
            )
        if others and not resume:
            raise UsageError(
                f"{self.path}: holds {others[0].name} of an earlier run, which would be replaced. "
                "Choose another -o, or move it away."
            )
        for name in () if resume or self._holds_config() else _WRITTEN_FROM_THE_START:
            if (self.path / name).exists():
                raise UsageError(
                    f"{self.path}: holds {name}, which is of no training run and would be "
                    "replaced. Choose another -o, or move it away."
                )

    def _holds_config(self) -> bool:
        """Whether config.json is that of a run, which may have ended before its first state."""
        try:
            found = json.loads((self.path / "config.json").read_text("utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and {"data", "optimizer", "lr"} <= found.keys()

    def has_best(self) -> bool:
        """Whether best.pth is there and can be read."""
        try:
            load_checkpoint(self.best)
        except (AdnetError, OSError):
            return False
        return True

    def write_config(self, config: TrainConfig) -> None:
        """Create the directory with config.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path / "config.json") as path:
            path.write_text(json.dumps(config.to_dict(), indent=2) + "\n")

    def save_last(
        self,
        weights: Mapping[str, Tensor],
        card: ModelCard,
        state: Mapping[str, Any],
        keep: int,
    ) -> None:
        """Write last.pth; the one before it becomes a step-*.pth, of which `keep` - 1 stay.

        A full disk leaves the previous last.pth in place.

        Raises:
            OSError: the file cannot be written.
        """
        if keep > 1 and self.last_step not in (None, state["step"]) and self.last.exists():
            spare = self.path / f"step-{self.last_step:08}.pth"
            spare.unlink(missing_ok=True)
            try:
                os.link(self.last, spare)
            except OSError:  # a file system without hard links
                with atomic_path(spare) as path:
                    shutil.copyfile(self.last, path)
        for abandoned in self.path.glob("step-*.pth"):
            # Left by a run that was taken back to an earlier state.
            if int(abandoned.stem.removeprefix("step-")) > state["step"]:
                abandoned.unlink(missing_ok=True)
        save_checkpoint(self.last, weights, card, state)
        self.last_step = int(state["step"])
        spares = sorted(self.path.glob("step-*.pth"))
        for old in spares[: max(0, len(spares) - (keep - 1))]:
            old.unlink(missing_ok=True)

    def save_best(self, weights: Mapping[str, Tensor], card: ModelCard) -> None:
        """Write best.pth.

        Raises:
            OSError: the file cannot be written.
        """
        save_checkpoint(self.best, weights, card)
