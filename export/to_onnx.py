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
import torch
from numpy.typing import NDArray

from adnet.atomic import atomic_path
from adnet.errors import UsageError
from adnet.export.calibration import load_pairs
from adnet.export.choices import Io
from adnet.export.outputs import require_file
from adnet.export.qdq import require_opset, write_qdq
from adnet.export.simplify import simplify_onnx
from adnet.export.torch_to_onnx import DEFAULT_OPSET, OnnxShape, export_onnx
from adnet.export.variants import to_half, with_8_bit_io
from adnet.export.verify import TRAINED, ParityCase, verify_onnx, verify_variant
from adnet.models.card import Precision
from adnet.models.checkpoint import load_checkpoint
from adnet.models.network import ADNet
from adnet.models.onnx_file import read_onnx
from adnet.models.quantized import QuantizedADNet
from adnet.models.structure import check_structure, without_qdq
from adnet.training.quantization import quantized_from

CALIBRATED_BITS = 7
"""Of the weights where int8 is calibrated: right on every processor. (Training chooses its own.)"""


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
    precision: Precision = "fp32"
    is_calibrated: bool = False
    """Whether its int8 scales were searched for here, not learned."""
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
            A checkpoint that was fine-tuned for int8 gives an int8 model in any case.

    Raises:
        CheckpointError: the checkpoint is damaged, unsafe or no ADNet.
        UsageError: the output cannot be written or is the checkpoint, or a variant that an int8
            checkpoint cannot become.
        ExportError: tracing or simplifying failed.
        ParityError: a proof failed; nothing is written.
    """
    require_file(output, ".onnx", checkpoint)
    loaded = load_checkpoint(checkpoint)
    card = loaded.card if name is None else dataclasses.replace(loaded.card, name=name)
    variant = variant or Variant()
    network = plain = loaded.network
    if isinstance(network, QuantizedADNet):
        variant = _as_trained(variant, checkpoint)
        plain = network.to_float()
    with tempfile.TemporaryDirectory(prefix="adnet-export-") as folder:
        traced = result = Path(folder, "traced.onnx")
        export_onnx(plain, card, traced, shape, opset)
        if simplify:
            result = Path(folder, "simplified.onnx")
            simplify_onnx(traced, result)
        parity = []
        if verify:
            check_structure(read_onnx(result))
            parity = verify_onnx(result, plain, card, shape)
        case = None
        if not variant.is_plain:
            calibrating, measuring = load_pairs(card, variant.calibration)
            result = _make_variant(result, variant, network, [noisy for _, noisy in calibrating])
            if verify:
                # An int8 checkpoint is the measure of its own file.
                kind = variant.precision if network is plain else TRAINED
                case = verify_variant(result, network, measuring, kind)
        with atomic_path(output) as temporary:
            shutil.copyfile(result, temporary)
    calibrated = variant.precision == "int8" and network is plain
    return OnnxExport(output, parity, variant.precision, calibrated, case)


def _as_trained(variant: Variant, checkpoint: Path) -> Variant:
    """Turn what is asked for into what an int8 checkpoint can become."""
    if variant.precision == "fp16" or variant.calibration is not None:
        what = "--calibrate" if variant.calibration is not None else "--precision fp16"
        raise UsageError(
            f"{checkpoint}: was fine-tuned for int8 and holds its scales; {what} needs the float "
            "checkpoint that it came from."
        )
    return dataclasses.replace(variant, precision="int8")


def _make_variant(
    source: Path, variant: Variant, network: ADNet, calibration: Sequence[NDArray[np.float32]]
) -> Path:
    """Convert a float32 model; each step writes a file beside the one before."""
    result = source
    if variant.precision == "fp16":
        source, result = result, source.with_name("half.onnx")
        to_half(source, result, keep_float_io=variant.io != "fp16")
    elif variant.precision == "int8":
        source, result = result, source.with_name("int8.onnx")
        require_opset(read_onnx(source))  # before the search for scales
        if not isinstance(network, QuantizedADNet):
            noisy = [torch.from_numpy(batch) for batch in calibration]
            network = quantized_from(network, noisy, CALIBRATED_BITS)
        write_qdq(source, result, network)
        check_structure(without_qdq(read_onnx(result)))
    if variant.io == "uint8":
        source, result = result, result.with_name("uint8.onnx")
        with_8_bit_io(source, result)
    return result
