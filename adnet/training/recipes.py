"""Named sets of training options. What a recipe leaves out keeps TrainConfig's default.

Sources: the published training script, github.com/hellloxiaotian/ADNet gray/train.py (schedule by
epochs counted from 0: the rate falls after epochs 30 and 60), and Ascend/ModelZoo-PyTorch
PyTorch/contrib/cv/others/ADNet train.py with its train_full_1p.sh and train_full_8p.sh.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from adnet.errors import UsageError
from adnet.training.config import DEFAULTS, FIELDS, SET_BY_STORES, TrainConfig

_PUBLISHED = {
    "epochs": 70,
    "batch": 128,
    "augment": False,
    "loss": "sum",
    "lr": 1e-3,
    "schedule": "steps",
    "warmup_steps": 0,
    "ema": 0.0,
    "clip_norm": None,
}

_QUANTIZE = {
    "batch": 8,
    "patch": 48,
    "optimizer": "adam",
    "lr": 1e-4,
    "warmup_steps": 20,
    "final_lr_ratio": 0.0,
    "ema": 0.0,
    "clip_norm": None,
    "val_every": 100_000,
}
"""What `--quantize` changes; without a length it is `_QUANTIZE_STEPS`. Most of what is gained comes
while the rate falls, so weights are neither averaged nor judged before the end."""

_QUANTIZE_STEPS = 400

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    # What the models of benchmarks/release/catalogue.py are trained with; why: Muon, in
    # docs/training.md. bfloat16 was timed on a processor that has instructions for it.
    "cpu": {
        "patch": 48,
        "batch": 24,
        "optimizer": "muon",
        "lr": 4e-3,
        "warmup_steps": 100,
        "precision": "bf16",
    },
    "paper": {**_PUBLISHED, "milestones": (31 / 70, 61 / 70), "decay": 0.1},
    # apex O2 with a fixed scale; the batch is that of one worker: eight of them are --batch 1024.
    "modelzoo": {
        **_PUBLISHED,
        "optimizer": "sgd",
        "milestones": (61 / 70,),
        "decay": 0.01,
        "precision": "fp16",
        "loss_scale": 8.0,
    },
}


def recipe_options(name: str) -> dict[str, Any]:
    """Return a recipe's options.

    Raises:
        UsageError: there is no such recipe.
    """
    if name not in RECIPES:
        raise UsageError(f"recipe {name!r} is not known; there are {', '.join(RECIPES)}.")
    return {"recipe": name, **RECIPES[name]}


def make_config(data: Sequence[str | Path], recipe: str = "default", **given: Any) -> TrainConfig:
    """Make the settings of a run as adnet-train does.

    Args:
        data: folders of images, or one HDF5 store.
        recipe: what is not given comes from it.
        given: fields of TrainConfig.

    Raises:
        UsageError: there is no such recipe, an option has no effect beside the others, or they do
            not make sense together.
    """
    config = TrainConfig(data=tuple(map(str, data)), **complete_options(recipe, given))
    if config.has_stores:
        _refuse(SET_BY_STORES & given.keys(), "with a store, which was made with its own")
    return config


def complete_options(recipe: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Bring together what is asked for, a recipe, and defaults that depend on other options.

    Args:
        given: fields of TrainConfig that are asked for; they win over the recipe's.

    Returns:
        Fields of TrainConfig; what is left out keeps its default.

    Raises:
        UsageError: there is no such recipe, or an option has no effect beside the others.
    """
    options = recipe_options(recipe)
    if given.get("quantize") is not None:
        idle = without_effect(options | dict(given))
        options |= {name: value for name, value in _QUANTIZE.items() if name not in idle}
        if not given.keys() & {"steps", "epochs", "max_minutes"}:
            options.pop("epochs", None)
            options["steps"] = _QUANTIZE_STEPS
    options |= given
    _refuse(without_effect(options) & given.keys(), "in such a run")
    low, high = options.get("sigma", DEFAULTS["sigma"])
    options.setdefault("val_sigma", min(max(DEFAULTS["val_sigma"], low), high))
    if options.get("noise") == "pairs":
        options.setdefault("scales", (1.0,))
    # A length that is asked for replaces the recipe's.
    if "epochs" not in given and given.keys() & {"steps", "max_minutes"}:
        options.pop("epochs", None)
    if options.get("precision") != "fp16" and "loss_scale" not in given:
        options.pop("loss_scale", None)
    return options


def _refuse(idle: Collection[str], where: str) -> None:
    for name in sorted(idle):
        raise UsageError(f"{FIELDS[name].flag} has no effect {where}.")


def without_effect(options: Mapping[str, Any]) -> set[str]:
    """Name the fields of TrainConfig that change nothing beside these (or their defaults)."""
    settings = {**DEFAULTS, **options}
    idle: set[str] = set()
    if settings["noise"] == "pairs":
        idle |= {"sigma", "val_sigma"}
    if settings["optimizer"] != "sgd":
        idle |= {"momentum"}
    idle |= {"weight_bits"} if settings["quantize"] is None else {"freeze_norm"}
    cosine = settings["schedule"] == "cosine"
    return idle | ({"milestones", "decay"} if cosine else {"final_lr_ratio"})
