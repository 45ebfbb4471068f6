r"""Put a trained checkpoint among the weights that the package ships.

    python -m adnet.benchmarks.release.ship RUN/best.pth gray-blind --data DATA \
        --test BSD68=DATA/BSD68

Compares with the shipped model on the run's validation images (held out of DATA/BSD432), refuses
what is not better, writes NAME.onnx (parity proven) into adnet/weights of a source checkout and
updates index.json. `adnet.models.onnx_network` rebuilds the trained network from that file, for
export and fine-tuning.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from adnet._cli import DebugOption, make_app, reports_errors
from adnet.atomic import atomic_path
from adnet.benchmarks.release.kinds import require_name, require_same_kind
from adnet.data.pair_quality import measure_pairs
from adnet.data.pairs import holds_pairs, load_pairs
from adnet.errors import UsageError
from adnet.export.to_onnx import checkpoint_to_onnx
from adnet.export.torch_to_onnx import OnnxShape
from adnet.images.evaluate import PAPER_SIGMAS, Float32, evaluate, mean_psnr
from adnet.images.image import load_folder
from adnet.images.levels import from_levels
from adnet.images.synthetic import render
from adnet.models.card import ModelCard
from adnet.models.checkpoint import load_checkpoint, save_checkpoint
from adnet.models.shipped import WEIGHTS, pretrained_models
from adnet.runtime.denoiser import Denoiser
from adnet.training.command import train_command
from adnet.training.judge import Judgement, ValidationSet, judge, validation_set
from adnet.training.run_log import read_metrics

DATA_TERMS = {
    "BSD432": "Berkeley segmentation data set (BSDS500) without the 68 test images; published for "
    "research use",
    "Train400": "400 images of the Berkeley segmentation data set, as published with DnCNN; for "
    "research use",
    "PolyU": "PolyU real-world noisy images (Xu et al., 2018); published for research use",
}
"""Training data by the name of its folder -> where it is from and what it may be used for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a checkpoint may take a shipped model's place, and the figures behind it."""

    new: Judgement
    shipped: Judgement | None
    """None where no model of that name is shipped yet, or it is the int8 form of other weights."""
    whole: Judgement | None = None
    """Of the float network that an int8 one was made from; None for a float one."""

    @property
    def is_better(self) -> bool:
        """Whether there is nothing to lose by shipping it."""
        if self.whole is not None and not self.new.is_close_to(self.whole):
            return False
        return self.shipped is None or self.new.is_better_than(self.shipped)

    def describe(self) -> str:
        """Say the figures, level by level, e.g. `25: 30.617 -> 30.902 dB`."""
        before = self.shipped.psnr if self.shipped else {}
        levels = [
            f"{level}: {f'{before[level]:.3f} -> ' if level in before else ''}{psnr:.3f} dB"
            for level, psnr in self.new.psnr.items()
        ]
        text = f"{', '.join(levels)} on {self.new.images}"
        if self.whole is None:
            return text
        losses = [
            f"{level}: {gain:+.3f}" for level, gain in self.new.gains_over(self.whole).items()
        ]
        return f"{text}; against float {', '.join(losses)} dB"

    def record(self) -> dict[str, Any]:
        """For the card: both models' figures."""
        before = self.shipped
        record = self.new.to_dict() | {
            "replaced": before and {"weights_sha256": before.weights_sha256, "psnr": before.psnr}
        }
        if self.whole is not None:
            gains = self.new.gains_over(self.whole)
            record["against_float"] = {level: round(gain, 4) for level, gain in gains.items()}
        return record


def _require_kind(card: ModelCard, name: str) -> None:
    """Make sure that a model may stand in the place of the shipped one of a name, if there is one.

    Raises:
        UsageError: it may not, see `kinds`.
    """
    for entry in _entries():
        if entry["name"] == name:
            shipped = ModelCard.from_json(json.dumps(entry["card"]), f"the index's {name}")
            require_same_kind(shipped, card, name)


