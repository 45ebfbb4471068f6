"""Take the weights out of an ONNX file of ours: the shipped models come as ONNX alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import nn

from adnet.architecture import CONVOLUTIONS, DILATIONS
from adnet.card import METADATA_KEY, ModelCard
from adnet.errors import ModelError
from adnet.model import ADNet, fold_batch_norm


def load_onnx_network(path: Path) -> tuple[ADNet, ModelCard]:
    """Build the network of an ONNX file, batch norms folded as they are there.

    Raises:
        ModelError: the file is damaged, or no float32 ADNet that adnet-export made.
    """
    try:
        model = onnx.load(str(path))
    except (DecodeError, OSError, ValueError) as err:
        raise ModelError(f"{path}: not an ONNX file, or a damaged one ({err}).") from err
    texts = [one.value for one in model.metadata_props if one.key == METADATA_KEY]
    if not texts:
        raise ModelError(
            f"{path}: has no model card, so it was not made by adnet-export. Export the checkpoint "
            "with 'adnet-export onnx', or give the checkpoint itself."
        )
    card = ModelCard.from_json(texts[0], str(path))
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    network = fold_batch_norm(ADNet(card.channels).eval())
    targets = [_layer(network, index) for index in range(1, len(DILATIONS) + 1)]
    targets.append(network.conv3)
    if len(convolutions) != CONVOLUTIONS:
        raise _not_adnet(path, f"{CONVOLUTIONS} convolutions", len(convolutions))
    for node, target in zip(convolutions, targets, strict=True):
        values = [constants.get(name) for name in node.input[1:]]
        expected = [one for one in (target.weight, target.bias) if one is not None]
        shapes = [None if value is None else value.shape for value in values]
        found = [None if value is None else f"{value.dtype} {value.shape}" for value in values]
        if shapes != [tuple(one.shape) for one in expected] or any(
            value.dtype != np.float32 for value in values if value is not None
        ):
            raise _not_adnet(path, f"float32 weights {[tuple(one.shape) for one in expected]} at "
                             f"{node.name}", found)  # fmt: skip
        with torch.no_grad():
            for parameter, value in zip(expected, values, strict=True):
                parameter.copy_(torch.from_numpy(np.array(value)))
    return network, card


def _layer(network: ADNet, index: int) -> nn.Conv2d:
    layer = network.get_submodule(f"conv1_{index}")
    conv = layer[0] if isinstance(layer, nn.Sequential) else layer
    assert isinstance(conv, nn.Conv2d)  # by construction
    return conv


def _not_adnet(path: Path, expected: str, got: object) -> ModelError:
    return ModelError(
        f"{path}: PyTorch takes float32 ADNets only; expected {expected}, got {got}. Give the "
        "checkpoint, or export it again with 'adnet-export onnx'."
    )
