"""Names of shipped models, and what may stand in whose place."""

from __future__ import annotations

import re

from adnet.errors import UsageError
from adnet.models.card import ModelCard

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def require_name(name: str) -> None:
    """Make sure that a name can be that of a file, too.

    Raises:
        UsageError: it is no plain word.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r}: expected a name of letters, digits, '.', '_' and '-', which begins with a "
            "letter or digit, e.g. gray-blind."
        )


def require_same_kind(shipped: ModelCard, new: ModelCard, name: str) -> None:
    """Make sure that two models have the same planes, noise levels and arithmetic.

    Raises:
        UsageError: they differ, so nobody who asks for the one wants the other.
    """
    before, now = _describe_kind(shipped), _describe_kind(new)
    if before != now:
        raise UsageError(
            f"{name} is {before}; the checkpoint is {now}. Choose another name, or give --force to "
            "put it in its place."
        )


def _describe_kind(card: ModelCard) -> str:
    colour = "a gray" if card.channels == 1 else "a colour"
    levels = card.sigma_range
    noise = "real noise" if levels is None else f"sigma {levels[0]:g} to {levels[1]:g}"
    is_int8 = (card.training.get("config") or {}).get("quantize")
    return f"{colour} model for {noise}{', int8' if is_int8 else ''}"
