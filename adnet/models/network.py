"""ADNet as a PyTorch module, with the parameter names of the published checkpoints.

Tian et al., "Attention-guided CNN for image denoising", Neural Networks 2020, section 3:

    SB   conv1_1  .. conv1_12   sparse block: 3x3 layers, of which 2, 5, 9 and 12 are dilated
    FEB  conv1_13 .. conv1_16   feature enhancement block; the last layer returns to the image
    AB   conv3                  attention block: 1x1 over tanh of image and features, times features
    RB                          reconstruction block: image minus the attended noise
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from adnet.models.architecture import DILATIONS, FEATURES


def _hidden_layer(inputs: int, dilation: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, FEATURES, 3, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(FEATURES), nn.ReLU(inplace=True))


class ADNet(nn.Module):
    """The attention-guided denoising network.

    Args:
        channels: 1 for gray, 3 for colour (RGB everywhere in this package).

    Raises:
        ValueError: `channels` is neither 1 nor 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise ValueError(f"ADNet: channels must be 1 or 3, got {channels}")
        self.channels = channels
        for index, dilation in enumerate(DILATIONS[:-1], start=1):
            inputs = channels if index == 1 else FEATURES
            self.add_module(f"conv1_{index}", _hidden_layer(inputs, dilation))
        self.conv1_16 = nn.Conv2d(FEATURES, channels, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(2 * channels, channels, 1)
        self._initialise()

    def _initialise(self) -> None:
        """Start as almost the identity.

        Kaiming for the hidden layers; a small last layer and an attention of one (weight 0,
        bias 1), so that the first predicted noise is small. Batch-norm weights start at 0.06, the
        spread of the published (random) ones: Adam then changes them, relative to their size, 16
        times as fast as weights of 1. Measured after 250 steps of batch 8: mean loss 0.0032 from
        here, 0.0032 from the published start, 0.0048 from weights of 1.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, 0.06)
        with torch.no_grad():
            self.conv1_16.weight.mul_(0.1)
            self.conv3.weight.zero_()
            nn.init.ones_(self._attention_bias())

    def _attention_bias(self) -> Tensor:
        bias = self.conv3.bias
        assert bias is not None  # built with bias=True above; the annotation is Optional
        return bias

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise a batch.

        Args:
            noisy: (N, channels, H, W), nominal range [0, 1]; values outside are allowed.

        Returns:
            The denoised batch, same shape; not clipped.
        """
        features = noisy
        for index in range(1, len(DILATIONS)):
            features = getattr(self, f"conv1_{index}")(features)
        noise = self.conv1_16(features)
        attention = self.conv3(torch.tanh(torch.cat([noisy, noise], dim=1)))
        denoised: Tensor = noisy - attention * noise
        return denoised


def has_norms(network: ADNet) -> bool:
    """Tell whether the batch norms are still there, and not folded into the convolutions."""
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def fold_batch_norm(network: ADNet) -> ADNet:
    """Return a copy for inference whose batch norms are folded into the convolutions.

    Layers without a batch norm, as those of a network that is folded already, stay as they are.

    Raises:
        ValueError: the network is in training mode, where batch norm is no linear map.
    """
    if network.training:
        raise ValueError("fold_batch_norm: the network is in training mode; call .eval() first")
    folded = copy.deepcopy(network)
    for index in range(1, len(DILATIONS)):
        layer = folded.get_submodule(f"conv1_{index}")
        assert isinstance(layer, nn.Sequential)  # by construction
        if len(layer) == 2:
            continue
        conv, norm, relu = layer
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(conv, norm)
        setattr(folded, f"conv1_{index}", nn.Sequential(fused, relu))
    return folded


def parameter_count(network: nn.Module) -> int:
    """Count the trainable numbers (batch-norm statistics are not among them)."""
    return sum(math.prod(parameter.shape) for parameter in network.parameters())
