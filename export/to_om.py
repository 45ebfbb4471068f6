"""ONNX in, OM out, converted here; `kit.py` writes a folder to convert elsewhere instead."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from adnet import __version__
from adnet.atomic import atomic_path
from adnet.errors import ModelError, ParityError, UsageError
from adnet.export.ascend.atc_config import AtcConfig
from adnet.export.ascend.atc_run import find_atc, run_atc
from adnet.models.card import METADATA_KEY, ModelCard
from adnet.models.shipped import resolve_model
from adnet.models.structure import check_structure


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
        UsageError: the output cannot be written.
    """
    _check_output(output)
    conversion = run_atc(find_atc(), config, onnx_path, output, on_line=on_line, on_note=on_note)
    facts = sidecar(card, config, onnx_path) | {
        "atc_version": conversion.atc_version,
        "command": conversion.command,
        "seconds": round(conversion.seconds, 1),
    }
    with atomic_path(output.with_name(output.name + ".json")) as path:
        path.write_text(json.dumps(facts, indent=2) + "\n")
    return output


def sidecar(card: ModelCard, config: AtcConfig, onnx_path: Path) -> dict[str, Any]:
    """Return what a runtime must know of an OM that the OM does not tell."""
    return {
        "made_by": f"adnet {__version__}",
        "card": json.loads(card.to_json()),
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
    model: str, folder: Path, *, int8: bool = False, calibration: Path | None = None
) -> tuple[Path, ModelCard, str]:
    """Get the ONNX file to convert: from a checkpoint, a shipped model's name, or as it is.

    Checkpoints are exported at opset 11, which every CANN takes (int8 needs 13), with all sizes
    open: ATC puts in its own.

    Args:
        int8: quantise it to pairs of QuantizeLinear and DequantizeLinear, for AMCT.
        calibration: photographs for that; None: rendered images.

    Returns:
        The file, its card and the name of its input.

    Raises:
        ModelError, ParityError: the model cannot be used.
    """
    if model.lower().endswith((".pth", ".pt")):
        from adnet.export.to_onnx import checkpoint_to_onnx  # noqa: PLC0415  (imports torch)
        from adnet.export.torch_to_onnx import OnnxShape  # noqa: PLC0415

        path = folder / "model.onnx"
        checkpoint_to_onnx(Path(model), path, OnnxShape(), opset=13 if int8 else 11)
    else:
        path = resolve_model(model)
    try:
        loaded = onnx.load(str(path))
    except (DecodeError, OSError) as err:
        raise ModelError(f"{path}: not an ONNX file, or a damaged one ({err}).") from err
    try:
        check_structure(loaded)
    except ParityError as err:
        raise ModelError(
            f"{path}: only float32 models as adnet-export writes them can be converted to OM, no "
            f"variants ({err}) Give the checkpoint; --io uint8 and --precision-mode belong to "
            "'adnet-export om' itself."
        ) from err
    texts = [one.value for one in loaded.metadata_props if one.key == METADATA_KEY]
    if not texts:
        raise ModelError(f"{path}: has no model card. Export it again with adnet-export onnx.")
    card = ModelCard.from_json(texts[0], str(path))
    if int8:
        from adnet.export.calibration import load_pairs  # noqa: PLC0415
        from adnet.export.quantize import quantize_onnx  # noqa: PLC0415

        source, path = path, folder / "int8.onnx"
        calibrating, _ = load_pairs(card, calibration)
        quantize_onnx(source, path, [noisy for _, noisy in calibrating])
    return path, card, loaded.graph.input[0].name


def _check_output(output: Path) -> None:
    if output.suffix.lower() != ".om":
        raise UsageError(f"{output}: the output must be named .om.")
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent}: no such folder for the output.")
