"""Checkpoint in, proven ONNX file out."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from adnet.atomic import atomic_path
from adnet.errors import UsageError
from adnet.export.calibration import load_pairs
from adnet.export.choices import Io
from adnet.export.quantize import quantize_onnx
from adnet.export.simplify import simplify_onnx
from adnet.export.torch_to_onnx import DEFAULT_OPSET, OnnxShape, export_onnx
from adnet.export.variants import to_half, with_8_bit_io
from adnet.export.verify import ParityCase, verify_onnx, verify_variant
from adnet.models.card import Precision
from adnet.models.checkpoint import load_checkpoint
from adnet.models.onnx_file import read_onnx
from adnet.models.structure import check_structure


@dataclass(frozen=True, slots=True)
class Variant:
    """How the exported model computes, and what goes in and out.

    Raises:
        UsageError: a combination that does not exist.
    """

    precision: Precision = "fp32"
    io: Io = "fp32"
    calibration: Path | None = None
    """Folder of photographs for int8; None: rendered images."""

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise UsageError(f"--precision must be fp32, fp16 or int8, got {self.precision!r}.")
        if self.io not in get_args(Io):
            raise UsageError(f"--io must be fp32, fp16 or uint8, got {self.io!r}.")
        if self.io == "fp16" and self.precision != "fp16":
            raise UsageError(f"--io fp16 goes with --precision fp16, not with {self.precision}.")
        if self.calibration is not None and self.precision != "int8":
            raise UsageError("--calibrate goes with --precision int8.")

    @property
    def is_plain(self) -> bool:
        """Nothing changes."""
        return self.precision == "fp32" and self.io == "fp32"


@dataclass(frozen=True, slots=True)
class OnnxExport:
    """What was written and how it was proven."""

    path: Path
    parity: list[ParityCase]
    """Empty when verification was switched off."""
    variant: ParityCase | None = None
    """The variant against the network, on images that it was not calibrated with."""


def checkpoint_to_onnx(
    checkpoint: Path,
    output: Path,
    shape: OnnxShape,
    *,
    opset: int = DEFAULT_OPSET,
    name: str | None = None,
    simplify: bool = True,
    verify: bool = True,
    variant: Variant | None = None,
) -> OnnxExport:
    """Export a checkpoint: trace, simplify, prove structure and values, then put it in place.

    Args:
        name: written to the model card; None keeps the card's.
        verify: False leaves out the proofs.
        variant: float16 or int8 arithmetic, 8-bit pixels in and out; made from the proven model.

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
            check_structure(read_onnx(result))
            parity = verify_onnx(result, loaded.network, card, shape)
        case = None
        if variant is not None and not variant.is_plain:
            calibrating, measuring = load_pairs(card, variant.calibration)
            result = _make_variant(result, variant, [noisy for _, noisy in calibrating])
            if verify:
                case = verify_variant(result, loaded.network, measuring, variant.precision)
        with atomic_path(output) as temporary:
            shutil.copyfile(result, temporary)
    return OnnxExport(output, parity, case)


def _make_variant(
    source: Path, variant: Variant, calibration: Sequence[NDArray[np.float32]]
) -> Path:
    """Convert a float32 model; each step writes a file beside the one before."""
    result = source
    if variant.precision == "fp16":
        source, result = result, source.with_name("half.onnx")
        to_half(source, result, keep_float_io=variant.io != "fp16")
    elif variant.precision == "int8":
        source, result = result, source.with_name("int8.onnx")
        quantize_onnx(source, result, calibration)
    if variant.io == "uint8":
        source, result = result, result.with_name("uint8.onnx")
        with_8_bit_io(source, result)
    return result
