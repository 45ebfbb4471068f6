"""Muon for the hidden convolutions, AdamW for everything else.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) makes the momentum of a
weight matrix orthogonal before it steps, so that all directions are learned at the same pace. The
step is scaled as in "Muon is Scalable for LLM Training" (arXiv 2502.16982), which lets it share
Adam's learning rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from adnet.models.architecture import FEATURES


class MuonWithAdam:
    """The two optimisers as one, as far as a `Learner` uses an optimiser.

    torch.optim.Muon takes matrices, so it steps on views of the convolutions' weights as
    (outputs, inputs x kernel) matrices. Batch norms, the first and the last layer and the attention
    are AdamW's; the weight decay of both is decoupled from the gradient.

    Args:
        parameters: in the memory format that they keep.
        lr, weight_decay: of both.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float
    ) -> None:
        every = list(parameters)
        self._hidden = [one for one in every if one.shape[:2] == (FEATURES, FEATURES)]
        self._matrices = [nn.Parameter(_as_matrix(one.detach(), one)) for one in self._hidden]
        for whole, matrix in zip(self._hidden, self._matrices, strict=True):
            assert matrix.data_ptr() == whole.data_ptr()  # a copy would step in vain
        hidden = set(map(id, self._hidden))
        self._others = [one for one in every if id(one) not in hidden]
        self._muon = torch.optim.Muon(
            self._matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self._adam = torch.optim.AdamW(self._others, lr=lr, weight_decay=weight_decay)
        self.param_groups = [*self._muon.param_groups, *self._adam.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for parameter in [*self._hidden, *self._others]:
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    def step(self) -> None:
        """Take a step on the gradients of the parameters."""
        for whole, matrix in zip(self._hidden, self._matrices, strict=True):
            matrix.grad = None if whole.grad is None else _as_matrix(whole.grad, whole)
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both."""
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a stored state."""
        self._muon.load_state_dict(state["muon"])
        self._adam.load_state_dict(state["adam"])
        self.param_groups = [*self._muon.param_groups, *self._adam.param_groups]


def _as_matrix(values: Tensor, weight: Tensor) -> Tensor:
    """View (or, for a gradient of another layout, copy) as the matrix that `weight` is in memory.

    The order of a matrix's columns does not matter to Muon.
    """
    if weight.is_contiguous(memory_format=torch.channels_last):
        values = values.permute(0, 2, 3, 1)
    return values.reshape(weight.shape[0], -1)
