"""What learns: network, averaged network, optimiser and loss scale; one call is one step."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from adnet.device import compile_backend, require_precision
from adnet.models.checkpoint import Checkpoint
from adnet.models.network import ADNet, fold_batch_norm
from adnet.training.allocator import keep_freed_memory
from adnet.training.config import TrainConfig
from adnet.training.optimizer import load_optimizer_state, make_optimizer, zero_gradients
from adnet.training.precision import LossScaler, autocast, set_hf32
from adnet.training.quantization import parameter_groups
from adnet.training.sync_norm import synchronise_norms
from adnet.training.world import World


class Learner:
    """The state of a run that steps change; the same in every worker.

    Args:
        start: weights to begin with; None begins from scratch, decided by `config.seed`.
        teacher: a network to learn from beside the clean image: its result is a second target.
    """

    def __init__(
        self,
        config: TrainConfig,
        world: World,
        start: Checkpoint | None,
        teacher: ADNet | None = None,
    ) -> None:
        self._config, self._world = config, world
        set_hf32(world.device, config.hf32)
        require_precision(world.device, config.precision)
        compiler = compile_backend(world.device) if config.compile else None
        torch.manual_seed(config.seed)
        self.averaged = start.network if start is not None else ADNet(config.channels)
        self.averaged.to(world.device).eval()
        # channels_last is what a GPU's tensor cores want; on a CPU it is a fifth faster with batch
        # 64, and as fast with batch 8. NPUs keep formats of their own behind contiguous tensors.
        self._memory_format = (
            torch.contiguous_format if world.device.type == "npu" else torch.channels_last
        )
        if world.device.type == "cpu":
            keep_freed_memory()
        self.network = copy.deepcopy(self.averaged).train()
        self.network.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        self._teacher: Any = None
        if teacher is not None:
            self._teacher = fold_batch_norm(teacher).to(world.device)
            self._teacher.to(memory_format=self._memory_format)
        if config.freeze_norm:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        elif world.size > 1:
            synchronise_norms(self.network, compiled=config.compile)
        self._parameters = list(self.network.parameters())
        self._optimizer = make_optimizer(
            config, parameter_groups(self.network) or self._parameters, world.device
        )
        self.scaler = LossScaler(config.loss_scale) if config.precision == "fp16" else None
        self._forward: Any = self.network
        if compiler is not None:
            self._forward = torch.compile(self.network, backend=compiler)
        self.step = 0
        self.learned = 0
        """Steps that the weights have learned from: neither skipped nor taken back."""

    def learn(self, noisy: Tensor, clean: Tensor, lr: float) -> Tensor:
        """Take one step on this worker's share of a batch.

        Args:
            noisy, clean: (N, C, H, W) in [0, 1], of the default dtype; the noise may overshoot.

        Returns:
            The mean squared error of the share, on the device; nothing waits for it.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = lr * group.get("times", 1.0)
        noisy = noisy.contiguous(memory_format=self._memory_format)
        if self._teacher is not None:
            # Where it is all there is to learn from, its own rounding would be learned, too.
            precision = "fp32" if self._config.loss == "twin" else self._config.precision
            with torch.no_grad(), autocast(self._world.device, precision):
                target = self._teacher(noisy).to(clean.dtype)
        with autocast(self._world.device, self._config.precision):
            denoised = self._forward(noisy).to(clean.dtype)
        error = loss = nn.functional.mse_loss(denoised, clean)
        if self._teacher is not None:
            if self._config.loss == "twin":
                loss = (level_weights(noisy, clean) * (denoised - target).square()).mean()
            else:
                loss = loss + nn.functional.mse_loss(denoised, target)
        if self._config.loss == "sum":  # the published loss: over a patch's values, halved
            loss = loss * (clean[0].numel() / 2)
        zero_gradients(self._optimizer)
        (loss if self.scaler is None else loss * self.scaler.scale).backward()  # type: ignore[no-untyped-call]
        if self._gradients_are_usable():
            if self._config.clip_norm is not None:
                nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
            self._optimizer.step()
            self.learned += 1
            decay = min(self._config.ema, (self.step + 1) / (self.step + 11))
            _average(self.averaged, self.network, decay)
        self.step += 1
        return error.detach()

    def _gradients_are_usable(self) -> bool:
        """Average the gradients over the workers and unscale them; false when the step is off."""
        gradients = [parameter.grad for parameter in self._parameters]
        found = [gradient for gradient in gradients if gradient is not None]
        own = found[0].new_zeros(2) if self.scaler is None else self.scaler.inspect(found)
        total = _average_over_workers(found, own, self._world)
        if self.scaler is None:
            return True
        overflowed, vanished = (count > 0 for count in total.tolist())
        usable = self.scaler.update(overflowed=overflowed, vanished=vanished)
        if usable:
            torch._foreach_mul_(found, 1 / self.scaler.used)
        return usable

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that steps change."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "learned": self.learned,
        }
        return copy.deepcopy(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state; the number of steps taken stays as it is."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        load_optimizer_state(self._optimizer, state["optimizer"])
        self.learned = state.get("learned", 1)  # not counted by 0.2.0
        if self.scaler is not None and state["scaler"] is not None:
            self.scaler.load_state_dict(state["scaler"])


@torch.no_grad()
def level_weights(noisy: Tensor, clean: Tensor) -> Tensor:
    """Weigh patches so that a decibel counts about alike at every noise level.

    The squared error that a blind ADNet leaves grows about as its noise level: on six images held
    out of BSD432, gray-blind has 38.2, 33.0, 30.6 and 27.5 dB at sigma 5, 15, 25 and 50.

    Args:
        noisy, clean: (N, C, H, W) in [0, 1].

    Returns:
        (N, 1, 1, 1): 1 at sigma 25, 3 at 5, 6 without noise.
    """
    sigma = 255 * (noisy - clean).square().mean((1, 2, 3), keepdim=True).sqrt()
    return 30 / (sigma + 5)


@torch.no_grad()
def _average_over_workers(gradients: list[Tensor], own: Tensor, world: World) -> Tensor:
    """Replace gradients by their mean over the workers, and add up two numbers of each.

    One exchange for all: 2 MB for ADNet. Not DistributedDataParallel, because an overflow must be
    looked for before a mean hides it.
    """
    if world.size == 1:
        return own
    flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), own])
    world.sum(flat)
    means = torch.split(flat[:-2] / world.size, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))
    return flat[-2:]


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics towards the network's."""
    old, new = averaged.state_dict(), network.state_dict()
    for name, value in old.items():
        if value.is_floating_point():
            value.lerp_(new[name], 1 - decay)
        else:
            value.copy_(new[name])
