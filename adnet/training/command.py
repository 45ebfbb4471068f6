"""The line that starts a recorded run again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adnet.training.config import DEFAULTS, FIELDS, SET_BY_STORES, STORE_SUFFIXES
from adnet.training.options import OptionField
from adnet.training.recipes import RECIPES, complete_options, without_effect

_BEFORE_RECORDS = ["default", "paper", "modelzoo"]
"""The recipes that there were when runs did not record theirs."""


def train_command(config: Mapping[str, Any]) -> str:
    """Turn the stored settings of a run into the line that starts it again.

    Only what differs from the recipe is in it. Paths are reduced to names: whoever repeats the run
    has the data elsewhere. A shell and adnet-train read the line back into the same settings;
    those that have no effect in such a run are left out.

    Args:
        config: as `TrainConfig.to_dict` gives it. One from before recipes were recorded gets the
            recipe that leaves least to say.
    """
    wanted = {**DEFAULTS} | {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in config.items()
        if name in DEFAULTS
    }
    if all(name.lower().endswith(STORE_SUFFIXES) for name in config["data"]):
        wanted = {name: value for name, value in wanted.items() if name not in SET_BY_STORES}
    recorded = config.get("recipe")
    recipes = [str(recorded)] if recorded in RECIPES else _BEFORE_RECORDS
    given = min((_given(wanted, recipe) for recipe in recipes), key=len)
    order = {name: place for place, name in enumerate(DEFAULTS)}
    words = ["adnet-train", *map(_name, config["data"]), "-o", "RUN"]
    # What decides most comes first, the others in the order of TrainConfig.
    for name in sorted(given, key=lambda name: (name not in ("recipe", "noise"), order[name])):
        words += _words(FIELDS[name], given[name])
    return shlex.join(words)


def _given(wanted: Mapping[str, Any], recipe: str) -> dict[str, Any]:
    """Find the options that must be given beside a recipe, which is one of them."""
    given: dict[str, Any] = {} if recipe == DEFAULTS["recipe"] else {"recipe": recipe}
    idle = without_effect(wanted) | {"recipe"}
    # Again until nothing is missing: one option may change what another one is by default.
    for _ in wanted:
        before = len(given)
        for name in wanted:
            others = {key: value for key, value in given.items() if key != "recipe"}
            so_far = {**DEFAULTS, **complete_options(recipe, others)}
            sayable = wanted[name] is not None or FIELDS[name].option.zero_is_none
            if name not in idle and sayable and so_far[name] != wanted[name]:
                given[name] = wanted[name]
        if len(given) == before:
            break
    return given


def _words(field: OptionField, value: Any) -> list[str]:
    if field.is_switch or isinstance(value, bool):
        return [field.flag if value else f"--no-{field.flag[2:]}"]
    if field.option.is_path:
        paths = value if isinstance(value, tuple) else (value,)
        return [word for path in paths for word in (field.flag, _name(path))]
    return [field.flag, field.text(value)]


def _name(path: str) -> str:
    """Last part of a path, so written that it is not taken for an option."""
    name = Path(path).name
    return f"./{name}" if name.startswith("-") else name
