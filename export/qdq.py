"""Write an int8 network's scales into the ONNX file of its float twin, as QDQ.

QDQ is ONNX's way of saying int8: what goes through a QuantizeLinear and a DequantizeLinear is in 8
bits, and a runtime fuses these with the convolution between them. Weights are stored in 8 bits and
biases in 32, each behind a DequantizeLinear. Inputs are quantised after the ReLU, which the runtime
then drops (zero point 0 clips as it does).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from adnet.errors import ExportError
from adnet.models.architecture import DILATIONS
from adnet.models.card import ModelCard
from adnet.models.onnx_file import metadata_of, read_onnx, set_metadata
from adnet.models.quantized import QuantizedADNet

LEAST_OPSET = 13
"""The first whose QuantizeLinear takes a scale per channel."""


def require_opset(model: ModelProto) -> None:
    """Make sure that a model can become int8.

    Raises:
        ExportError: its opset is too old.
    """
    opset = model.opset_import[0].version
    if opset < LEAST_OPSET:
        raise ExportError(f"int8 needs opset {LEAST_OPSET} or newer, this model has {opset}.")


def write_qdq(source: Path, target: Path, network: QuantizedADNet) -> None:
    """Turn a float32 ONNX file into an int8 one.

    Args:
        source: the export of any network of the same shape: only its graph is used, all weights
            and biases come from `network`.

    Raises:
        ExportError: the opset is too old.
    """
    model = read_onnx(source)
    require_opset(model)
    graph = model.graph
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    quantised = convolutions[1 : len(DILATIONS)]  # conv1_2 .. conv1_16
    first = network.get_submodule("conv1_1.0")
    for node, whole, name in (
        (convolutions[0], first, "conv1_1"), (convolutions[-1], network.conv3, "conv3"),
    ):  # fmt: skip
        parts = {f"{name}_weight": _array(whole.weight), f"{name}_bias": _array(whole.bias)}
        node.input[1:] = list(parts)
        graph.initializer.extend(numpy_helper.from_array(*one[::-1]) for one in parts.items())
    nodes = list(graph.node)
    for index, (node, layer) in enumerate(
        zip(quantised, network.quantized_layers(), strict=True), start=2
    ):
        name = f"conv1_{index}"
        input_scale = _array(layer.log_input_scale.exp())
        weight_scale = _array(layer.log_weight_scale.exp())
        constants: dict[str, NDArray[np.generic]] = {
            f"{name}_input_scale": input_scale,
            f"{name}_input_zero": np.array(0, np.uint8),
            f"{name}_weight_scale": weight_scale,
            f"{name}_weight_zero": np.zeros(len(weight_scale), np.int8),
            f"{name}_weight_int8": _array(layer.integers()).astype(np.int8),
        }
        pair = [f"{name}_input_scale", f"{name}_input_zero"]
        added = [
            helper.make_node("QuantizeLinear", [node.input[0], *pair], [f"{name}_levels"]),
            helper.make_node("DequantizeLinear", [f"{name}_levels", *pair], [f"{name}_input"]),
            helper.make_node(
                "DequantizeLinear",
                [f"{name}_weight_int8", f"{name}_weight_scale", f"{name}_weight_zero"],
                [f"{name}_weight"],
                axis=0,
            ),
        ]
        inputs = [f"{name}_input", f"{name}_weight"]
        if layer.bias is not None:
            bias_scale = input_scale * weight_scale
            levels = np.rint(_array(layer.bias).astype(np.float64) / bias_scale)
            limit = np.iinfo(np.int32)
            constants[f"{name}_bias_int32"] = np.clip(levels, limit.min, limit.max).astype(np.int32)
            constants[f"{name}_bias_scale"] = bias_scale
            constants[f"{name}_bias_zero"] = np.zeros(len(bias_scale), np.int32)
            triple = [f"{name}_bias_{part}" for part in ("int32", "scale", "zero")]
            added.append(helper.make_node("DequantizeLinear", triple, [f"{name}_bias"], axis=0))
            inputs.append(f"{name}_bias")
        node.input[:] = inputs
        place = nodes.index(node)
        nodes[place:place] = added
        graph.initializer.extend(
            numpy_helper.from_array(value, key) for key, value in constants.items()
        )
    used = {value for node in nodes for value in node.input}
    # The exporter shares equal values through Identity nodes; those of dropped ones go, too.
    nodes = [node for node in nodes if node.op_type != "Identity" or node.output[0] in used]
    used = {value for node in nodes for value in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    card = ModelCard.from_metadata(metadata_of(model), str(source))
    set_metadata(model, card.to_metadata(precision="int8"))
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def _array(tensor: object) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().cpu().numpy(), np.float32)  # type: ignore[attr-defined]
