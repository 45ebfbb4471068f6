"""The metrics of a training run: metrics.jsonl and TensorBoard events."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.atomic import atomic_path

log = logging.getLogger(__name__)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl: objects of numbers, each with its `step`.

    Lines that are no such object are left out: a full disk or a crash tears lines, and may fill
    them with anything.

    Raises:
        OSError: the file cannot be read.
    """
    rows = []
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # not JSON, or not UTF-8
            continue
        if not isinstance(row, dict) or "step" not in row:
            continue
        if all(isinstance(value, (int, float)) for value in row.values()):
            rows.append(row)
    return rows


class RunLog:
    """metrics.jsonl, one JSON object a line, and the same numbers as TensorBoard events."""

    def __init__(self, run: Path, step: int, stack: ExitStack) -> None:
        path = run / "metrics.jsonl"
        self._kept: set[tuple[int, frozenset[str]]] = set()
        """What a resumed run writes again at the step that it is resumed from."""
        if path.exists():
            # Drop what a run wrote after the checkpoint that it is resumed from.
            kept = [row for row in read_metrics(path) if row["step"] <= step]
            with atomic_path(path) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
            self._kept = {(step, frozenset(row)) for row in kept if row["step"] == step}
        self._file = stack.enter_context(path.open("a", encoding="utf-8"))
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (optional)
        except ImportError:
            log.warning("tensorboard is not installed: metrics go to %s alone", path)
            self._events = None
        else:
            self._events = SummaryWriter(run, purge_step=step or None)
            stack.callback(self._close_events)

    def write(self, step: int, **values: float) -> None:
        """Append one line of numbers; a full disk costs the line, not the run."""
        if (step, frozenset(("step", *values))) in self._kept:
            return
        try:
            self._file.write(json.dumps({"step": step} | values) + "\n")
            self._file.flush()
        except OSError as err:
            log.warning("step %d: metrics are not written: %s", step, err)
            return
        if self._events is not None:
            try:
                for name, value in values.items():
                    self._events.add_scalar(name, value, step)
            except OSError as err:  # raised for an earlier event, whose writing failed
                log.warning("step %d: no more TensorBoard events: %s", step, err)
                self._events = None

    def write_pictures(self, step: int, pictures: Sequence[NDArray[np.uint8]]) -> None:
        """Add sample pictures, (H, W) or (H, W, 3), to the TensorBoard events."""
        if self._events is None:
            return
        try:
            for number, pixels in enumerate(pictures):
                layout = "HW" if pixels.ndim == 2 else "HWC"
                self._events.add_image(f"sample {number + 1}", pixels, step, dataformats=layout)
        except OSError as err:
            log.warning("step %d: no more TensorBoard events: %s", step, err)
            self._events = None

    def _close_events(self) -> None:
        if self._events is not None:
            with suppress(OSError):
                self._events.close()
