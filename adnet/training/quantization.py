"""Begin an int8 network from a float one: balanced channels, and scales of least squared error.

Training (`--quantize int8`) goes on from here; without it this is what calibration can do.

Between two layers the channels are balanced first: what comes out of a channel is divided by a
factor that the next layer multiplies back (exact, because of the ReLU), so that channels of small
values do not drown in the steps of the large ones. The factor is sqrt(largest value of the channel
/ largest weight on it): Xiao et al., "SmoothQuant", ICML 2023, equation 4, alpha 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from adnet.models.architecture import DILATIONS
from adnet.models.network import ADNet, fold_batch_norm
from adnet.models.quantized import LARGEST_INPUT, QuantizedADNet, QuantizedConv2d

_CANDIDATES = 60
"""Scales tried, from that of the largest value down to a fifth of it."""

_SAMPLE = 200_000
"""Values of a layer that the search for its scale looks at."""

_TINY = 1e-6

_SCALES_TIMES = 10.0
"""Rate of the (logarithms of the) scales, as a multiple of the weights'."""


@torch.no_grad()
def quantized_from(network: ADNet, noisy: Sequence[Tensor], weight_bits: int) -> QuantizedADNet:
    """Quantise a float network as well as is possible without training.

    Args:
        network: in evaluation mode; unchanged.
        noisy: batches (N, C, H, W) like those that it will see, on its device.
        weight_bits: 7 or 8.

    Returns:
        The quantised network, in evaluation mode, on the same device.
    """
    folded = fold_batch_norm(network)
    _balance(folded, noisy)
    quantized = QuantizedADNet(network.channels, weight_bits).eval().to(noisy[0].device)
    quantized.load_folded(folded)
    values = _inputs(folded, noisy)
    for layer, (_, sample) in zip(quantized.quantized_layers(), values, strict=True):
        scale = _best_scale(sample[None], 0, LARGEST_INPUT)
        layer.log_input_scale.copy_(scale[0].log())
        rows = layer.weight.flatten(1)
        layer.log_weight_scale.copy_(_best_scale(rows, -layer.largest, layer.largest).log())
    return quantized


def parameter_groups(network: ADNet) -> list[dict[str, Any]]:
    """Group the parameters of an int8 network: its scales are learned at a rate of their own.

    Returns:
        Groups for an optimiser; `times` is what a group's rate is multiplied by. Empty for a float
        network.
    """
    scales = [scale for one in network.modules() if isinstance(one, QuantizedConv2d)
              for scale in (one.log_input_scale, one.log_weight_scale)]  # fmt: skip
    if not scales:
        return []
    own = set(map(id, scales))
    weights = [one for one in network.parameters() if id(one) not in own]
    return [{"params": weights}, {"params": scales, "times": _SCALES_TIMES, "weight_decay": 0.0}]


def _convolutions(folded: ADNet) -> list[nn.Conv2d]:
    """List conv1_1 .. conv1_16."""
    layers = [folded.get_submodule(f"conv1_{index}.0") for index in range(1, len(DILATIONS))]
    return [cast("nn.Conv2d", layer) for layer in [*layers, folded.conv1_16]]


def _inputs(folded: ADNet, noisy: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Run the batches through and look at the inputs of conv1_2 .. conv1_16.

    Returns:
        For each the largest value of every channel, and a sample of all values with the largest.
    """
    found: list[tuple[Tensor, Tensor]] = []
    features = torch.cat(list(noisy))
    for index in range(1, len(DILATIONS)):
        features = torch.cat([folded.get_submodule(f"conv1_{index}")(one)
                              for one in torch.split(features, len(noisy[0]))])  # fmt: skip
        largest = features.amax((0, 2, 3))
        every = max(1, features.numel() // _SAMPLE)
        found.append((largest, torch.cat([features.flatten()[::every], largest])))
    return found


@torch.no_grad()
def _balance(folded: ADNet, noisy: Sequence[Tensor]) -> None:
    layers = _convolutions(folded)
    inputs = _inputs(folded, noisy)
    for before, after, (largest, _) in zip(layers, layers[1:], inputs, strict=False):
        on_it = after.weight.abs().amax((0, 2, 3))
        factor = (largest.clamp_min(_TINY) / on_it.clamp_min(_TINY)).sqrt()
        # A channel that is always 0, or that nothing uses, is left alone.
        factor[(largest <= _TINY) | (on_it <= _TINY)] = 1
        factor /= factor.log().mean().exp()
        before.weight.div_(factor[:, None, None, None])
        assert before.bias is not None  # folded
        before.bias.div_(factor)
        after.weight.mul_(factor[None, :, None, None])


def _best_scale(rows: Tensor, low: int, high: int) -> Tensor:
    """Find the scale of least squared rounding error for every row, (rows,)."""
    largest = rows.abs().amax(1).clamp_min(_TINY)
    best = largest / high
    least = torch.full_like(best, torch.inf)
    for share in torch.linspace(1, 0.2, _CANDIDATES).tolist():
        scale = largest * share / high
        levels = (rows / scale[:, None]).round_().clamp_(low, high)
        error = (levels * scale[:, None] - rows).square_().mean(1)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best
