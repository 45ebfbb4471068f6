"""Optimisers by name; on an NPU the fused ones of torch_npu where it has them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable
from importlib import import_module
from typing import Any, TypeAlias, cast

import torch
from torch import nn

from adnet.training.config import TrainConfig
from adnet.training.muon import MuonWithAdam

Optimizer: TypeAlias = torch.optim.Optimizer | MuonWithAdam

log = logging.getLogger(__name__)

_NPU_FUSED = {"adam": "NpuFusedAdam", "adamw": "NpuFusedAdamW", "sgd": "NpuFusedSGD"}


def make_optimizer(
    config: TrainConfig,
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    device: torch.device,
) -> Optimizer:
    """Create the optimiser that `config` names.

    Args:
        parameters: or groups of them, as torch's optimisers take both; muon takes no groups.
    """
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer == "muon":
        if device.type == "npu":
            log.warning(
                "muon was not yet tried on an NPU; it needs bfloat16, so an Atlas A2 or newer"
            )
        return MuonWithAdam(cast("Iterable[nn.Parameter]", parameters), **options)
    if config.optimizer == "sgd":
        options |= {"momentum": config.momentum, "nesterov": config.momentum > 0}
    if device.type == "npu":
        fused = getattr(import_module("torch_npu.optim"), _NPU_FUSED[config.optimizer], None)
        if fused is not None:
            return cast("torch.optim.Optimizer", fused(parameters, **options))
        log.warning("torch_npu has no %s: using torch's own", _NPU_FUSED[config.optimizer])
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    # fused: one kernel for all weights, where torch has one.
    fused_here = device.type in ("cpu", "cuda")
    return cast(
        "torch.optim.Optimizer", kind[config.optimizer](parameters, **options, fused=fused_here)
    )


def zero_gradients(optimizer: Optimizer) -> None:
    """Forget the gradients. torch_npu's fused optimisers own theirs and refuse to set them None."""
    is_npu_fused = type(optimizer).__module__.startswith("torch_npu")
    optimizer.zero_grad(set_to_none=not is_npu_fused)


def load_optimizer_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Give an optimiser a stored state, of which it gets a copy of its own."""
    optimizer.load_state_dict(copy.deepcopy(state))
    if hasattr(optimizer, "is_states_combined"):
        # torch_npu's fused optimisers step on one combined copy of their state, made once: without
        # this they would go on with what they had before.
        optimizer.is_states_combined = False
