"""Put a trained checkpoint among the weights that the package ships.

    python -m adnet.export.ship RUN/best.pth gray-blind --test BSD68=../shared/data/BSD68

Writes NAME.onnx (parity proven) into adnet/weights of a source checkout and updates index.json. The
trained network can be had back from that file (`adnet.onnx_weights`), for export and fine-tuning.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from adnet.export.pipeline import checkpoint_to_onnx
from adnet.export.torch_to_onnx import OnnxShape
from adnet.runtime.denoiser import Denoiser

from adnet._cli import make_app, reports_errors
from adnet.atomic import atomic_path
from adnet.card import ModelCard
from adnet.checkpoint import load_checkpoint, save_checkpoint
from adnet.errors import UsageError
from adnet.evaluate import PAPER_SIGMAS, Float32, evaluate, mean_psnr
from adnet.image import load_folder
from adnet.pretrained import WEIGHTS
from adnet.synthetic import render
from adnet.training.command import train_command

DATA_TERMS = {
    "BSD432": "Berkeley segmentation data set (BSDS500) without the 68 test images; published for "
    "research use",
    "Train400": "400 images of the Berkeley segmentation data set, as published with DnCNN; for "
    "research use",
    "PolyU": "PolyU real-world noisy images (Xu et al., 2018); published for research use",
}
"""Training data by the name of its folder -> where it is from and what it may be used for."""


def ship(checkpoint: Path, name: str, tests: dict[str, Path]) -> ModelCard:
    """Export, measure and register a checkpoint.

    Args:
        tests: name of a test set -> folder of its clean images; the PSNR at the paper's noise
            levels (those that the model covers) goes into the card.

    Raises:
        AdnetError: as `adnet.export.pipeline.checkpoint_to_onnx`.
    """
    onnx = WEIGHTS / f"{name}.onnx"
    checkpoint_to_onnx(checkpoint, onnx, OnnxShape(), name=name)
    loaded = load_checkpoint(checkpoint)
    measured = {}
    with Denoiser(onnx) as denoiser:
        for title, folder in tests.items():
            images = load_folder(folder, loaded.card.channels).values()
            clean = [image / np.float32(255) for image in images]
            measured[title] = _measure(denoiser, clean, loaded.card)
    training = dict(loaded.card.training) | training_record(loaded.card, checkpoint.parent)
    training["sample_psnr"] = round(sample_psnr(onnx), 4)
    if measured:
        training["test_psnr"] = measured
    card = dataclasses.replace(loaded.card, name=name, training=training)
    with tempfile.TemporaryDirectory() as temporary:
        final = Path(temporary, "model.pth")
        save_checkpoint(final, loaded.network.state_dict(), card)
        checkpoint_to_onnx(final, onnx, OnnxShape())
    _register(card, onnx)
    return card


def sample_psnr(model: Path) -> float:
    """Measure a model on four rendered images at sigma 25: tells later whether it is still itself.

    Returns:
        The mean PSNR in dB.
    """
    with Denoiser(model) as denoiser:
        channels = denoiser.model_for(3).card.channels
        images = [render(96, 128, channels, seed) for seed in range(4)]
        return mean_psnr(evaluate(denoiser, images, 25))


def training_record(card: ModelCard, run: Path) -> dict[str, Any]:
    """Collect what the checkpoint's card does not tell yet, for a stranger who repeats the run.

    Args:
        run: directory of the training run; its metrics.jsonl gives the curve.

    Returns:
        command, terms of the data's use, and curve: [step, validation PSNR in dB] pairs.
    """
    record: dict[str, Any] = {}
    config = card.training.get("config")
    if config:
        record["command"] = train_command(config)
        record["data_terms"] = {
            name: DATA_TERMS[name] for name in config["data"] if name in DATA_TERMS
        }
    metrics = run / "metrics.jsonl"
    if metrics.is_file():
        rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
        record["curve"] = [[r["step"], round(r["val_psnr"], 4)] for r in rows if "val_psnr" in r]
    return record


def _measure(denoiser: Denoiser, images: Iterable[Float32], card: ModelCard) -> dict[str, float]:
    low, high = card.sigma_range or (0.0, 0.0)
    return {
        f"{sigma}": round(mean_psnr(evaluate(denoiser, images, sigma)), 4)
        for sigma in PAPER_SIGMAS[card.channels]
        if low <= sigma <= high
    }


def _register(card: ModelCard, onnx: Path) -> None:
    index = WEIGHTS / "index.json"
    entries = json.loads(index.read_text(encoding="utf-8"))["models"] if index.exists() else []
    entry = {
        "name": card.name,
        "file": onnx.name,
        "sha256": hashlib.sha256(onnx.read_bytes()).hexdigest(),
        "card": json.loads(card.to_json()),
    }
    entries = sorted(
        [*(old for old in entries if old["name"] != card.name), entry],
        key=lambda one: (one["card"]["channels"], one["name"]),
    )
    with atomic_path(index) as temporary:
        temporary.write_text(json.dumps({"models": entries}, indent=1) + "\n", encoding="utf-8")


app = make_app("Put a trained checkpoint among the shipped weights.")


@app.command()
@reports_errors
def main(
    checkpoint: Annotated[Path, typer.Argument(help="Trained checkpoint.")],
    name: Annotated[str, typer.Argument(help="Name to ship it under, e.g. gray-blind.")],
    test: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of clean test images to measure on.")
    ] = None,
) -> None:
    """Export, measure and register a checkpoint in adnet/weights."""
    pairs = [text.partition("=") for text in test or ()]
    if any(not sep or not folder for _, sep, folder in pairs):
        raise UsageError(f"--test: expected NAME=FOLDER, got {test}.")
    card = ship(checkpoint, name, {title: Path(folder) for title, _, folder in pairs})
    typer.echo(f"{card.name}: {card.training.get('test_psnr', 'not measured')}")


if __name__ == "__main__":
    app()