def weigh(checkpoint: Path, name: str, roots: Sequence[Path], device: str = "cpu") -> Verdict:
    """Measure a checkpoint and the shipped model of a name on the checkpoint's validation images.

    A shipped model that was trained on other images may know these; that speaks for the shipped
    one, never for the new one.

    Args:
        roots: folders that hold the data sets by name (`adnet.training.judge.validation_set`).

    Raises:
        UsageError: the images are not there, or the models are not of one kind.
    """
    card = load_checkpoint(checkpoint).card
    require_name(name)
    _require_kind(card, name)
    if "config" not in card.training:
        raise UsageError(
            f"{checkpoint}: does not tell what it was trained on, so it cannot be judged. Ship a "
            "best.pth of adnet-train, or give --force."
        )
    images = validation_set(card.training["config"], roots)
    new = judge(checkpoint, images, device=device)
    entry = next((one for one in _entries() if one["name"] == name), None)
    whole = None
    if card.training["config"].get("quantize"):
        origin = card.training["init"]["weights_sha256"]
        source = next((one for one in _entries() if one["card"]["weights_sha256"] == origin), None)
        if source is None:
            raise UsageError(
                f"{checkpoint}: the float network that it was made from (weights {origin[:12]}) is "
                "not shipped, so nothing tells what int8 loses. Fine-tune the shipped one."
            )
        whole = judge(WEIGHTS / source["file"], images, device=device)
        if entry is not None and entry["card"]["training"]["init"]["weights_sha256"] != origin:
            entry = None  # the int8 form of what is no longer shipped
    if entry is None:
        return Verdict(new, None, whole)
    stored = entry["card"]["training"].get("judged", {})
    if (stored.get("images_sha256"), set(stored.get("psnr", {}))) == (
        new.images_sha256, set(new.psnr),
    ):  # fmt: skip
        stored = {field.name: stored[field.name] for field in dataclasses.fields(Judgement)}
        return Verdict(new, Judgement(**stored), whole)  # measured when it was shipped
    if whole is not None:
        return Verdict(new, _judge_int8(entry, images), whole)
    return Verdict(new, judge(WEIGHTS / entry["file"], images, device=device), whole)


def _judge_int8(entry: Mapping[str, Any], on: ValidationSet) -> Judgement:
    """Measure a shipped int8 file, which PyTorch does not take, on ONNX Runtime."""
    clean = [from_levels(one.clean) for one in on.images]
    with Denoiser(WEIGHTS / entry["file"]) as denoiser:
        psnr = {
            level: round(mean_psnr(evaluate(denoiser, clean, float(level))), 4)
            for level in on.levels
        }
    return Judgement(on.description, on.sha256, entry["card"]["weights_sha256"], psnr)


def ship(
    checkpoint: Path, name: str, tests: Mapping[str, Path], verdict: Verdict | None = None
) -> ModelCard:
    """Export, measure and register a checkpoint; the old files stay until all of it is done.

    Args:
        tests: name of a test set -> folder of clean images, or of pairs (`holds_pairs`). The PSNR
            at the paper's noise levels (those that the model covers), or on the pairs scene by
            scene, goes into the card.
        verdict: goes into the card, too; the decision is the caller's (`Verdict.is_better`).

    Raises:
        AdnetError: the name is none, or as `adnet.export.to_onnx.checkpoint_to_onnx`.
    """
    require_name(name)
    loaded = load_checkpoint(checkpoint)
    training = dict(loaded.card.training) | training_record(loaded.card, checkpoint.parent)
    training.pop("judged", None)
    if verdict is not None:
        training["judged"] = verdict.record()
    with tempfile.TemporaryDirectory() as temporary:
        onnx, final = Path(temporary, "model.onnx"), Path(temporary, "model.pth")
        # Only to measure it: what is shipped is proven below, where its card is complete.
        checkpoint_to_onnx(checkpoint, onnx, OnnxShape(), name=name, verify=False)
        training["sample_psnr"] = round(sample_psnr(onnx), 4)
        with Denoiser(onnx) as denoiser:
            training |= _measure_tests(denoiser, loaded.card, tests)
        card = dataclasses.replace(loaded.card, name=name, training=training)
        save_checkpoint(final, loaded.network.state_dict(), card)
        checkpoint_to_onnx(final, onnx, OnnxShape())
        target = WEIGHTS / f"{name}.onnx"
        with atomic_path(target) as path:
            shutil.copyfile(onnx, path)
    _register(card, target)
    return card


def _measure_tests(
    denoiser: Denoiser, card: ModelCard, tests: Mapping[str, Path]
) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    for title, folder in tests.items():
        if holds_pairs(folder):
            pairs[title] = measure_pairs(denoiser, load_pairs(folder, card.channels)).to_dict()
        elif card.sigma_range is not None:  # of real noise only: no level to measure at
            images = load_folder(folder, card.channels).values()
            clean[title] = _measure(denoiser, [from_levels(one) for one in images], card)
    found = {"test_psnr": clean, "test_pairs": pairs}
    return {key: value for key, value in found.items() if value}


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
        record["data_terms"] = data_terms(card.training)
    metrics = run / "metrics.jsonl"
    if metrics.is_file():
        curve = {
            row["step"]: round(row["val_psnr"], 4)
            for row in read_metrics(metrics)
            if math.isfinite(row.get("val_psnr", math.nan))
        }
        record["curve"] = [list(point) for point in curve.items()]
    return record


