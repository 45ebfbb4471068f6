"""Tell what a model file is, without running it: checkpoint, ONNX or OM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adnet.errors import ModelError, ParityError
from adnet.models.architecture import flops
from adnet.models.card import ModelCard
from adnet.models.files import kind_of_file
from adnet.models.om_file import read_om, sidecar_path

_GFLOP_SIZE = (321, 481)
"""Size for which the cost is computed, that of the BSD68 images."""


def inspect_file(path: Path) -> dict[str, Any]:
    """Return the facts of a model file, JSON types only; `kind` is checkpoint, onnx or om.

    The content decides what a file is, not its name.

    Raises:
        ModelError: the file is missing, damaged or something else.
    """
    kind = kind_of_file(path)
    if kind is None:
        raise ModelError(
            f"{path}: neither a checkpoint, nor ONNX, nor an OM, or a damaged one. Is it a model?"
        )
    read = {"checkpoint": _inspect_checkpoint, "onnx": _inspect_onnx, "om": _inspect_om}
    return read[kind](path)


def _inspect_checkpoint(path: Path) -> dict[str, Any]:
    from adnet.models.checkpoint import load_checkpoint  # noqa: PLC0415  (imports torch)
    from adnet.models.network import parameter_count  # noqa: PLC0415

    loaded = load_checkpoint(path)
    return {
        "kind": "checkpoint",
        "size_bytes": path.stat().st_size,
        **_card_facts(loaded.card),
        "parameters": parameter_count(loaded.network),
        "holds_training_state": loaded.training is not None,
        "gflop_321x481": round(flops(*_GFLOP_SIZE, loaded.card.channels) / 1e9, 2),
    }


def _inspect_onnx(path: Path) -> dict[str, Any]:
    from adnet.models.onnx_file import metadata_of, read_onnx  # noqa: PLC0415  (imports onnx)
    from adnet.models.structure import check_structure, without_qdq  # noqa: PLC0415

    model = read_onnx(path)
    facts: dict[str, Any] = {
        "kind": "onnx",
        "size_bytes": path.stat().st_size,
        "opsets": {one.domain or "ai.onnx": one.version for one in model.opset_import},
        "inputs": {one.name: _shape(one) for one in model.graph.input},
        "outputs": {one.name: _shape(one) for one in model.graph.output},
        "element_types": {
            **{
                one.name: _type(one.type.tensor_type.elem_type)
                for one in (*model.graph.input, *model.graph.output)
            },
            "weights": _weight_types(model),
        },
    }
    try:
        plain = without_qdq(model)
        check_structure(plain)
        facts["structure"] = "ADNet: 17 convolutions, four dilated, attention intact"
        if len(plain.graph.node) != len(model.graph.node):
            facts["structure"] += "; quantised to int8"
    except ParityError as err:
        facts["structure"] = f"not ADNet: {err}"
    card = ModelCard.find_in(metadata_of(model), str(path))
    if card is not None:
        facts |= _card_facts(card)
        facts["gflop_321x481"] = round(flops(*_GFLOP_SIZE, card.channels) / 1e9, 2)
    return facts


def _inspect_om(path: Path) -> dict[str, Any]:
    om = read_om(path)
    facts: dict[str, Any] = {
        "kind": "om",
        "size_bytes": om.size,
        "name": om.name,
        "format_version": f"0x{om.version:08x}",
        "shape": "dynamic (a range)" if om.is_dynamic else "static, or gears",
        "host": "bound to one system and CPU" if om.is_host_bound else "any",
        "partitions": {part.name: part.size for part in om.partitions},
        **om.attributes,
    }
    beside = sidecar_path(path)
    if beside.is_file():
        facts["sidecar"] = beside.name
    return facts


def _card_facts(card: ModelCard) -> dict[str, Any]:
    return {
        "channels": card.channels,
        "channel_order": card.channel_order,
        "sigma": card.describe_sigma(),
        "name": card.name,
        "receptive_radius": card.receptive_radius,
        "weights_sha256": card.weights_sha256,
        "training": {
            key: value for key, value in card.training.items() if key not in ("config", "init")
        },
    }


def _type(number: int) -> str:
    from onnx import TensorProto

    name = str(TensorProto.DataType.Name(number)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _weight_types(model: Any) -> str:
    """Name the types of the kernels, those of several dimensions."""
    found = {_type(one.data_type) for one in model.graph.initializer if len(one.dims) > 1}
    return ", ".join(sorted(found)) or "none"


def _shape(value: Any) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def describe(facts: dict[str, Any]) -> str:
    """Show facts as aligned lines; nested ones on one line each."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {one}" for name, one in value.items()) or "none"  # noqa: PLW2901
        lines.append(f"{key:22} {value if value not in ('', None) else '-'}")
    return "\n".join(lines)
