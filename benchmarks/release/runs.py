"""Runs of a campaign: OUT/NAME each, begun, resumed and finished."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adnet.atomic import atomic_path
from adnet.benchmarks.release.catalogue import Model
from adnet.data.pairs import split_pairs
from adnet.errors import AdnetError, UsageError
from adnet.models.checkpoint import load_checkpoint
from adnet.models.shipped import pretrained_models
from adnet.training.config import TrainConfig, refuse_changes
from adnet.training.progress import TrainProgress
from adnet.training.start import Show, run_training

log = logging.getLogger(__name__)


class Run:
    """One model's run: best.pth is the result once `done` exists.

    Args:
        out: the campaign's folder.
    """

    def __init__(self, out: Path, model: Model) -> None:
        self.model = model
        self.path = out / model.name
        if model.twin_of is not None:
            # Another float model is another int8 form: a folder for each.
            shipped = {one.name: one.card.weights_sha256 for one in pretrained_models()}
            self.path = out / f"{model.name}-{shipped.get(model.twin_of, 'none')[:8]}"
        self.best = self.path / "best.pth"
        self.page_is_due = self.path / "page-is-due"
        """There from before something is shipped until docs/models.md shows it."""
        self._out = out
        self._init = self.path / ".init"
        self._done = self.path / "done"

    @property
    def is_done(self) -> bool:
        """Whether it came to the end of its schedule, and its result is still there."""
        return self._done.exists() and self.best.exists()

    def describe(self) -> str:
        """Say how far it is, e.g. `4000 of 16000 steps`."""
        if self.is_done:
            return "done"
        if not (self.path / "config.json").exists():
            return "not begun"
        if self._done.exists():
            return "done, but best.pth is gone"
        try:
            steps = self._config()["steps"]
        except (UsageError, KeyError):
            return "config.json is damaged"
        return f"{self._reached()} of {steps} steps"

    def _reached(self) -> int:
        """Count the steps that the newest state has behind it."""
        try:
            training = load_checkpoint(self.path / "last.pth").card.training
            return int(training["steps"])
        except (AdnetError, OSError, KeyError):
            return 0

    def _config(self) -> dict[str, Any]:
        """Read the settings that the run began with.

        Raises:
            UsageError: the file is damaged.
        """
        stored = self.path / "config.json"
        try:
            config = json.loads(stored.read_text("utf-8"))
        except ValueError:
            config = None
        if not isinstance(config, dict) or not {"data", "val", "init", "steps"} <= config.keys():
            raise UsageError(
                f"{stored}: damaged, so nothing tells how {self.model.name} was trained. Move its "
                "folder away to train it again."
            )
        return config

    def settings(self, folders: Mapping[str, Path], device: str) -> TrainConfig:
        """Return its settings: those it began with, or the catalogue's for this device.

        Raises:
            UsageError: what lies in its folder was made with other settings.
        """
        init = self._start()
        fresh = self.model.config(folders, init, device)
        stored = self.path / "config.json"
        if not stored.exists():
            return fresh
        before = self._config()
        problem = ""
        # A run that began on another kind of device keeps the schedule of that one.
        for config in (fresh, *(self.model.config(folders, init, on) for on in ("cpu", "cuda"))):
            now = config.to_dict()
            moved = [name for name in ("data", "val") if before[name] != now[name]]
            if moved:  # only what they are called; training itself compares the pixels
                problem = f"{moved[0]} was {before[moved[0]]}, is {now[moved[0]]}"
                continue
            try:
                refuse_changes(before, config, stored)
            except UsageError as err:
                problem = problem or str(err)
            else:
                return dataclasses.replace(config, device=device, compile=fresh.compile)
        raise UsageError(
            f"{self.path}: was made with other settings than the catalogue's ({problem}). Move it "
            f"away to train {self.model.name} again."
        )

    def train(
        self,
        folders: Mapping[str, Path],
        device: str,
        deadline: float | None,
        on_progress: Callable[[TrainProgress], None] = lambda _: None,
    ) -> bool:
        """Begin it, or continue it, until it is done or the deadline passes.

        Args:
            deadline: of `time.monotonic`; None: no deadline.

        Returns:
            Whether it is done.

        Raises:
            AdnetError: as `run_training` and `settings`.
            KeyboardInterrupt: after a signal; last.pth is saved.
        """
        if self._done.exists() and not self.best.exists():
            raise UsageError(
                f"{self.path}: was done, but best.pth is gone. Move the folder away to train "
                f"{self.model.name} again."
            )
        config = self.settings(folders, device)
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._init) as path:
            path.write_text(f"{config.init}\n", encoding="utf-8")
        is_late = False

        @contextmanager
        def display() -> Iterator[Show]:
            def show(progress: TrainProgress) -> None:
                nonlocal is_late
                on_progress(progress)
                if not is_late and deadline is not None and time.monotonic() > deadline:
                    is_late = True
                    signal.raise_signal(signal.SIGTERM)  # it saves its state, as for anybody

            yield show

        resume = (self.path / "last.pth").exists()
        log.info("%s: %s, from %s", self.model.name, "resumes" if resume else "begins", config.init)
        try:
            run_training(config, self.path, resume=resume, display=display)
        except KeyboardInterrupt:
            if is_late:
                return False
            raise
        except AdnetError:
            if not (self.path / "config.json").exists():
                self._init.unlink(missing_ok=True)  # it never began, so nothing is fixed
            raise
        self._done.touch()
        return True

    def _start(self) -> str:
        if self._init.exists():  # fixed when a run begins
            return self._init.read_text("utf-8").strip()
        stored = self.path / "config.json"
        if stored.exists():
            return str(self._config()["init"])
        shipped = {one.name for one in pretrained_models()}
        for name in self.model.start:
            finished = self._out / name
            is_other = name not in (self.model.name, self.model.twin_of)
            if is_other and (finished / "done").exists():
                return str(finished / "best.pth")
            if name in shipped:
                return name
        raise UsageError(
            f"{self.model.name}: none of {', '.join(self.model.start)}, which it may start from, "
            "is finished or shipped. Train one of them first."
        )


def find_folders(models: Sequence[Model], data: Path, out: Path) -> dict[str, Path]:
    """Find the data sets of a campaign, test sets as far as they are here.

    PolyU is split by scene (`split_pairs`) into folders of links below `out`.

    Raises:
        UsageError: a set to train or validate on is missing.
    """
    wanted = {name for one in models for name in (one.data, one.val, *one.tests) if name}
    folders = {name: data / name for name in wanted if (data / name).is_dir()}
    if (
        any(name.startswith("PolyU-") for name in wanted - folders.keys())
        and (data / "PolyU").is_dir()
    ):
        parts = out / "pairs"
        folders |= {name: parts / name for name in split_pairs(data / "PolyU", parts)}
    for model in models:
        for name in (model.data, model.val):
            if name is not None and name not in folders:
                raise UsageError(
                    f"{model.name} needs the data set {name.partition('-')[0]}, which is not in "
                    f"{data}. Give its parent folder with --data, or name other models with --only."
                )
    return folders
