"""Batch norm over the batch of all workers, on every kind of device.

torch.nn.SyncBatchNorm does not run on a CPU, and a norm over each worker's own share would make
the result depend on the number of workers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d, with the same parameters and names, over equal shares of a batch."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalise; in evaluation mode exactly as nn.BatchNorm2d."""
        if not self.training:
            return super().forward(features)
        result: Tensor
        result, mean, variance = _Normalise.apply(  # type: ignore[no-untyped-call]
            features, self.weight, self.bias, self.eps
        )
        assert self.running_mean is not None  # track_running_stats is on, momentum is a number
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        count = features.numel() // features.shape[1] * dist.get_world_size()
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return result


class _Normalise(torch.autograd.Function):
    """One exchange forward (means and variances), one backward (two sums a channel)."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        values = _widened(features)
        # Mean and variance of the shares are joined as Chan et al. (1979) do: no cancellation.
        variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
        workers = dist.get_world_size()
        shares = values.new_zeros(workers, 2, len(mean))
        shares[dist.get_rank()] = torch.stack([mean, variance])
        dist.all_reduce(shares)
        means, variances = shares.unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        inverse = torch.rsqrt(variance + eps)
        ctx.save_for_backward(features, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        scale = weight * inverse
        result = values * _planes(scale) + _planes(bias - mean * scale)
        return result.to(features.dtype), mean, variance

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor, *_unused: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        features, weight, mean, inverse = ctx.saved_tensors
        wide = _widened(gradient)
        normalised = (_widened(features) - _planes(mean)) * _planes(inverse)
        own = torch.stack([wide.sum((0, 2, 3)), (wide * normalised).sum((0, 2, 3))])
        total = own.clone()
        dist.all_reduce(total)
        count = features.numel() // features.shape[1] * dist.get_world_size()
        of_bias, of_weight = total / count
        result = (wide - _planes(of_bias) - normalised * _planes(of_weight)) * _planes(
            weight * inverse
        )
        # The parameters' own gradients stay this worker's: all gradients are averaged later.
        return result.to(gradient.dtype), own[1], own[0], None


def _widened(tensor: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _planes(channels: Tensor) -> Tensor:
    return channels[:, None, None]


def synchronise_norms(network: nn.Module, *, compiled: bool) -> None:
    """Turn every nn.BatchNorm2d into a SyncBatchNorm2d, in place; parameters stay the same.

    Args:
        compiled: the network goes through torch.compile, which must leave the exchanges alone.
    """
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d
            if compiled:
                exempt = torch.compiler.disable(module.forward)  # type: ignore[no-untyped-call]
                module.forward = exempt  # type: ignore[method-assign]
