"""A stand-in for AMCT for ONNX: convert_qat_model as the manual describes it, strictly.

The manual: models of QuantizeLinear and DequantizeLinear in pairs of equal factors, per channel for
weights only; writes PREFIX_deploy_model.onnx for ATC and PREFIX_fake_quant_model.onnx for ONNX
Runtime. Unconfirmed: what the deploy model looks like inside. Here the two operators are renamed,
which ONNX Runtime refuses and tests/fakes/atc understands.
"""

import os

import numpy as np
import onnx
from onnx import numpy_helper


def check_pairs(model):
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    if not quantizers:
        raise ValueError("no QuantizeLinear in the model")
    for node in quantizers:
        (partner,) = [one for one in model.graph.node if node.output[0] in one.input]
        if partner.op_type != "DequantizeLinear":
            raise ValueError(f"{node.name} has no DequantizeLinear behind it")
        for ours, theirs in zip(node.input[1:], partner.input[1:], strict=True):
            if not np.array_equal(constants[ours], constants[theirs]):
                raise ValueError(f"{node.name} and {partner.name} have different factors")
        if node.input[0] in constants:
            if np.any(constants[node.input[2]]):
                raise ValueError(f"{node.name}: the offset of weights must be 0")
        elif constants[node.input[1]].ndim:
            raise ValueError(f"{node.name}: only weights may be quantised per channel")
        if constants[node.input[2]].dtype != np.int8:
            raise ValueError(f"{node.name}: expected int8")
    fakes = {node.output[0] for node in quantizers}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] not in fakes:
            raise ValueError(f"{node.name} has no QuantizeLinear in front of it")


def convert_qat_model(model_file, save_path, record_file=None):
    if not isinstance(model_file, str) or not isinstance(save_path, str):
        raise TypeError("model_file and save_path must be strings")
    model = onnx.load(model_file)
    check_pairs(model)
    os.makedirs(os.path.dirname(save_path) or ".", exist_ok=True)
    onnx.save(model, f"{save_path}_fake_quant_model.onnx")
    for node in model.graph.node:
        node.op_type = {"QuantizeLinear": "AscendQuant", "DequantizeLinear": "AscendDequant"}.get(
            node.op_type, node.op_type
        )
    onnx.save(model, f"{save_path}_deploy_model.onnx")
