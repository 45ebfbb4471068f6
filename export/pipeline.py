"""Checkpoint in, proven ONNX file out."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
from adnet.export.simplify import simplify_onnx
from adnet.export.structure import check_structure
from adnet.export.torch_to_onnx import DEFAULT_OPSET, OnnxShape, export_onnx
from adnet.export.verify import ParityCase, verify_onnx

from adnet.atomic import atomic_path
from adnet.checkpoint import load_checkpoint
from adnet.errors import UsageError


@dataclass(frozen=True, slots=True)
class OnnxExport:
    """What was written and how it was proven."""

    path: Path
    parity: list[ParityCase]
    """Empty when verification was switched off."""


def checkpoint_to_onnx(
    checkpoint: Path,
    output: Path,
    shape: OnnxShape,
    *,
    opset: int = DEFAULT_OPSET,
    name: str | None = None,
    simplify: bool = True,
    verify: bool = True,
) -> OnnxExport:
    """Export a checkpoint: trace, simplify, prove structure and values, then put it in place.

    Args:
        name: written to the model card; None keeps the card's.
        verify: False leaves out both proofs.

    Raises:
        CheckpointError: the checkpoint is damaged, unsafe or no ADNet.
        UsageError: the output cannot be written or is the checkpoint.
        ExportError: tracing or simplifying failed.
        ParityError: a proof failed; nothing is written.
    """
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"{output}: the output must be named .onnx.")
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent}: no such folder for the output.")
    loaded = load_checkpoint(checkpoint)
    card = loaded.card if name is None else dataclasses.replace(loaded.card, name=name)
    with tempfile.TemporaryDirectory(prefix="adnet-export-") as folder:
        traced = result = Path(folder, "traced.onnx")
        export_onnx(loaded.network, card, traced, shape, opset)
        if simplify:
            result = Path(folder, "simplified.onnx")
            simplify_onnx(traced, result)
        parity = []
        if verify:
            check_structure(onnx.load(result))
            parity = verify_onnx(result, loaded.network, card, shape)
        with atomic_path(output) as temporary:
            shutil.copyfile(result, temporary)
    return OnnxExport(output, parity)
