"""The weights that come with the package: their names, files and cards."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from adnet.errors import ModelError
from adnet.models.card import ModelCard

WEIGHTS = Path(__file__).parent.parent / "weights"
MODEL_SUFFIXES = (".onnx", ".om", ".pth", ".pt")


@dataclass(frozen=True, slots=True)
class PretrainedModel:
    """One shipped model."""

    name: str
    path: Path
    """ONNX file inside the installed package."""
    sha256: str
    """Digest of that file."""
    card: ModelCard


@cache
def pretrained_models() -> tuple[PretrainedModel, ...]:
    """List the shipped models, in the order of weights/index.json."""
    index = WEIGHTS / "index.json"
    entries = json.loads(index.read_text(encoding="utf-8"))["models"]
    return tuple(
        PretrainedModel(
            name=entry["name"],
            path=WEIGHTS / entry["file"],
            sha256=entry["sha256"],
            card=ModelCard.from_json(json.dumps(entry["card"]), f"{index} ({entry['name']})"),
        )
        for entry in entries
    )


def resolve_model(model: str | Path) -> Path:
    """Turn the name of a shipped model, or a path, into the path of a model file.

    A text without a folder and without a model suffix is a name, everything else a path.

    Raises:
        ModelError: no such name (close matches are listed) or no such file.
    """
    path = Path(model)
    if path.is_file():
        return path
    by_name = {known.name: known for known in pretrained_models()}
    if str(model) in by_name:
        return by_name[str(model)].path
    if path.suffix.lower() in MODEL_SUFFIXES or len(path.parts) > 1:
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"{model}: the model file {problem}.")
    close = difflib.get_close_matches(str(model), by_name, n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise ModelError(
        f"unknown model {str(model)!r}.{hint} Shipped models: {', '.join(by_name)}; "
        "or give the path of a model file."
    )


def default_model(channels: int) -> PretrainedModel:
    """Choose the shipped model for an image with so many planes.

    A blind model of these channels if there is one; else, for colour, the gray blind model, which
    is then applied plane by plane.
    """
    models = [model for model in pretrained_models() if model.card.is_blind]
    fitting = [model for model in models if model.card.channels == channels]
    return (fitting or [model for model in models if model.card.channels == 1])[0]
