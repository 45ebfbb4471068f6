"""A folder that converts itself on any machine with CANN: model, script, checksums, a page."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import tempfile
from pathlib import Path

from adnet import __version__
from adnet.cann import HAL
from adnet.export.ascend.atc_config import MODEL_FILE, OUTPUT_NAME, AtcConfig
from adnet.export.ascend.atc_extra import require_portable
from adnet.export.outputs import require_folder
from adnet.export.to_om import conversion_facts
from adnet.models.card import ModelCard
from adnet.models.om_file import write_sidecar
from adnet.shown import one_line

AMCT_FILE = "to_int8.py"
_SUMS = "SHA256SUMS"


def emit(
    onnx_path: Path,
    card: ModelCard,
    folder: Path,
    name: str,
    config: AtcConfig,
    *,
    int8: bool = False,
) -> Path:
    """Write a folder that a machine with CANN turns into the OM: `bash convert.sh`.

    Args:
        folder: must not exist, or be empty.
        name: of the OM, without its suffix.
        int8: the ONNX is quantised; AMCT rewrites it for ATC first.

    Raises:
        UsageError: the folder is not empty or cannot be made, or the conversion needs this machine.
    """
    require_folder(folder, option="--emit")
    require_portable(config.extra)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".adnet-emit-") as temporary:
        staged = Path(temporary, "emit")
        staged.mkdir()
        shutil.copyfile(onnx_path, staged / MODEL_FILE)
        files = [MODEL_FILE, *config.write_files(staged)]
        facts = conversion_facts(config, onnx_path) | ({"precision": "int8"} if int8 else {})
        if int8:
            (staged / AMCT_FILE).write_text(_AMCT)
        write_sidecar(staged / f"{name}.om", card, facts)
        script = staged / "convert.sh"
        _write(script, _script(name, config, files, int8))
        script.chmod(0o755)
        _write(staged / "README.md", _page(name, card, config, int8))
        sums = [_sum_line(path) for path in sorted(staged.iterdir()) if path.name != "README.md"]
        _write(staged / _SUMS, "".join(sums))
        if folder.exists():
            folder.rmdir()
        staged.rename(folder)
    return folder


def holds_the_same(folder: Path, other: Path) -> bool:
    """Whether two such folders convert the same model in the same way, by their checksums."""
    try:
        return (folder / _SUMS).read_bytes() == (other / _SUMS).read_bytes()
    except OSError:
        return False


def _write(path: Path, text: str) -> None:
    """Write text in which a file's name may stand, whatever bytes that is made of."""
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _sum_line(path: Path) -> str:
    r"""Write a line of sha256sum, which marks names that hold a line feed or a \ by a leading \."""
    name = path.name.replace("\\", "\\\\").replace("\n", "\\n")
    mark = "" if name == path.name else "\\"
    return f"{mark}{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"


# AMCT's interface: CANN manual, "convert_qat_model" of AMCT for ONNX.
_AMCT = """\
# Rewrites the quantised model for ATC with AMCT for ONNX, which is a package of CANN.
import pathlib
import sys

try:
    import amct_onnx
except ImportError as err:
    sys.exit(f"AMCT for ONNX cannot be imported ({err}). Install CANN's AMCT package: amct_onnx.")

source, target = sys.argv[1:]
amct_onnx.convert_qat_model(source, "amct/adnet")
made = sorted(pathlib.Path("amct").glob("*deploy*.onnx"))
if len(made) != 1:
    sys.exit(f"AMCT wrote {len(made)} deploy models, not one: {[path.name for path in made]}")
made[0].replace(target)
"""

