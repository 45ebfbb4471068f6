"""What the page lets a visitor choose from: models, and where they can run here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adnet.errors import UsageError
from adnet.models.card import ModelCard
from adnet.models.shipped import FAST_SUFFIX, pretrained_models, resolve_model
from adnet.runtime.registry import open_backend

_SECONDS = 120.0
"""Importing torch and the drivers of devices may take long, but not so long."""


def offered(own: Sequence[str]) -> dict[str, Path]:
    """Return the shipped models and those of the user's, by name.

    Args:
        own: paths of model files.

    Raises:
        ModelError: no such file.
        UsageError: two models of one name.
    """
    models = {one.name: one.path for one in pretrained_models()
              if not one.name.endswith(FAST_SUFFIX)}  # fmt: skip
    for text in own:
        path = resolve_model(text)
        if path.stem in models and models[path.stem] != path:
            raise UsageError(f"{text}: a model {path.stem} is offered already; rename the file.")
        models[path.stem] = path
    return models


def cards_of(models: dict[str, Path]) -> dict[str, ModelCard]:
    """Read the cards; files of the user's are opened for that, so they are checked, too."""
    shipped = {one.path: one.card for one in pretrained_models()}
    cards = {}
    for name, path in models.items():
        if path in shipped:
            cards[name] = shipped[path]
            continue
        with open_backend(path) as backend:
            cards[name] = backend.card
    return cards


def devices_here() -> list[dict[str, Any]]:
    """List the backends and devices that can run here, as adnet-run --list-backends does.

    In a process of its own: looking imports torch, which would stay in this one.
    """
    command = [sys.executable, "-m", "adnet.runtime.cli", "--list-backends", "--json"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        rows = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    return [
        {"backend": row["backend"], "where": row["where"]}
        for row in rows
        if row["available"] and row["backend"] != "om"  # OM files are no ONNX models
    ]
