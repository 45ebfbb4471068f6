"""Results of adnet-bench as JSON: a versioned schema, read and written whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adnet.atomic import atomic_path
from adnet.errors import UsageError

SCHEMA = "adnet-bench"
VERSION = 2
_KEYS = (
    "environment",
    "machine",
    "subjects",
    "speed",
    "end_to_end",
    "quality",
    "examples",
    "scaling",
    "errors",
    "left_out",
    "complete",
)

Result = dict[str, Any]


def new_result(environment: dict[str, object]) -> Result:
    """Return an empty result; parts are filled in as they are measured."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "environment": environment,
        "machine": None,
        "subjects": [],
        "speed": [],
        "end_to_end": {},
        "quality": [],
        "examples": [],
        "scaling": [],
        "protocol": "",
        "errors": {},
        "left_out": {},
        "complete": False,
    }


def write_result(result: Result, path: Path) -> None:
    """Write a result; the file appears whole or the old one stays."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")


def read_result(path: Path) -> Result:
    """Read a result.

    Raises:
        UsageError: the file is missing, damaged, or not of this version.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise UsageError(f"{path}: cannot be read: {err.strerror}.") from err
    except ValueError as err:
        raise UsageError(f"{path}: not JSON, or damaged ({err}).") from err
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        raise UsageError(f"{path}: not a result of adnet-bench.")
    if result.get("version") != VERSION:
        raise UsageError(
            f"{path}: schema version {result.get('version')}, this adnet reads {VERSION}."
        )
    missing = [key for key in _KEYS if key not in result]
    if missing:
        raise UsageError(f"{path}: incomplete, lacks {', '.join(missing)}.")
    return result
