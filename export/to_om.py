"""ONNX in, OM out, converted here; `kit.py` writes a folder to convert elsewhere instead."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnx import ModelProto, TensorProto

from adnet.errors import ModelError, ParityError
from adnet.export.ascend.atc_config import AtcConfig
from adnet.export.ascend.atc_run import find_atc, run_atc
from adnet.export.outputs import require_file
from adnet.models.card import ModelCard
from adnet.models.files import kind_of_file
from adnet.models.om_file import sidecar_path, write_sidecar
from adnet.models.onnx_check import check_weights
from adnet.models.onnx_file import read_onnx
from adnet.models.shipped import resolve_model
from adnet.models.structure import check_structure

OPSETS = range(9, 19)
"""What some CANN takes (its pages on --framework; GE's for CANN 9: 11 to 18)."""
SAFE_OPSETS = range(11, 14)
"""What every CANN since 5 takes."""


def convert_to_om(
    onnx_path: Path,
    card: ModelCard,
    output: Path,
    config: AtcConfig,
    *,
    on_line: Callable[[float, str], None] = lambda _seconds, _line: None,
    on_note: Callable[[str], None] = lambda _note: None,
) -> Path:
    """Convert with ATC and write the OM with its sidecar OUTPUT.json.

    Raises:
        BackendUnavailable: ATC is not installed.
        ExportError: the conversion failed.
        UsageError: the output cannot be written, or is the ONNX file.
    """
    require_om(output, onnx_path)
    conversion = run_atc(find_atc(), config, onnx_path, output, on_line=on_line, on_note=on_note)
    facts = conversion_facts(config, onnx_path) | {
        "atc_version": conversion.atc_version,
        "command": conversion.command,
        "seconds": round(conversion.seconds, 1),
    }
    write_sidecar(output, card, facts)
    return output


def conversion_facts(config: AtcConfig, onnx_path: Path) -> dict[str, Any]:
    """Return what the sidecar of an OM says beside the card."""
    return {
        "soc": config.soc,
        "gears": config.gears,
        "batches": list(config.batches),
        "sizes": [list(size) for size in config.sizes],
        "io": config.io,
        "precision_mode": config.precision_mode,
        "virtual_type": config.virtual_type,
        "input_name": config.input_name,
        "onnx_sha256": hashlib.sha256(onnx_path.read_bytes()).hexdigest(),
    }


def prepare_onnx(
    model: str,
    folder: Path,
    *,
    int8: bool = False,
    calibration: Path | None = None,
    on_note: Callable[[str], None] = lambda _note: None,
) -> tuple[Path, ModelCard, str]:
    """Get the ONNX file to convert: from a checkpoint, a shipped model's name, or as it is.

    Checkpoints are exported at opset 11, which every CANN takes (int8 needs 13), with all sizes
    open: ATC puts in its own.

    Args:
        int8: quantise it to pairs of QuantizeLinear and DequantizeLinear, for AMCT.
        calibration: photographs for that; None: rendered images.
        on_note: gets a sentence on an opset that not every CANN takes.

    Returns:
        The file, its card and the name of its input.

    Raises:
        ModelError, ParityError: the model cannot be used: no ADNet, a variant, fine-tuned for int8,
            or of an opset that ATC does not take.
    """
    path = resolve_model(model)
    if kind_of_file(path) == "checkpoint":
        from adnet.export.to_onnx import checkpoint_to_onnx  # noqa: PLC0415  (imports torch)
        from adnet.export.torch_to_onnx import OnnxShape  # noqa: PLC0415

        _refuse_int8(path)
        source, path = path, folder / "model.onnx"
        checkpoint_to_onnx(source, path, OnnxShape(), opset=13 if int8 else 11)
    loaded = read_onnx(path)
    try:
        check_structure(loaded)
    except ParityError as err:
        raise ModelError(
            f"{path}: only float32 models as adnet-export writes them can be converted to OM, no "
            f"variants ({err}) Give the checkpoint; --io uint8 and --precision-mode belong to "
            "'adnet-export om' itself."
        ) from err
    _refuse_half(loaded, path)
    card = check_weights(loaded, path)
    _check_opset(loaded.opset_import[0].version, path, on_note)
    if int8:
        from adnet.export.calibration import load_pairs  # noqa: PLC0415
        from adnet.export.quantize import quantize_onnx  # noqa: PLC0415

        source, path = path, folder / "int8.onnx"
        calibrating, _ = load_pairs(card, calibration)
        quantize_onnx(source, path, [noisy for _, noisy in calibrating])
    return path, card, loaded.graph.input[0].name


def _refuse_half(loaded: ModelProto, path: Path) -> None:
    """Refuse what takes or gives no float32: ATC casts by itself."""
    wrong = [
        f"{one.name} is {TensorProto.DataType.Name(one.type.tensor_type.elem_type)}"
        for one in (*loaded.graph.input, *loaded.graph.output)
        if one.type.tensor_type.elem_type != TensorProto.FLOAT
    ]
    if wrong:
        raise ModelError(
            f"{path}: only float32 models can be converted to OM, no variants; {', '.join(wrong)}. "
            "Give the checkpoint or the float32 export: half precision is ATC's to make "
            "(--precision-mode fp16, which is the default), half inputs are --io fp16."
        )


def _refuse_int8(checkpoint: Path) -> None:
    """Refuse scales that were learned here: AMCT searches its own, and ATC takes no others."""
    from adnet.models.checkpoint import load_checkpoint  # noqa: PLC0415  (imports torch)
    from adnet.models.quantized import QuantizedADNet  # noqa: PLC0415

    loaded = load_checkpoint(checkpoint)
    if isinstance(loaded.network, QuantizedADNet):
        origin = (loaded.card.training.get("config") or {}).get("init") or "FLOAT.pth"
        raise ModelError(
            f"{checkpoint}: was fine-tuned for int8 (adnet-train --quantize int8); an OM cannot "
            "hold its scales. Give the float model that it came from: 'adnet-export om "
            f"{origin} -o FILE.om', for int8 with '--precision int8 --emit DIR', which has AMCT "
            f"quantise anew. As an int8 ONNX file: 'adnet-export onnx {checkpoint} -o FILE.onnx'."
        )


def _check_opset(opset: int, path: Path, on_note: Callable[[str], None]) -> None:
    """Tell what ATC would say later, or on another machine."""
    again = f"'adnet-export onnx {path} -o FILE.onnx --opset 11' makes one that every CANN takes."
    if opset not in OPSETS:
        raise ModelError(
            f"{path}: opset {opset}; ATC takes {OPSETS[0]} to {OPSETS[-1]} (E16002, E19010). "
            f"{again}"
        )
    if opset not in SAFE_OPSETS:
        on_note(
            f"opset {opset}: CANN 5 and 6 take 9 to 13, CANN 7 and 8 9 to 18, CANN 9 11 to 18. "
            f"{again}"
        )


def require_om(output: Path, *inputs: Path) -> None:
    """Refuse an OM that cannot be written, or that, with its sidecar, would replace an input.

    Raises:
        UsageError: naming the file.
    """
    require_file(output, ".om", *inputs)
    require_file(sidecar_path(output), ".json", *inputs)
