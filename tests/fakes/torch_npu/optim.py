"""torch_npu.optim: the fused optimisers that adnet uses, with what is known of theirs.

As the real ones (torch_npu 2.x) they take torch's arguments of old and no `fused` or `foreach`,
refuse to set gradients to None, and step on combined copies, made once, of gradients and state:
what load_state_dict brings is not among them until `is_states_combined` is reset. What would
silently be ignored there, a gradient that was replaced by another tensor, raises here. The
arithmetic is torch's.
"""

from collections import defaultdict

import torch


class _Fused:
    """Over one of torch's optimisers."""

    def __init__(self, params, **options):
        super().__init__(params, foreach=False, **options)
        self.is_npu_fused_optimizer = True
        self.is_states_combined = False
        self._gradients = {}

    def zero_grad(self, set_to_none=False):
        if set_to_none:
            raise ValueError("set_to_none is not supported in fused optimizers")
        super().zero_grad(set_to_none=False)

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in filter(lambda one: one.grad is not None, group["params"]):
                if parameter.grad.is_sparse:
                    raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
                known = self._gradients.setdefault(parameter, parameter.grad)
                if known is not parameter.grad:
                    raise RuntimeError("a combined gradient was replaced; the step would miss it")
        if not self.is_states_combined:
            self._combined = _copied(self.state)
            self.is_states_combined = True
        shown, self.state = self.state, defaultdict(dict, self._combined)
        loss = super().step(closure)
        self._combined, self.state = dict(self.state), shown
        self.state.update(_copied(self._combined))
        return loss


def _copied(state):
    return {
        key: {name: one.clone() if isinstance(one, torch.Tensor) else one
              for name, one in value.items()}
        for key, value in state.items()
    }  # fmt: skip


class NpuFusedSGD(_Fused, torch.optim.SGD):
    def __init__(self, params, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False):
        super().__init__(params, lr=lr, momentum=momentum, dampening=dampening,
                         weight_decay=weight_decay, nesterov=nesterov)  # fmt: skip


class NpuFusedAdam(_Fused, torch.optim.Adam):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0,
                 amsgrad=False):  # fmt: skip
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
                         amsgrad=amsgrad)  # fmt: skip


class NpuFusedAdamW(_Fused, torch.optim.AdamW):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2,
                 amsgrad=False):  # fmt: skip
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
                         amsgrad=amsgrad)  # fmt: skip
