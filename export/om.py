"""ONNX in, OM out: converted here where ATC is installed, or a folder to convert elsewhere."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from adnet.export.aipp import aipp_text
from adnet.export.atc_config import AIPP_FILE, MODEL_FILE, OUTPUT_NAME, AtcConfig
from adnet.export.atc_run import find_atc, run_atc
from adnet.export.structure import check_structure
from google.protobuf.message import DecodeError

from adnet import __version__
from adnet.atomic import atomic_path
from adnet.card import METADATA_KEY, ModelCard
from adnet.errors import ModelError, ParityError, UsageError
from adnet.pretrained import resolve_model


def convert_to_om(
    onnx_path: Path,
    card: ModelCard,
    output: Path,
    config: AtcConfig,
    *,
    on_line: Callable[[float, str], None] = lambda _seconds, _line: None,
) -> Path:
    """Convert with ATC and write the OM with its sidecar OUTPUT.json.

    Raises:
        BackendUnavailable: ATC is not installed.
        ExportError: the conversion failed.
        UsageError: the output cannot be written.
    """
    _check_output(output)
    conversion = run_atc(find_atc(), config, onnx_path, output, on_line=on_line)
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
        "input_name": config.input_name,
        "onnx_sha256": hashlib.sha256(onnx_path.read_bytes()).hexdigest(),
    }


def emit(onnx_path: Path, card: ModelCard, folder: Path, name: str, config: AtcConfig) -> Path:
    """Write a folder that a machine with CANN turns into the OM: `bash convert.sh`.

    Args:
        folder: must not exist, or be empty.
        name: of the OM, without its suffix.

    Raises:
        UsageError: the folder is not empty, or cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and is not empty. Choose another folder for --emit.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".adnet-emit-") as temporary:
        staged = Path(temporary, "emit")
        staged.mkdir()
        shutil.copyfile(onnx_path, staged / MODEL_FILE)
        if config.io == "uint8":
            (staged / AIPP_FILE).write_text(aipp_text(config))
        facts = sidecar(card, config, onnx_path)
        (staged / f"{name}.om.json").write_text(json.dumps(facts, indent=2) + "\n")
        script = staged / "convert.sh"
        script.write_text(_script(name, config))
        script.chmod(0o755)
        (staged / "README.md").write_text(_page(name, card, config))
        sums = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
            for path in sorted(staged.iterdir())
            if path.name != "README.md"
        ]
        (staged / "SHA256SUMS").write_text("".join(sums))
        if folder.exists():
            folder.rmdir()
        staged.rename(folder)
    return folder


def prepare_onnx(model: str, folder: Path) -> tuple[Path, ModelCard, str]:
    """Get the ONNX file to convert: from a checkpoint, a shipped model's name, or as it is.

    Checkpoints are exported at opset 11, which every CANN takes, with all sizes open: ATC puts in
    its own.

    Returns:
        The file, its card and the name of its input.

    Raises:
        ModelError, ParityError: the model cannot be used.
    """
    if model.lower().endswith((".pth", ".pt")):
        from adnet.export.pipeline import checkpoint_to_onnx  # noqa: PLC0415  (imports torch)
        from adnet.export.torch_to_onnx import OnnxShape  # noqa: PLC0415

        path = folder / "model.onnx"
        checkpoint_to_onnx(Path(model), path, OnnxShape(), opset=11)
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
    return path, ModelCard.from_json(texts[0], str(path)), loaded.graph.input[0].name


def _check_output(output: Path) -> None:
    if output.suffix.lower() != ".om":
        raise UsageError(f"{output}: the output must be named .om.")
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent}: no such folder for the output.")


def _script(name: str, config: AtcConfig) -> str:
    joined = " \\\n  ".join(map(shlex.quote, config.arguments()))
    return f"""#!/usr/bin/env bash
# Converts model.onnx to {name}.om with ATC. Needs CANN (no NPU); written by adnet {__version__}.
set -euo pipefail
here=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
cd "$here"
sha256sum --check --quiet SHA256SUMS
if ! command -v atc > /dev/null; then
  for home in "${{ASCEND_TOOLKIT_HOME:-}}" "${{ASCEND_HOME_PATH:-}}" \\
    /usr/local/Ascend/cann /usr/local/Ascend/ascend-toolkit/latest; do
    for script in "$home/set_env.sh" "$home/../set_env.sh"; do
      if [ -n "$home" ] && [ -f "$script" ]; then
        set +u; source "$script"; set -u
        break 2
      fi
    done
  done
fi
if ! command -v atc > /dev/null; then
  echo "atc is not installed, or CANN's set_env.sh was not sourced" >&2
  exit 2
fi
# ATC takes only plain characters in paths and leaves files where it runs.
work=$(mktemp -d /tmp/adnet-atc-XXXXXX)
trap 'rm -rf "$work"' EXIT
cp {MODEL_FILE} "$work"
if [ -f {AIPP_FILE} ]; then cp {AIPP_FILE} "$work"; fi
cd "$work"
status=0
atc {joined} \\
  2>&1 | tee "$here/{name}.om.log" || status=$?
made=$(ls -t {OUTPUT_NAME}.om {OUTPUT_NAME}_*_*.om 2> /dev/null | head -n 1 || true)
if [ "$status" -ne 0 ] || [ -z "$made" ] || ! grep -q "ATC run success" "$here/{name}.om.log"; then
  echo "the conversion failed, see {name}.om.log" >&2
  exit 1
fi
cp "$made" "$here/.{name}.om.part"
mv "$here/.{name}.om.part" "$here/{name}.om"
echo "$here/{name}.om"
"""


def _page(name: str, card: ModelCard, config: AtcConfig) -> str:
    sizes = ", ".join(f"{height}x{width}" for height, width in config.sizes)
    batches = ", ".join(map(str, config.batches))
    return f"""# {name}.om for {config.soc}

On a machine with CANN (an NPU is not needed):

    bash convert.sh

writes `{name}.om` here. `{name}.om.json` belongs to it: keep the two
together.

Model: {card.name or "ADNet"}, {card.describe_sigma()}, {card.channel_order};
batches {batches}; heights x widths {sizes}; input {config.io}.

`convert.sh` checks `SHA256SUMS` first. ATC's words are in `{name}.om.log`.

On a machine with {config.soc} and CANN's set_env.sh sourced:

    pip install adnet
    adnet-run IMAGES -o DENOISED --model {name}.om --device npu:0
"""
