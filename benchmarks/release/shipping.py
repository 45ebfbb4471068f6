"""Decide on a campaign's run: ship it, or remember that it is not better."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adnet.atomic import atomic_path
from adnet.benchmarks.release import ship
from adnet.benchmarks.release.runs import Run
from adnet.errors import UsageError
from adnet.models.checkpoint import load_checkpoint
from adnet.models.shipped import pretrained_models

log = logging.getLogger(__name__)


def ship_if_better(run: Run, folders: Mapping[str, Path]) -> bool:
    """Ship the best weights of a run so far, if they are better than the shipped ones.

    The decision rests on validation images alone; the test sets are measured afterwards. What was
    decided is kept in RUN/judged.json, so asking again about the same weights costs nothing.

    Args:
        folders: data set -> its folder, see `find_folders`.

    Returns:
        Whether it was shipped.

    Raises:
        AdnetError: a test set is missing, or as `adnet.benchmarks.release.ship.weigh` and `ship`.
    """
    name = run.model.name
    shipped = {one.name: one.card.weights_sha256 for one in pretrained_models()}.get(name)
    new = load_checkpoint(run.best).card.weights_sha256
    asked = {"weights_sha256": new, "shipped": shipped}
    file = run.path / "judged.json"
    stored = _read_object(file)
    if new == shipped or asked.items() <= stored.items():
        log.info("%s: nothing new since it was last judged", name)
        return False
    roots = list(dict.fromkeys(folder.parent for folder in folders.values()))
    verdict = ship.weigh(run.best, name, roots)
    log.info("%s: %s", name, verdict.describe())
    if verdict.is_better:
        if missing := [test for test in run.model.tests if test not in folders]:
            raise UsageError(
                f"{name}: better, but not shipped: it cannot be measured without "
                f"{' and '.join(missing)}. Put the test images into the folder given with --data."
            )
        tests = {test: folders[test] for test in run.model.tests}
        run.page_is_due.touch()
        card = ship.ship(run.best, name, tests, verdict)
        log.info("%s: shipped, %s", name, card.training.get("test_psnr", "not measured"))
    else:
        log.info("%s: not better than what is shipped", name)
    with atomic_path(file) as path:
        path.write_text(json.dumps(verdict.record() | asked) + "\n", encoding="utf-8")
    return verdict.is_better


def _read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object; what is missing or damaged is an empty one: it is only judged again."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
