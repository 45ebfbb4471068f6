"""Named sets of training options. What a recipe leaves out keeps TrainConfig's default.

Sources: the published training script, github.com/hellloxiaotian/ADNet gray/train.py (schedule by
epochs counted from 0: the rate falls after epochs 30 and 60), and Ascend/ModelZoo-PyTorch
PyTorch/contrib/cv/others/ADNet train.py with its train_full_1p.sh and train_full_8p.sh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adnet.errors import UsageError

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

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
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
    return dict(RECIPES[name])
