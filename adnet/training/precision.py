"""Half-precision training: loss scaling that also works where half precision saturates.

An overflow in float16 gives inf on a GPU. Ascend 910 and 310P in their default mode give the
largest number instead (inf -> 65504) and nan becomes 0, so a scaler that waits for inf never backs
off and the optimiser learns from cut-off gradients. `LossScaler` therefore counts as overflow

- a gradient that is not finite,
- a gradient of 65504 or more, before it is unscaled and before workers average it (a mean would
  hide it).

A weight whose gradient is zero everywhere has vanished instead: its values fell below the smallest
float16, or nan became 0. Both kinds of steps are skipped.

It looks at the gradients of the weights. Those are sums over every position of a batch, so they
saturate long before the gradients of the activations do, which are parts of these sums.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from adnet.errors import BackendUnavailable, TrainingError

LARGEST_HALF = 65504.0
"""Largest finite float16."""


class LossScaler:
    """Scale of the loss: fixed, or adapted much as torch.amp.GradScaler does.

    Args:
        fixed: the scale; None adapts it: halved after an overflow, doubled after vanished gradients
            and after `GROWTH_INTERVAL` steps without either.
    """

    START = 2.0**16
    LARGEST = 2.0**24
    GROWTH_INTERVAL = 2000
    MOST_SKIPPED = 100
    """Steps skipped one after the other that end the run: it no longer learns."""

    def __init__(self, fixed: float | None) -> None:
        self._is_fixed = fixed is not None
        self.scale = self.START if fixed is None else fixed
        self.used = self.scale
        """Scale of the step that `update` judged last."""
        self.skipped = 0
        """Steps that were skipped, in the whole run."""
        self._calm = 0
        self._skipped_in_a_row = 0

    def inspect(self, gradients: list[Tensor]) -> Tensor:
        """Tell whether a worker's own scaled gradients overflowed or vanished.

        Returns:
            Two numbers on the device, 0 for no and 1 for yes: overflowed, vanished.
        """
        largest = torch.stack(torch._foreach_norm(gradients, ord=float("inf")))  # noqa: SLF001
        # A comparison with nan is false: nan counts as overflow.
        overflowed = (~(largest < LARGEST_HALF)).any()
        return torch.stack([overflowed, (largest == 0).any()]).to(gradients[0].dtype)

    def update(self, *, overflowed: bool, vanished: bool) -> bool:
        """Adapt the scale after a backward pass; false when its step must be skipped.

        Raises:
            TrainingError: `MOST_SKIPPED` steps in a row were skipped.
        """
        self.used = self.scale
        if not (overflowed or vanished):
            self._skipped_in_a_row = 0
            self._calm += 1
            if not self._is_fixed and self._calm == self.GROWTH_INTERVAL:
                self.scale = min(self.LARGEST, self.scale * 2)
                self._calm = 0
            return True
        self.skipped += 1
        self._skipped_in_a_row += 1
        self._calm = 0
        if self._skipped_in_a_row == self.MOST_SKIPPED:
            what, other = ("overflowed", "smaller") if overflowed else ("vanished", "larger")
            raise TrainingError(
                f"the gradients {what} in {self.MOST_SKIPPED} steps in a row (loss scale "
                f"{self.scale:g}). Use a {other} --loss-scale, or --precision bf16 or fp32."
            )
        if not self._is_fixed:
            factor = 0.5 if overflowed else 2.0
            self.scale = min(self.LARGEST, max(1.0, self.scale * factor))
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {
            "scale": self.scale,
            "skipped": self.skipped,
            "calm": self._calm,
            "skipped_in_a_row": self._skipped_in_a_row,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a stored state."""
        self.scale, self.skipped, self._calm = state["scale"], state["skipped"], state["calm"]
        self._skipped_in_a_row = state["skipped_in_a_row"]


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Compute in `precision` (fp32, bf16, fp16) inside the block; weights stay float32."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


def set_hf32(device: torch.device, allowed: bool | None) -> None:
    """Let an NPU round float32 convolutions and products to HF32, or forbid it.

    torch_npu's own choice (None) allows it for convolutions (Atlas A2) and not for products.

    Raises:
        BackendUnavailable: the device is no NPU.
    """
    if allowed is None:
        return
    if device.type != "npu":
        raise BackendUnavailable(
            f"--hf32 is a setting of Ascend NPUs; this run is on {device}. Leave it out."
        )
    npu: Any = import_module("torch_npu").npu
    npu.conv.allow_hf32 = allowed
    npu.matmul.allow_hf32 = allowed