_HOMES = """\
cann_homes() {
  local home program
  program=$(command -v atc || true)
  if [ -n "$program" ]; then
    for home in "$(dirname "$(dirname "$program")")" \\
      "$(dirname "$(dirname "$(readlink -f "$program")")")"; do
      echo "$home"
      dirname "$home"
    done
  fi
  for home in "${ASCEND_TOOLKIT_HOME:-}" "${ASCEND_HOME_PATH:-}" \\
    /usr/local/Ascend/cann /usr/local/Ascend/ascend-toolkit/latest \\
    "$HOME/Ascend/cann" "$HOME/Ascend/ascend-toolkit/latest"; do
    if [ -n "$home" ]; then echo "$home"; fi
  done
}
if ! command -v atc > /dev/null || [ -z "${ASCEND_OPP_PATH:-}" ]; then
  while read -r home; do
    for script in "$home/set_env.sh" "$(dirname "$home")/set_env.sh"; do
      if [ -f "$script" ]; then
        echo "note: CANN's environment is not set here; sourcing $script" >&2
        set +eu
        # shellcheck source=/dev/null
        source "$script"
        set -eu
        break 2
      fi
    done
  done < <(cann_homes)
fi
if ! command -v atc > /dev/null; then
  echo "atc is not installed, or CANN's set_env.sh was not sourced" >&2
  exit 2
fi
# ATC needs no NPU, but its loader wants the driver's library; CANN's devlib stands in for it.
hal=HAL_NAME
resolves() {
  local folder folders
  IFS=: read -r -a folders <<< "${LD_LIBRARY_PATH:-}:"
  for folder in "${folders[@]}" /lib64 /usr/lib64 /lib /usr/lib "/usr/lib/$(uname -m)-linux-gnu"; do
    if [ -n "$folder" ] && [ -e "$folder/$hal" ]; then return 0; fi
  done
  { ldconfig -p || /sbin/ldconfig -p || true; } 2> /dev/null | grep "$hal" > /dev/null
}
if ! resolves; then
  found=
  looked=
  while read -r home; do
    for below in devlib "$(uname -m)-linux/devlib"; do
      for folder in "$home/$below" "$home/$below/linux/$(uname -m)"; do
        looked="$looked $folder"
        if [ -f "$folder/$hal" ]; then found=$folder; break 3; fi
      done
    done
  done < <(cann_homes)
  if [ -n "$found" ]; then
    export LD_LIBRARY_PATH="$found${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    echo "note: there is no Ascend driver here; CANN's stand-in for it, $found, is in front of" \\
      "LD_LIBRARY_PATH" >&2
  else
    echo "warning: $hal is not found, nor CANN's stand-in for it (devlib); looked in:$looked" >&2
  fi
fi
"""


def _script(name: str, config: AtcConfig, files: list[str], int8: bool) -> str:
    joined = " \\\n  ".join(map(shlex.quote, config.arguments()))
    amct = f'python3 "$here/{AMCT_FILE}" {MODEL_FILE} deploy.onnx >&2\nmv deploy.onnx {MODEL_FILE}'
    return f"""#!/usr/bin/env bash
# Converts model.onnx to OM with ATC. Needs CANN (no NPU); written by adnet {__version__}.
set -euo pipefail
here=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
cd "$here"
sha256sum --check --quiet SHA256SUMS
{_HOMES.replace("HAL_NAME", HAL)}
# ATC takes only plain characters in paths and leaves files where it runs.
work=$(mktemp -d /tmp/adnet-atc-XXXXXX)
trap 'rm -rf "$work"' EXIT
cp {" ".join(files)} "$work"
cd "$work"
{amct if int8 else ":"}
name={shlex.quote(name)}
status=0
atc {joined} \\
  2>&1 | tee "$here/$name.om.log" || status=$?
# shellcheck disable=SC2012  # both names are plain
made=$(ls -t {OUTPUT_NAME}.om {OUTPUT_NAME}_*_*.om 2> /dev/null | head -n 1 || true)
if [ "$status" -ne 0 ] || [ -z "$made" ] || ! grep -q "ATC run success" "$here/$name.om.log"; then
  echo "the conversion failed, see $name.om.log" >&2
  exit 1
fi
cp "$made" "$here/.converted.part"
mv "$here/.converted.part" "$here/$name.om"
echo "$here/$name.om"
"""


def _page(name: str, card: ModelCard, config: AtcConfig, int8: bool) -> str:
    sizes = ", ".join(f"{height}x{width}" for height, width in config.sizes)
    batches = ", ".join(map(str, config.batches))
    unverified = """
**Never tried with AMCT or on a chip.** The model is quantised to 8 bits; `convert.sh` has AMCT for
ONNX (a package of CANN, with the Python that it supports) rewrite it for ATC. Compare the result
with the float model before you use it: `adnet-export verify`.
"""
    om = f"{name}.om"
    shown = one_line(om)
    return f"""# {shown} for {config.soc}

On a machine with CANN (an NPU is not needed):

    bash convert.sh

writes `{shown}` here. `{shown}.json` belongs to it: keep the two
together.
{unverified if int8 else ""}
Model: {one_line(card.name) or "ADNet"}, {card.describe_sigma()}, {card.channel_order};
batches {batches}; heights x widths {sizes}; input {config.io}.

`convert.sh` checks `SHA256SUMS` first. ATC's words are in `{shown}.log`.

On a machine with {config.soc} and CANN's set_env.sh sourced, with the wheel that
`pip wheel . --no-deps` makes in a checkout of adnet:

    pip install adnet-*.whl
    adnet-run IMAGES -o DENOISED --model {_word(om)} --device npu:0
"""


def _word(name: str) -> str:
    r"""Quote for a shell on one line, by $'' where a line feed or the like is in it."""
    if one_line(name) == name:
        return shlex.quote(name)
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{one_line(escaped)}'"
