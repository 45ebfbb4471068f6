"""Which models a server offers, and by what names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adnet.errors import UsageError
from adnet.models.shipped import pretrained_models, resolve_model
from adnet.runtime.backend import RunOptions

FITTING = "auto"
"""Name of the blind model that fits the image."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What every replica has to offer."""

    models: dict[str, str | None]
    """Name in requests -> name or path of a model; None for the blind model that fits the image.
    The first is the default."""
    max_pixels: int
    options: RunOptions
    backend: str | None = None
    tile: int | None = None


def offered_models(asked: Sequence[str]) -> dict[str, str | None]:
    """Name the models: a shipped one by its name, a file by its name without suffix.

    Args:
        asked: shipped names and files; empty: the blind model that fits, and all that is shipped.

    Raises:
        ModelError: one of them is not there.
        UsageError: two have one name.
    """
    if not asked:
        return {FITTING: None} | {one.name: one.name for one in pretrained_models()}
    found: dict[str, str | None] = {}
    for one in asked:
        path = resolve_model(one)
        name = Path(one).stem if path == Path(one) else one
        if name in found:
            raise UsageError(f"--model {one}: another one is called {name!r}, too. Rename a file.")
        found[name] = str(path.resolve())
    return found


def parse_replicas(text: str) -> tuple[int, int]:
    """Read N or MIN:MAX.

    Raises:
        UsageError: it is neither.
    """
    parts = text.split(":")
    if len(parts) <= 2 and all(part.isdecimal() for part in parts):
        least, most = int(parts[0]), int(parts[-1])
        if 1 <= least <= most:
            return least, most
    raise UsageError(f"--replicas: expected a number from 1, or MIN:MAX such as 1:8; got {text!r}.")