def data_terms(training: Mapping[str, Any]) -> dict[str, str]:
    """Tell the terms of all images behind some weights, those of earlier trainings included.

    Args:
        training: record of a card; `init` holds the record of what it started from.

    Returns:
        Data set -> its source and terms. A part of a set (`PolyU-train`) has the set's terms.

    Raises:
        UsageError: the terms of a data set are not known, so the weights may not be given away.
    """
    terms: dict[str, str] = {}
    stage: Mapping[str, Any] | None = training
    while stage:
        for part in stage.get("data", []):
            name = part if part in DATA_TERMS else str(part).partition("-")[0]
            if name not in DATA_TERMS:
                raise UsageError(
                    f"the terms of the training data {part!r} are not known. Add a line to "
                    "DATA_TERMS that says where it is from and what it may be used for."
                )
            terms[name] = DATA_TERMS[name]
        stage = stage.get("init")
    return dict(sorted(terms.items()))


def _measure(denoiser: Denoiser, images: Iterable[Float32], card: ModelCard) -> dict[str, float]:
    return {
        f"{sigma}": round(mean_psnr(evaluate(denoiser, images, sigma)), 4)
        for sigma in PAPER_SIGMAS[card.channels]
        if card.covers(sigma)
    }


def _entries() -> list[dict[str, Any]]:
    """Read the index afresh: `pretrained_models` remembers what it was when first asked."""
    index = WEIGHTS / "index.json"
    if not index.exists():
        return []
    entries: list[dict[str, Any]] = json.loads(index.read_text(encoding="utf-8"))["models"]
    return entries


def _register(card: ModelCard, onnx: Path) -> None:
    index = WEIGHTS / "index.json"
    entry = {
        "name": card.name,
        "file": onnx.name,
        "sha256": hashlib.sha256(onnx.read_bytes()).hexdigest(),
        "card": json.loads(card.to_json()),
    }
    entries = sorted(
        [*(old for old in _entries() if old["name"] != card.name), entry],
        key=lambda one: (one["card"]["channels"], one["name"]),
    )
    with atomic_path(index) as temporary:
        temporary.write_text(json.dumps({"models": entries}, indent=1) + "\n", encoding="utf-8")
    pretrained_models.cache_clear()


def _can_compare(checkpoint: Path, name: str) -> bool:
    try:
        _require_kind(load_checkpoint(checkpoint).card, name)
    except UsageError:
        return False
    return True


app = make_app("Put a trained checkpoint among the shipped weights.")


@app.command()
@reports_errors
def main(
    checkpoint: Annotated[Path, typer.Argument(help="Trained checkpoint.")],
    name: Annotated[str, typer.Argument(help="Name to ship it under, e.g. gray-blind.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that holds the training data by name; repeat for several."),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER of clean test images, or of pairs, to measure on."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Ship it without, or in spite of, a comparison.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Export, measure and register a checkpoint in adnet/weights, if it is better.

    With --data it is compared on its validation images with the shipped model of that name, and
    refused if it is not better.
    """
    pairs = [text.partition("=") for text in test or ()]
    if any(not sep or not folder for _, sep, folder in pairs):
        raise UsageError(f"--test: expected NAME=FOLDER, got {test}.")
    if not data and not force:
        raise UsageError(
            f"give --data FOLDER (which holds the data set that {checkpoint} was trained on) to "
            "compare with the shipped model, or --force to ship it unseen."
        )
    can_compare = not force or _can_compare(checkpoint, name)
    verdict = weigh(checkpoint, name, data) if data and can_compare else None
    if verdict is not None:
        typer.echo(f"{name}: {verdict.describe()}")
        if not verdict.is_better and not force:
            raise UsageError(
                f"{checkpoint} is not better than the shipped {name}; nothing was changed. Give "
                "--force to ship it all the same."
            )
    card = ship(checkpoint, name, {title: Path(folder) for title, _, folder in pairs}, verdict)
    measured = {
        key: card.training[key] for key in ("test_psnr", "test_pairs") if key in card.training
    }
    typer.echo(f"{card.name}: shipped; {measured or 'no test set was measured'}")


if __name__ == "__main__":
    app()
