"""The weights that come with the package: their names, files and cards."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from adnet.errors import ModelError, UsageError
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


FAST_SUFFIX = "-int8"
"""`NAME-int8` is the int8 twin of NAME."""


def fast_twin(name: str) -> PretrainedModel | None:
    """Return the shipped int8 twin of a shipped model, None where there is none."""
    wanted = name if name.endswith(FAST_SUFFIX) else name + FAST_SUFFIX
    return next((model for model in pretrained_models() if model.name == wanted), None)


def require_fast_twin(model: str | None) -> PretrainedModel:
    """Return the int8 twin of the model that was chosen.

    Args:
        model: name of a shipped model; None: the blind gray one.

    Raises:
        UsageError: it has no twin, or it is a file.
    """
    chosen = default_model(1).name if model is None else model
    twin = fast_twin(chosen)
    if twin is None:
        there = [one.name.removesuffix(FAST_SUFFIX) for one in pretrained_models()
                 if one.name.endswith(FAST_SUFFIX)]  # fmt: skip
        raise UsageError(
            f"--fast: {chosen} has no int8 model beside it. "
            + (f"Give --model: {' or '.join(there)}. " if there else "")
            + "Make one of your own with 'adnet-train DATA -o RUN --quantize int8 --init MODEL' "
            "and 'adnet-export onnx RUN/best.pth', and give it with --model."
        )
    return twin


def loss_of_fast(twin: PretrainedModel) -> str:
    """Say what an int8 twin costs, as it was measured when it was made.

    The float model may have been trained further since then.
    """
    training = twin.card.training
    whole, own = training.get("float_val_psnr"), training.get("val_psnr")
    if whole is None or own is None:
        return "its loss was not recorded"
    sigma = training.get("val_sigma")
    name = twin.name.removesuffix(FAST_SUFFIX)
    came_from = training.get("init", {}).get("weights_sha256")
    there = {one.card.weights_sha256 for one in pretrained_models() if one.name == name}
    is_of_an_earlier = came_from is not None and came_from not in there
    return (
        f"{own - whole:+.3f} dB against {'an earlier ' if is_of_an_earlier else ''}{name}"
        + ("" if sigma is None else f" at sigma {sigma:g}")
        + ", on images held out of training"
    )


def default_model(channels: int) -> PretrainedModel:
    """Choose the shipped model for an image with so many planes.

    A blind model of these channels if there is one; else, for colour, the gray blind model, which
    is then applied plane by plane.
    """
    models = [
        model for model in pretrained_models()
        if model.card.is_blind and not model.name.endswith(FAST_SUFFIX)
    ]  # fmt: skip
    fitting = [model for model in models if model.card.channels == channels]
    return (fitting or [model for model in models if model.card.channels == 1])[0]
