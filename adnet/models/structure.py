"""Check that an ONNX graph still is ADNet: dilations and attention intact."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from adnet.errors import ParityError
from adnet.models.architecture import CONVOLUTIONS, DILATIONS


def check_structure(model: onnx.ModelProto) -> None:  # noqa: C901  (a list of checks)
    """Follow the graph from its input to its output and compare it with ADNet's.

    Expected: conv1_1 .. conv1_16 with their dilations, a Relu after each but the last; then
    Concat(image, noise) -> Tanh -> 1x1 Conv -> Mul(noise) -> Sub from the image. One opset domain.

    Raises:
        ParityError: naming the first difference.
    """
    domains = [entry.domain or "ai.onnx" for entry in model.opset_import]
    if domains != ["ai.onnx"]:
        raise ParityError(f"the graph must use the opset domain ai.onnx alone, it uses {domains}.")
    graph = model.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise ParityError(
            f"the graph must have one input and one output, it has {len(graph.input)} and "
            f"{len(graph.output)}."
        )
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    if len(convolutions) != CONVOLUTIONS:
        raise ParityError(f"expected {CONVOLUTIONS} Conv nodes, got {len(convolutions)}.")

    follow = _Walk(graph)
    image = value = graph.input[0].name
    for index, dilation in enumerate(DILATIONS, start=1):
        node, value = follow.step(value, "Conv", f"conv1_{index}")
        found = _ints(node, "dilations", [1, 1])
        if found != [dilation, dilation]:
            raise ParityError(
                f"conv1_{index}: expected dilations [{dilation}, {dilation}], got {found}."
            )
        if index < len(DILATIONS):
            _, value = follow.step(value, "Relu", f"conv1_{index}")
    noise = value
    concat, value = follow.step(noise, "Concat", "attention block")
    if list(concat.input) != [image, noise]:
        raise ParityError(f"attention block: Concat joins {list(concat.input)}, not image, noise.")
    _, value = follow.step(value, "Tanh", "attention block")
    node, attention = follow.step(value, "Conv", "attention block (conv3)")
    if (kernel := _ints(node, "kernel_shape", [1, 1])) != [1, 1]:
        raise ParityError(f"conv3: expected kernel [1, 1], got {kernel}.")
    multiply, value = follow.step(attention, "Mul", "attention block")
    if set(multiply.input) != {attention, noise}:
        raise ParityError("attention block: Mul does not multiply the attention and the noise.")
    subtract, value = follow.step(value, "Sub", "reconstruction block")
    if list(subtract.input) != [image, multiply.output[0]]:
        raise ParityError("reconstruction block: Sub does not take the noise from the image.")
    if value != graph.output[0].name:
        raise ParityError(f"the output is {graph.output[0].name}, expected {value}.")
    constants = {tensor.name for tensor in graph.initializer}
    # The exporter shares equal weights through Identity nodes; onnxsim removes them.
    others = [n for n in graph.node if n.op_type != "Identity" or n.input[0] not in constants]
    if follow.visited != len(others):
        extra = len(others) - follow.visited
        raise ParityError(f"the graph has {extra} nodes that ADNet does not have.")


def without_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose quantised values are plain again, to look at its structure.

    Weights and biases lose their values: only names are left of them.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    kinds = ("QuantizeLinear", "DequantizeLinear")
    source = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type in kinds}
    nodes = [node for node in plain.graph.node if node.op_type not in kinds]
    for node in nodes:
        for place, value in enumerate(node.input):
            while value in source:
                value = source[value]  # noqa: PLW2901
            node.input[place] = value
    del plain.graph.node[:]
    plain.graph.node.extend(nodes)
    return plain


class _Walk:
    """Steps from a value to its consumer of a given type, counting the nodes."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._nodes = graph.node
        self.visited = 0

    def step(self, value: str, op_type: str, where: str) -> tuple[onnx.NodeProto, str]:
        consumers = [node for node in self._nodes if value in node.input]
        fitting = [node for node in consumers if node.op_type == op_type]
        if len(fitting) != 1:
            found = ", ".join(node.op_type for node in consumers) or "nothing"
            raise ParityError(f"{where}: expected one {op_type} after {value}, found {found}.")
        self.visited += 1
        return fitting[0], fitting[0].output[0]


def _ints(node: onnx.NodeProto, name: str, default: Sequence[int]) -> list[int]:
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.ints)
    return list(default)
