"""Results of adnet-bench as JSON files: the only place where they are dicts."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from adnet.atomic import atomic_path
from adnet.benchmarks.results import CandidateRecord, Result
from adnet.benchmarks.results_check import check_interval, check_number, check_parts
from adnet.benchmarks.timing import Interval
from adnet.errors import UsageError

SCHEMA = "adnet-bench"
VERSION = 3
"""Of the files written; 2, which adnet 0.1.0 writes, is read as well."""

_WORDS: dict[Any, str] = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false",
    list: "a list", tuple: "a list", dict: "an object",
}  # fmt: skip
"""What JSON calls what stands for our types, for messages."""


def to_json(result: Result) -> dict[str, Any]:
    """Turn a result into JSON types."""
    return {"schema": SCHEMA, "version": VERSION, **asdict(result)}


def from_json(data: object) -> Result:
    """Make a result of JSON; keys that are not known are ignored.

    Raises:
        UsageError: of another kind or version, or parts are missing or damaged, or are of no part
            that is there.
    """
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise UsageError("not a result of adnet-bench.")
    if data.get("version") == 2:
        data = _from_version_2(data)
    elif data.get("version") != VERSION:
        raise UsageError(
            f"schema version {data.get('version')}, this adnet reads 2 and {VERSION}. Use the "
            "adnet that wrote it, or measure again."
        )
    result: Result = _record(Result, data, "")
    check_parts(result)
    return result


def write_result(result: Result, path: Path) -> None:
    """Write a result; the file appears whole or the old one stays."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(to_json(result), indent=1) + "\n", encoding="utf-8")


def read_result(path: Path) -> Result:
    """Read a result.

    Raises:
        UsageError: the file is missing, damaged, or of a version that is not known.
    """
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as err:
        raise UsageError(f"{path}: cannot be read: {err.strerror}.") from err
    except ValueError as err:
        raise UsageError(f"{path}: not JSON, or damaged ({err}).") from err
    except UsageError as err:
        raise UsageError(f"{path}: {err}") from err


def _record(kind: Any, data: object, where: str) -> Any:
    """Make a dataclass of an object; `where` is its place in the file, for messages."""
    if not isinstance(data, dict):
        raise _unexpected("an object", data, where)
    hints, values = _hints(kind), {}
    for one in fields(kind):
        place = f"{where}.{one.name}".lstrip(".")
        if one.name in data:
            values[one.name] = _value(hints[one.name], data[one.name], place)
        elif not where or (one.default is MISSING and one.default_factory is MISSING):
            # A result is written whole: what is missing was cut off.
            raise UsageError(f"incomplete, lacks {place}.")
    record = kind(**values)
    if isinstance(record, Interval):
        check_interval(where, record)
    return record


_hints = cache(get_type_hints)


def _value(kind: Any, data: Any, where: str) -> Any:
    if is_dataclass(kind):
        return _record(kind, data, where)
    origin, of = get_origin(kind) or kind, get_args(kind)
    if origin is types.UnionType:  # of something and None
        return None if data is None else _value(of[0], data, where)
    if origin is float and type(data) in (int, float):
        check_number(where, data)
        return float(data)
    if type(data) not in ((list, tuple) if origin in (list, tuple) else (origin,)):
        raise _unexpected(_WORDS[origin], data, where)
    if origin is dict:
        return {key: _value(of[1], one, f"{where}.{key}") for key, one in data.items()}
    if origin in (list, tuple):
        is_pair = origin is tuple and of[-1] is not ...
        if is_pair and len(data) != len(of):
            raise _unexpected(f"{len(of)} numbers", data, where)
        return origin(_value(of[0], one, f"{where}[{index}]") for index, one in enumerate(data))
    if origin is int:
        check_number(where, data)
    return data


def _unexpected(expected: str, data: object, where: str) -> UsageError:
    text = json.dumps(data)
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    return UsageError(f"damaged: {where or 'the whole'}: expected {expected}, got {shown}.")


def _from_version_2(data: Mapping[str, Any]) -> dict[str, Any]:
    """Give the parts of a file of version 2 the names that they have now."""
    renamed = {"subjects": "candidates"}
    result = {renamed.get(key, key): part for key, part in data.items()}
    changes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "candidates": _candidate_of_version_2,
        "speed": _entry_of_version_2,
        "quality": _entry_of_version_2,
        "examples": _entry_of_version_2,
    }
    for part, change in changes.items():
        if isinstance(result.get(part), list):
            result[part] = [change(one) if isinstance(one, dict) else one for one in result[part]]
    return result


def _candidate_of_version_2(entry: dict[str, Any]) -> dict[str, Any]:
    """The backend's facts stood among the others."""
    facts = {key: one for key, one in entry.items() if key not in _NOT_FACTS}
    name = {"name": entry["subject"]} if "subject" in entry else {}
    return {**entry, **name, "facts": facts}


_NOT_FACTS = {"subject", *(one.name for one in fields(CandidateRecord))} - {
    "backend", "device", "precision",
}  # fmt: skip
"""Of a candidate of version 2; three fields are facts of `Backend.describe`, too."""


def _entry_of_version_2(entry: dict[str, Any]) -> dict[str, Any]:
    renamed = {"subject": "candidate"}
    result = {renamed.get(key, key): one for key, one in entry.items()}
    times = result.get("times_as_fast")
    if isinstance(times, dict) and "as" in times:
        result["times_as_fast"] = {**times, "base": times["as"]}
    return result
