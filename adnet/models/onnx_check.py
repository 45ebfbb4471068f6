"""Check that the weights in an ONNX file of ours are those that its card was written for.

The graph holds the convolutions with the batch norms folded in, the metadata the card and what the
batch norms were: a file in which one was changed without the other does not agree. Needs onnx, but
no torch.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from adnet.errors import ModelError
from adnet.models.architecture import CONVOLUTIONS, DILATIONS, FEATURES
from adnet.models.card import NORMS_KEY, ModelCard
from adnet.models.onnx_file import metadata_of

NORM_EPS = 1e-5
"""PyTorch's BatchNorm2d adds it to the variance."""

_NORMS_SHAPE = (len(DILATIONS) - 1, 4, FEATURES)
_AGREEMENT = 1e-3
"""Largest difference, relative to their size, between the biases in the graph and those that the
batch norms give: folding rounds to 1e-6."""


def norms_of(model: onnx.ModelProto, path: Path) -> NDArray[np.float32] | None:
    """Return the batch norms of a file's metadata; None where it has none.

    Returns:
        (15 layers, 4, 64): weight, bias, running mean, running variance.

    Raises:
        ModelError: they are damaged.
    """
    text = metadata_of(model).get(NORMS_KEY)
    if text is None:
        return None
    try:
        raw = base64.b64decode(text, validate=True)
        return np.frombuffer(raw, "<f4").reshape(_NORMS_SHAPE).astype(np.float32)
    except (ValueError, binascii.Error) as err:
        raise ModelError(
            f"{path}: the batch norms in its metadata are damaged. Give the checkpoint."
        ) from err


def check_weights(model: onnx.ModelProto, path: Path) -> ModelCard:
    """Make sure that card, batch norms and weights go together; returns the card.

    Of variants, as far as they have them: float16 and int8 files keep no batch norms.

    Args:
        path: for the messages.

    Raises:
        ModelError: there is no card, or the file was changed.
    """
    card = ModelCard.from_metadata(metadata_of(model), str(path), "Or give the checkpoint itself.")
    convolutions = _convolutions(model)
    for name, values in convolutions:
        for value in values:
            if value is not None and not np.isfinite(value).all():
                raise ModelError(f"{path}: {name} holds nan or inf; the file was changed.")
    if len(convolutions) != CONVOLUTIONS:
        raise ModelError(
            f"{path}: expected {CONVOLUTIONS} convolutions, got {len(convolutions)}; this is no "
            "ADNet. Give the checkpoint."
        )
    first = convolutions[0][1][0]
    if first is not None and first.shape[1:2] != (card.channels,):
        raise ModelError(
            f"{path}: the card says {card.channels} channels, the network has {first.shape[1]}; "
            "the file was changed. Give the checkpoint."
        )
    norms = norms_of(model, path)
    if norms is None:
        return card
    for index, (values, (_, weights)) in enumerate(zip(norms, convolutions, strict=False), 1):
        weight, bias, mean, variance = values.astype(np.float64)
        found = weights[1] if len(weights) > 1 else None
        with np.errstate(invalid="ignore"):  # nan agrees with nothing
            expected = bias - mean * weight / np.sqrt(variance + NORM_EPS)
        if found is None or found.shape != expected.shape or not (
            np.abs(expected - found).max() <= _AGREEMENT * (1 + np.abs(found).max())
        ):  # fmt: skip
            raise ModelError(
                f"{path}: the batch norms in its metadata are not those of its layer "
                f"conv1_{index}; the file was changed. Give the checkpoint."
            )
    return card


def _convolutions(model: onnx.ModelProto) -> list[tuple[str, list[NDArray[np.float64] | None]]]:
    """Return names, and weights and biases, in order; None where they are no constants."""
    constants = {
        one.name: numpy_helper.to_array(one).astype(np.float64) for one in model.graph.initializer
    }
    for node in model.graph.node:  # the exporter shares equal weights so
        if node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    return [
        (node.name, [constants.get(name) for name in node.input[1:]])
        for node in model.graph.node if node.op_type == "Conv"
    ]  # fmt: skip
