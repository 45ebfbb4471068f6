"""Variants of an exported model: float16 arithmetic, and 8-bit pixels in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from adnet.errors import ExportError
from adnet.models.card import ModelCard
from adnet.models.onnx_file import metadata_of, read_onnx, set_metadata

_LARGEST_HALF = 65504.0
_LEAST_OPSET = 11  # Clip with inputs, Round


def to_half(source: Path, target: Path, *, keep_float_io: bool) -> None:
    """Convert weights and arithmetic to float16.

    Args:
        keep_float_io: leave input and output float32, with casts inside.

    Raises:
        ExportError: a weight is beyond float16's range, or the conversion failed.
    """
    from onnxruntime.transformers.float16 import (  # noqa: PLC0415  (imports onnx)
        convert_float_to_float16,
    )
    from onnxruntime.transformers.onnx_model import OnnxModel  # noqa: PLC0415

    model = read_onnx(source)
    for tensor in model.graph.initializer:
        largest = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0))
        if largest > _LARGEST_HALF:
            raise ExportError(
                f"{tensor.name} holds {largest:.3g}, which float16 cannot (up to "
                f"{_LARGEST_HALF:g}). Export with --precision fp32."
            )
    card = ModelCard.from_metadata(metadata_of(model), str(source))
    half = convert_float_to_float16(
        model, keep_io_types=keep_float_io, disable_shape_infer=False, min_positive_val=6e-8
    )
    OnnxModel(half).topological_sort()  # the casts at the borders were put at the end
    set_metadata(half, card.to_metadata(precision="fp16"))
    onnx.checker.check_model(half)
    onnx.save(half, str(target))


def with_8_bit_io(source: Path, target: Path) -> None:
    """Let a model take and give uint8: scaling, rounding and clipping move into the graph.

    The result equals the float path on 8-bit images: x / 255 in, round(255 y) clipped out.

    Raises:
        ExportError: the opset is too old.
    """
    model = read_onnx(source)
    graph = model.graph
    opset = model.opset_import[0].version
    if opset < _LEAST_OPSET:
        raise ExportError(
            f"--io uint8 needs opset {_LEAST_OPSET} or newer, this model has {opset}."
        )
    image, denoised = graph.input[0], graph.output[0]
    if image.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise ExportError("--io uint8: the model's own input must be float32.")
    inner_in, inner_out = f"{image.name}_float", f"{denoised.name}_float"
    for node in graph.node:
        node.input[:] = [inner_in if name == image.name else name for name in node.input]
        node.output[:] = [inner_out if name == denoised.name else name for name in node.output]
        node.input[:] = [inner_out if name == denoised.name else name for name in node.input]
    constants = {"adnet_white": 255.0, "adnet_black": 0.0}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in constants.items()
    )
    before = [
        helper.make_node("Cast", [image.name], ["adnet_levels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["adnet_levels", "adnet_white"], [inner_in]),
    ]
    after = [
        helper.make_node("Mul", [inner_out, "adnet_white"], ["adnet_scaled"]),
        helper.make_node("Round", ["adnet_scaled"], ["adnet_rounded"]),
        helper.make_node(
            "Clip", ["adnet_rounded", "adnet_black", "adnet_white"], ["adnet_clipped"]
        ),
        helper.make_node("Cast", ["adnet_clipped"], [denoised.name], to=TensorProto.UINT8),
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in (image, denoised):
        value.type.tensor_type.elem_type = TensorProto.UINT8
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
