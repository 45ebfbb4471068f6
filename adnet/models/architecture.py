"""The shape of ADNet as plain numbers, for code that must not import torch.

Source: Tian, Xu, Li, Zuo, Fei, Liu, "Attention-guided CNN for image denoising",
Neural Networks 124 (2020), section 3, and the parameter names of the published checkpoints.
"""

from __future__ import annotations

FEATURES = 64
"""Feature maps between the hidden layers."""

DILATIONS = (1, 2, 1, 1, 2, 1, 1, 1, 2, 1, 1, 2, 1, 1, 1, 1)
"""Dilation rate of the 3x3 convolutions conv1_1 .. conv1_16 (layers 2, 5, 9 and 12 are dilated)."""

SPARSE_LAYERS = 12
"""conv1_1 .. conv1_12 are the sparse block (SB); the other 3x3 layers are the FEB."""

WEIGHT_BITS = (7, 8)
"""Bits that the weights of an int8 model may have. x86 processors without VNNI add two products in
16 bits, which weights of 8 bits overflow; with 7 bits the result is the same everywhere."""

CONVOLUTIONS = len(DILATIONS) + 1
"""The 3x3 layers and the 1x1 convolution of the attention block."""

RECEPTIVE_RADIUS = sum(DILATIONS)
"""Pixels to each side of an output pixel that can change it: a 3x3 layer adds its dilation."""


def flops(height: int, width: int, channels: int) -> int:
    """Count the multiply-adds of one image, times two.

    Biases, activations and the attention's elementwise work are left out (under 0.1 %).
    """
    hidden = (len(DILATIONS) - 2) * 9 * FEATURES * FEATURES
    ends = 2 * 9 * channels * FEATURES
    attention = 2 * channels * channels
    return 2 * height * width * (hidden + ends + attention)
