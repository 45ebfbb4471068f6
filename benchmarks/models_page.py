"""Write docs/models.md: the shipped models beside the paper and the published checkpoints.

    python -m adnet.benchmarks.models_page --data BSD68 --data CBSD68 --published WEIGHTS -o PAGE

Our figures come from the cards, where `adnet.export.ship` put what it measured. Measured here are
the published checkpoints, where they are at hand (named as gray_blind.pth, color_sigma25.pth). The
training curves and our sample images before and after are drawn beside the page.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from adnet.benchmarks.markdown import table
from adnet.benchmarks.paper import paper_psnr
from adnet.benchmarks.quality import find_dataset
from adnet.benchmarks.tables import Entry, measure_psnr
from adnet.runtime.denoiser import Denoiser

from adnet._cli import make_app, reports_errors
from adnet.atomic import atomic_path, write_atomically
from adnet.image import find_images, read_image
from adnet.pretrained import PretrainedModel, default_model, pretrained_models

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from adnet.card import ModelCard

app = make_app("Write the page of the shipped models.")

INTRODUCTION = """# Shipped models

Made by

    {command}

`adnet-run --list-models` lists the models; the full record of each, with the seed and all settings,
is in [adnet/weights/index.json](../adnet/weights/index.json). An ONNX file of ours holds its batch
norms, too, so it serves to run, to export anew (`adnet-export onnx NAME`) and to train on from
(`adnet-train --init NAME`); there are no other files to fetch.

PSNR in dB under the published noise protocol (noise not clipped, seed 0 for every image, PSNR on
floats, mean over the images); `adnet-bench tables` measures it again. Published checkpoints, where
they stand beside, were measured by us; they are not part of this project. No model was trained or
tuned on a test image. Models are trained anew whenever more computing is at hand: so far on two CPU
cores, beside other work, where the paper's schedule saw about 94 million patches.
"""


@app.command()
@reports_errors
def main(
    data: Annotated[
        list[str], typer.Option(help="Folder of clean test images for the published; repeat.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write.")],
    published: Annotated[
        Path | None, typer.Option(help="Folder of the published checkpoints.")
    ] = None,
    examples: Annotated[
        Path, typer.Option(help="Sample images: folder with clean/ and noisy/.")
    ] = Path("examples"),
    images: Annotated[int | None, typer.Option(help="Use only the first images.")] = None,
) -> None:
    """Write the page of the shipped models beside the published ones."""
    datasets = [find_dataset(one) for one in data]
    models = pretrained_models()
    entries = _from_cards(models)
    theirs = _measure_published(entries, dict(datasets), published, images)
    curves = output.with_name(f"{output.stem}-curves.png")
    pictures = output.with_name(f"{output.stem}-examples.png")
    draw_curves(models, curves)
    draw_examples(examples, pictures)
    names = " ".join(f"--data PATH/{name}" for name, _ in datasets)
    beside = " --published PATH/weights" if theirs else ""
    command = f"python -m adnet.benchmarks.models_page {names}{beside} -o {output}"
    parts = [
        INTRODUCTION.format(command=command),
        "\n".join(_comparison(entries, theirs)),
        "Validation PSNR while training, each on images held out of its own data:",
        f"![Training curves]({curves.name})",
        "Our sample images (rendered, sigma 25), noisy and denoised by the blind models:",
        f"![Sample images before and after]({pictures.name})",
        *(_record(one.name, one.card) for one in models),
        _terms(models),
    ]
    with atomic_path(output) as temporary:
        temporary.write_text("\n\n".join(part.strip() for part in parts) + "\n", "utf-8")
    typer.echo(f"wrote {output}")


def _from_cards(models: Sequence[PretrainedModel]) -> list[Entry]:
    return [
        Entry(
            one.name, dataset, float(sigma), psnr,
            paper_psnr(dataset, float(sigma), one.card.is_blind),
        )
        for one in models
        for dataset, at in one.card.training.get("test_psnr", {}).items()
        for sigma, psnr in at.items()
    ]  # fmt: skip


def _measure_published(
    entries: Sequence[Entry], folders: dict[str, Path], published: Path | None, limit: int | None
) -> dict[Entry, float]:
    """Measure, for every figure of ours, the published checkpoint of its kind."""
    cards = {one.name: one.card for one in pretrained_models()}
    alike: dict[tuple[str, str], list[Entry]] = {}  # those that one checkpoint and one set give
    for entry in entries:
        card = cards[entry.model]
        kind = "blind" if card.is_blind else f"sigma{entry.sigma:g}"
        name = f"{'gray' if card.channels == 1 else 'color'}_{kind}.pth"
        if published is not None and (published / name).is_file() and entry.dataset in folders:
            alike.setdefault((str(published / name), entry.dataset), []).append(entry)
    found: dict[Entry, float] = {}
    for (checkpoint, dataset), group in alike.items():
        channels = cards[group[0].model].channels
        with Denoiser(checkpoint, backend="torch", device="cpu") as denoiser:
            sigmas = [one.sigma for one in group]
            psnr = measure_psnr(denoiser, folders[dataset], channels, sigmas, limit)
        found |= {one: psnr[one.sigma] for one in group}
    return found


def _comparison(entries: Sequence[Entry], theirs: dict[Entry, float]) -> list[str]:
    def beside(own: float, other: float | None, digits: int) -> list[str]:
        return ["-", "-"] if other is None else [f"{other:.{digits}f}", f"{own - other:+.3f}"]

    rows = [
        [
            one.model, one.dataset, f"{one.sigma:g}", f"{one.psnr:.3f}",
            *beside(one.psnr, theirs.get(one), 3), *beside(one.psnr, one.paper, 2),
        ]
        for one in entries
    ]  # fmt: skip
    head = ["model", "data", "sigma", "ours", "published", "ours by it", "paper", "ours by it"]
    if not theirs:
        head, rows = head[:4] + head[6:], [row[:4] + row[6:] for row in rows]
    return table(head, rows)


def draw_curves(models: Sequence[PretrainedModel], path: Path) -> None:
    """Draw the validation PSNR of each model over the patches that it had seen."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    for model in models:
        curve = model.card.training.get("curve")
        if curve:
            batch = model.card.training["config"]["batch"]
            steps, values = np.array(curve).T
            sigma = model.card.training.get("val_sigma")
            noise = "real noise" if sigma is None else f"sigma {sigma:g}"
            axes.plot(steps * batch / 1000, values, ".-", label=f"{model.name} ({noise})")
    axes.set_xlabel("thousand patches")
    axes.set_ylabel("PSNR, dB")
    axes.grid(color="#dddddd")
    if axes.lines:
        axes.legend(frameon=False)
    save_figure(figure, path)


