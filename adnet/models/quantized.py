"""ADNet as it computes in int8, imitated in float: to train its scales, and to export them.

In 8 bits are the weights (signed, a scale per output channel) and the inputs (unsigned, zero point
0, after the ReLU) of conv1_2 .. conv1_16: 99.5 % of the arithmetic. conv1_1, the noise that
conv1_16 gives, the attention and the residual stay in float. Quantising before the ReLU, too, costs
0.1 dB; conv1_1 or the noise in 8 bits gains no time.

Scales are stored as their logarithms: they stay positive, and a step of training changes each in
proportion to its size. Their gradients are those of Esser et al., "Learned step size quantization",
ICLR 2020, section 2.1 (the rounding passes gradients on, values beyond the range do not).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from adnet.models.architecture import DILATIONS, WEIGHT_BITS
from adnet.models.network import ADNet, fold_batch_norm

LARGEST_INPUT = 255
"""Inputs have 8 bits, unsigned."""

_MARK = "largest_weight"
"""Buffer that tells an int8 state dict from others: 63 or 127."""


class QuantizedConv2d(nn.Conv2d):
    """A convolution of non-negative inputs whose inputs and weights are rounded to integers.

    The integers themselves are convolved, and the result is scaled: under autocast they are exact
    in bfloat16, which scaled values are not.
    """

    def __init__(self, like: nn.Conv2d, largest: int) -> None:
        super().__init__(
            like.in_channels, like.out_channels, 3, padding=cast("int", like.padding),
            dilation=cast("int", like.dilation), bias=like.bias is not None,
        )  # fmt: skip
        self.largest = largest
        self.log_input_scale = nn.Parameter(torch.zeros(()))
        self.log_weight_scale = nn.Parameter(torch.zeros(like.out_channels))

    def integers(self) -> Tensor:
        """Return the weights as whole numbers in -largest .. largest (float tensor)."""
        scale = self.log_weight_scale.exp()[:, None, None, None]
        return cast("Tensor", _RoundWithin.apply(self.weight / scale, -self.largest, self.largest))  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W), all values at least 0."""
        input_scale = self.log_input_scale.exp()
        levels = _RoundWithin.apply(x / input_scale, 0, LARGEST_INPUT)  # type: ignore[no-untyped-call]
        sums = self._conv_forward(levels, self.integers(), None)
        scale = (input_scale * self.log_weight_scale.exp())[:, None, None]
        scaled: Tensor = sums.to(x.dtype) * scale
        return scaled if self.bias is None else scaled + self.bias[:, None, None]


class _RoundWithin(torch.autograd.Function):
    """Round and clip; gradients pass where nothing was clipped."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward((value >= low) & (value <= high))
        return value.round().clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None


class QuantizedADNet(ADNet):
    """ADNet with folded batch norms that rounds as the int8 model does.

    Args:
        weight_bits: 7 or 8, see `WEIGHT_BITS`.

    Raises:
        ValueError: channels or bits that do not exist.
    """

    def __init__(self, channels: int, weight_bits: int) -> None:
        super().__init__(channels)
        if weight_bits not in WEIGHT_BITS:
            raise ValueError(f"QuantizedADNet: weight bits must be 7 or 8, got {weight_bits}")
        folded = fold_batch_norm(ADNet(channels).eval())
        largest = 2 ** (weight_bits - 1) - 1
        self.register_buffer(_MARK, torch.tensor(largest, dtype=torch.int32))
        self.weight_bits = weight_bits
        for index in range(1, len(DILATIONS)):
            conv, relu = cast("nn.Sequential", folded.get_submodule(f"conv1_{index}"))
            if index > 1:
                conv = QuantizedConv2d(cast("nn.Conv2d", conv), largest)
            setattr(self, f"conv1_{index}", nn.Sequential(conv, relu))
        self.conv1_16 = QuantizedConv2d(self.conv1_16, largest)
        self.requires_grad_()  # folding makes biases that do not

    def quantized_layers(self) -> Iterator[QuantizedConv2d]:
        """Yield conv1_2 .. conv1_16 in order."""
        for module in self.modules():
            if isinstance(module, QuantizedConv2d):
                yield module

    def load_folded(self, network: ADNet) -> None:
        """Take the weights of a float network over; the scales stay what they are.

        Args:
            network: in evaluation mode.
        """
        self.load_state_dict(self.state_dict() | fold_batch_norm(network).state_dict())

    def to_float(self) -> ADNet:
        """Return a float network with the rounded weights, batch norms folded."""
        network = fold_batch_norm(ADNet(self.channels).eval())
        state = network.state_dict()
        own = self.state_dict()
        layers = {name: one for name, one in self.named_modules() if name}
        for name in state:
            layer = layers[name.rpartition(".")[0]]
            if isinstance(layer, QuantizedConv2d) and name.endswith("weight"):
                scale = layer.log_weight_scale.exp()[:, None, None, None]
                state[name] = (layer.integers() * scale).detach()
            else:
                state[name] = own[name]
        network.load_state_dict(copy.deepcopy(state))
        return network


def weight_bits_of(state: Mapping[str, Tensor]) -> int | None:
    """Tell the weight bits of an int8 state dict; None for a float one, or one with other bits."""
    mark = state.get(_MARK)
    known = {2 ** (bits - 1) - 1: bits for bits in WEIGHT_BITS}
    return None if mark is None or mark.numel() != 1 else known.get(int(mark))
