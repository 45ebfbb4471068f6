"""Build the network of an ONNX file of ours: the shipped models come as ONNX alone.

The batch norms are folded into the convolutions there. What they were (15 KB) travels in the file's
metadata, so that the trained network can be rebuilt, to train on or to export again.
"""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from adnet.errors import ModelError
from adnet.models.architecture import DILATIONS
from adnet.models.card import ModelCard
from adnet.models.network import ADNet, fold_batch_norm
from adnet.models.onnx_check import check_weights, norms_of
from adnet.models.onnx_file import read_onnx


def norms_text(network: ADNet) -> str:
    """Serialise the batch norms of a network for an ONNX file's metadata.

    Returns:
        Base64 of little-endian float32, (15 layers, 4, 64): weight, bias, running mean, running
        variance.
    """
    layers = [_norm(network, index) for index in range(1, len(DILATIONS))]
    values = torch.stack([torch.stack(_parts(layer)) for layer in layers])
    return base64.b64encode(values.detach().cpu().numpy().astype("<f4").tobytes()).decode()


def load_onnx_checkpoint(path: Path) -> tuple[ADNet, ModelCard]:
    """Build the network of an ONNX file as it was trained, equal to 1e-6, in evaluation mode.

    Raises:
        ModelError: as `load_onnx_network`; or the batch norms are missing or are not those of the
            graph.
    """
    model = read_onnx(path)
    folded, card = _build(model, path)
    norms = norms_of(model, path)
    if norms is None:
        raise ModelError(
            f"{path}: the trained network cannot be rebuilt from this file, which lacks its batch "
            "norms (an older adnet-export made it). Give the checkpoint."
        )
    network = ADNet(card.channels).eval()
    rest = {
        name: value for name, value in folded.state_dict().items()
        if name.startswith(("conv1_16", "conv3"))
    }  # fmt: skip
    network.load_state_dict(rest, strict=False)
    for index, values in enumerate(torch.from_numpy(norms), start=1):
        source, target = _layer(folded, index), _layer(network, index)
        norm = _norm(network, index)
        with torch.no_grad():
            for part, value in zip(_parts(norm), values, strict=True):
                part.copy_(value)
            weight, _, _, variance = values.double()
            gain = weight / torch.sqrt(variance + norm.eps)
            planes = gain[:, None, None, None]
            target.weight.copy_(torch.where(planes == 0, 0.0, source.weight / planes))
    return network, card


def load_onnx_network(path: Path) -> tuple[ADNet, ModelCard]:
    """Build the network of an ONNX file, batch norms folded as they are there.

    Raises:
        ModelError: the file is damaged, or no float32 ADNet that adnet-export made.
    """
    return _build(read_onnx(path), path)


def _build(model: onnx.ModelProto, path: Path) -> tuple[ADNet, ModelCard]:
    """Build the folded network; `path` is for the messages."""
    card = check_weights(model, path)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    network = fold_batch_norm(ADNet(card.channels).eval())
    targets = [_layer(network, index) for index in range(1, len(DILATIONS) + 1)]
    targets.append(network.conv3)
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


def _norm(network: ADNet, index: int) -> nn.BatchNorm2d:
    norm = network.get_submodule(f"conv1_{index}.1")
    assert isinstance(norm, nn.BatchNorm2d)  # by construction
    return norm


def _parts(norm: nn.BatchNorm2d) -> list[torch.Tensor]:
    assert norm.running_mean is not None  # statistics are tracked
    assert norm.running_var is not None
    return [norm.weight, norm.bias, norm.running_mean, norm.running_var]


def _not_adnet(path: Path, expected: str, got: object) -> ModelError:
    return ModelError(
        f"{path}: PyTorch takes float32 ADNets only; expected {expected}, got {got}. Give the "
        "checkpoint, or another export of it; of an int8 file, the float model that it was made "
        "from."
    )
