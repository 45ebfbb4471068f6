"""What a request asks for: its query and headers, checked."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from adnet.errors import UsageError
from adnet.images.formats.kinds import FORMATS
from adnet.runtime.serve.answers import Asked

_KNOWN = ("model", "strength", "ensemble", "format", "name")
_YES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def read_query(query: Mapping[str, str], models: Collection[str]) -> Asked:
    """Check a query.

    Args:
        query: `model`, `strength` (0 to 1), `ensemble` (true or false), `format` (a suffix without
            its dot) and `name`, of which only the suffix counts.
        models: names that are offered; a request cannot name a file.

    Raises:
        UsageError: something unknown or out of range.
    """
    unknown = sorted(set(query) - set(_KNOWN))
    if unknown:
        raise UsageError(
            f"unknown option {unknown[0][:40]!r}; there are {', '.join(_KNOWN)}, see docs/serve.md."
        )
    model = query.get("model")
    if model is not None and model not in models:
        raise UsageError(f"unknown model {model[:80]!r}; this server has {', '.join(models)}.")
    ensemble = _YES.get(query.get("ensemble", "false").lower())
    if ensemble is None:
        raise UsageError(f"ensemble: expected true or false, got {query['ensemble'][:40]!r}.")
    return Asked(model, _strength(query.get("strength", "1")), ensemble, _suffix(query))


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UsageError(f"strength: expected a number from 0 to 1, got {text[:40]!r}.")
    return value


def _suffix(query: Mapping[str, str]) -> str:
    """Of the file to make; what a name ends with where that is an image's suffix, else nothing."""
    if "format" in query:
        suffix = f".{query['format'].lower()}"
        if suffix not in FORMATS:
            known = ", ".join(one.removeprefix(".") for one in FORMATS)
            raise UsageError(f"format: expected one of {known}, got {query['format'][:40]!r}.")
        return suffix
    suffix = PurePosixPath(query.get("name", "")).suffix.lower()
    return suffix if suffix in FORMATS else ""
