"""Read an ONNX file and its metadata; needs onnx, but no torch."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from adnet.errors import ModelError
from adnet.models.files import require_kind


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with its weights; whose it is and what it computes is not checked.

    Raises:
        ModelError: the file is missing, damaged or of another kind.
    """
    require_kind(path, "onnx")
    try:
        model = onnx.load(str(path))
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as err:
        raise ModelError(f"{path}: not an ONNX file, or a damaged one ({err}).") from err
    if not model.graph.node:  # protobuf takes an empty file for an empty message
        raise ModelError(f"{path}: not an ONNX file, or a truncated one (it holds no graph).")
    return model


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return the metadata_props, which hold the card: see `ModelCard.from_metadata`."""
    return {one.key: one.value for one in model.metadata_props}


def set_metadata(model: onnx.ModelProto, metadata: dict[str, str]) -> None:
    """Replace the metadata_props by those of `ModelCard.to_metadata`."""
    onnx.helper.set_model_props(model, metadata)
