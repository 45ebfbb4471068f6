"""Write a model repository for Triton: all of it or nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from adnet.errors import ModelError
from adnet.export.inputs import check_onnx
from adnet.export.outputs import require_folder
from adnet.export.triton.config import Serving, config_text
from adnet.export.triton.pages import dockerfile, kserve_manifest, readme
from adnet.models.card import ModelCard
from adnet.models.files import kind_of_file
from adnet.models.shipped import resolve_model
from adnet.runtime.registry import open_backend

_HERE = Path(__file__).parent


def write_repository(model: str, folder: Path, serving: Serving) -> Path:
    """Write what `tritonserver --model-repository=FOLDER` serves, with pages that say how.

    Args:
        model: ONNX file of ours, or name of a shipped model.
        folder: must not exist, or be empty.

    Raises:
        UsageError: the folder is not empty, or cannot be made.
        ModelError: the model is no ONNX file of ours, or (mode tiles) not open in batch and size.
    """
    require_folder(folder)
    path = resolve_model(model)
    card = _check(path, serving)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".adnet-triton-") as temporary:
        staged = Path(temporary, "repository")
        version = staged / serving.name / "1"
        version.mkdir(parents=True)
        shutil.copyfile(path, version / "model.onnx")
        if serving.mode == "image":
            shutil.copyfile(_HERE / "image_model.py", version / "model.py")
        else:
            shutil.copyfile(_HERE / "tiles_client.py", staged / "client.py")
        config = config_text(serving, card.channels, "model.onnx")
        (version.parent / "config.pbtxt").write_text(config)
        (staged / "README.md").write_text(readme(serving, card), encoding="utf-8")
        (staged / "Dockerfile").write_text(dockerfile(serving))
        (staged / "kserve.yaml").write_text(kserve_manifest(serving))
        if folder.exists():
            folder.rmdir()
        staged.rename(folder)
    return folder


def _check(path: Path, serving: Serving) -> ModelCard:
    """Open the model as the server will, and make sure that it can do what the mode needs."""
    if kind_of_file(path) != "onnx":
        raise ModelError(
            f"{path}: Triton is given ONNX files. Make one first: adnet-export onnx {path} -o "
            "model.onnx"
        )
    check_onnx(path)
    with open_backend(path, None) as backend:
        spec, card = backend.spec, backend.card
    if serving.mode == "tiles" and (
        spec.dtype != "float32" or spec.shapes != ((None, None, None),)
    ):
        raise ModelError(
            f"{path}: mode tiles needs a model with float32 in and out, open in batch and size. "
            "Export it with 'adnet-export onnx' without --io, --batch and --size, or take --mode "
            "image."
        )
    return card
