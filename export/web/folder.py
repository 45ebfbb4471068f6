"""Write a folder that is a web page: it runs ADNet in the browser of whoever opens it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from adnet import __version__
from adnet.errors import UsageError
from adnet.export.inputs import check_onnx
from adnet.export.outputs import require_folder
from adnet.export.web.ort_web import RUNTIMES, VERSION, put_ort_web, runtime_entry
from adnet.models.files import kind_of_file
from adnet.models.shipped import FAST_SUFFIX, pretrained_models, resolve_model
from adnet.pages.assets import SHARED, asset_path
from adnet.pages.samples import samples
from adnet.runtime.backend import InputSpec, RunOptions
from adnet.runtime.registry import open_backend

_SITE = Path(__file__).parent / "site"
_RUNTIME_FOLDER = f"ort-{VERSION}"

TILE = 256
"""Largest side of a tile in pixels: one takes seconds on one thread, and progress and cancelling
wait for it."""
MAX_PIXELS = 50_000_000
"""Of one picture: a browser's tab holds it several times, four bytes a pixel."""


@dataclass(frozen=True, slots=True)
class LivePage:
    """What was written."""

    folder: Path
    models: list[str]
    size: int
    """Bytes of all files."""


def write_live_page(
    models: Sequence[str | Path],
    output: Path,
    *,
    ort_web: Path | None = None,
    webgpu: bool = True,
    overwrite: bool = False,
) -> LivePage:
    """Write the folder; it appears whole or not at all, and may be served from any path.

    Args:
        models: names of shipped models, ONNX files that take float32 of any size, or checkpoints.
            None given: the shipped float models.
        output: the folder to make.
        ort_web: the npm package onnxruntime-web; None: npm fetches it.
        webgpu: put in what browsers with WebGPU need (27 MB).
        overwrite: replace a folder that is such a page already.

    Raises:
        UsageError: the folder is there or holds what is read, or a model cannot run in a browser.
        ModelError: a model cannot be read.
        FetchError, ExportError: ONNX Runtime Web cannot be had.
    """
    _require_free(output, overwrite=overwrite)
    _require_outside(output, [resolve_model(one) for one in models], ort_web)
    output.parent.mkdir(parents=True, exist_ok=True)
    chosen = list(models) or [
        one.name for one in pretrained_models() if not one.name.endswith(FAST_SUFFIX)
    ]
    with tempfile.TemporaryDirectory(prefix=".adnet-web-", dir=output.parent) as temporary:
        folder = Path(temporary) / "page"
        for name in ("models", "samples", _RUNTIME_FOLDER):
            (folder / name).mkdir(parents=True)
        entries = [_put_model(one, folder) for one in chosen]
        _require_names(entries)
        runtimes = [name for name in RUNTIMES if webgpu or name == "wasm"]
        put_ort_web(folder / _RUNTIME_FOLDER, ort_web, runtimes)
        manifest = {
            "adnet": __version__,
            "onnxruntime_web": VERSION,
            "runtime": {name: runtime_entry(name, _RUNTIME_FOLDER) for name in runtimes},
            "max_pixels": MAX_PIXELS,
            "models": entries,
            "samples": [_put_sample(one.name, one.title, one.noisy, folder) for one in samples()],
        }
        text = json.dumps(manifest, indent=1)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
        for path in [*(asset_path(name) for name in SHARED), *_SITE.iterdir()]:
            shutil.copyfile(path, folder / path.name)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if output.exists():
            output.replace(Path(temporary) / "old")
        folder.replace(output)
    return LivePage(output, [entry["name"] for entry in entries], size)


def _require_free(output: Path, *, overwrite: bool) -> None:
    if not output.is_dir() or not any(output.iterdir()):
        require_folder(output)
        return
    if not (output / "manifest.json").is_file() or not (output / "worker.js").is_file():
        raise UsageError(f"{output}: is there, and is no page of ours. Give a new folder.")
    if not overwrite:
        raise UsageError(f"{output}: is there already. Give --overwrite to replace it.")


def _require_outside(output: Path, models: list[Path], ort_web: Path | None) -> None:
    """Refuse to read from the page that is to be replaced: it would be gone afterwards."""
    folder = output.resolve()
    for path in [*models, *([] if ort_web is None else [ort_web])]:
        if path.resolve().is_relative_to(folder):
            raise UsageError(f"{path}: lies in {output}, which is to be replaced. Copy it first.")


def _put_model(model: str | Path, folder: Path) -> dict[str, Any]:
    """Copy a model into the folder, and say what the page must know of it."""
    path = resolve_model(model)
    target = folder / "models" / f"{path.stem}.onnx"
    if target.exists():
        raise UsageError(f"{model}: another model is called {path.stem} already; rename one.")
    if kind_of_file(path) == "checkpoint":
        from adnet.export.to_onnx import checkpoint_to_onnx  # noqa: PLC0415  (imports torch)
        from adnet.export.torch_to_onnx import OnnxShape  # noqa: PLC0415

        checkpoint_to_onnx(path, target, OnnxShape())
    else:
        if kind_of_file(path) == "onnx":
            check_onnx(path)
        shutil.copyfile(path, target)
    with open_backend(target, "onnx", RunOptions(threads=1)) as backend:
        card, spec, facts = backend.card, backend.spec, backend.describe()
    _require_browser(model, spec)
    data = target.read_bytes()
    return {
        "name": card.name or path.stem,
        "file": f"models/{target.name}",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "channels": card.channels,
        "halo": card.receptive_radius,
        "tile": TILE,
        "sigma": card.describe_sigma(),
        "blind": bool(card.is_blind),
        "precision": facts["precision"],
    }


def _require_browser(model: str | Path, spec: InputSpec) -> None:
    if spec.dtype != "float32" or spec.sizes is not None or spec.batches((64, 64)) is not None:
        sizes = "fixed shapes" if spec.dtype == "float32" else spec.dtype
        raise UsageError(
            f"{model}: the page gives its model float32 tiles of any size, this one takes {sizes}."
            " Export it with 'adnet-export onnx' without --io, --batch and --size."
        )


def _require_names(entries: list[dict[str, Any]]) -> None:
    names = [entry["name"] for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two of the models are called {name} on their cards; give one.")


def _put_sample(name: str, title: str, noisy: Any, folder: Path) -> dict[str, str]:
    file = f"samples/{name}.png"
    Image.fromarray(noisy).save(folder / file, optimize=True)
    return {"file": file, "title": title}