def draw_examples(folder: Path, path: Path) -> None:
    """Draw a detail of each sample image: noisy, denoised, clean."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    files = find_images(folder / "noisy")
    figure = Figure(figsize=(8, 2.8 * len(files)), layout="constrained")
    for row, file in zip(figure.subplots(len(files), 3, squeeze=False), files, strict=True):
        noisy = read_image(file)
        clean = read_image(folder / "clean" / file.name).pixels
        name = default_model(noisy.colour_channels).name
        with Denoiser(name) as denoiser:
            denoised = denoiser(noisy.pixels)
        top, left = (max(0, (length - 160) // 2) for length in clean.shape[:2])
        titles = (file.name, f"denoised by {name}", "clean")
        for axes, pixels, title in zip(row, (noisy.pixels, denoised, clean), titles, strict=True):
            detail = pixels[top : top + 160, left : left + 160]
            axes.imshow(detail, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(title, fontsize=9)
            axes.set_axis_off()
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Matplotlib writes through Pillow, which does not notice a full disk; memory is never short.
    """
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=110)
    write_atomically(path, encoded.getbuffer())


def _record(name: str, card: ModelCard) -> str:
    """Tell how a model was made, from the first step to the last."""
    stages: list[Any] = []
    stage: Any = card.training
    while stage:
        stages.insert(0, stage)
        stage = stage.get("init")
    planes = "one gray channel" if card.channels == 1 else "three planes (RGB)"
    lines = [f"## {name}", "", f"{planes[0].upper()}{planes[1:]}; {card.describe_sigma()}.", ""]
    for number, one in enumerate(stages, start=1):
        config = one.get("config", {})
        side = config.get("patch", "?")
        source = f"{one.get('source', '?')} of {', '.join(one.get('data', []))}"
        made = ", ".join(f"{key} {value}" for key, value in one.get("versions", {}).items())
        lines.append(
            f"{number}. {one.get('steps', '?')} steps of {config.get('batch', '?')} patches of "
            f"{side}x{side} from {source}; {one.get('minutes', '?')} minutes on "
            f"{one.get('device', '?')}; seed {config.get('seed', '?')}; validation "
            f"{one.get('val_psnr', '?')} dB; {made}."
        )
        if "command" in one:
            lines += ["", f"       {one['command']}", ""]
    return "\n".join(lines)


def _terms(models: Sequence[PretrainedModel]) -> str:
    terms: dict[str, str] = {}
    for model in models:
        terms |= model.card.training.get("data_terms", {})
    rows = [[name, text] for name, text in sorted(terms.items())]
    note = "None of these images is part of this project."
    return "\n".join(
        ["## Training data", "", *table(["set", "what, and its terms"], rows), "", note]
    )


if __name__ == "__main__":
    app()
