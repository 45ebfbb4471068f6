r"""Write docs/models.md: the shipped models beside the paper and the published checkpoints.

    python -m adnet.benchmarks.release.models_page -o PAGE
    python -m adnet.benchmarks.release.models_page --data BSD68 --data CBSD68 --published WEIGHTS \
        -o PAGE

Our figures come from the cards, where `release.ship` put what it measured. The published
checkpoints (named as gray_blind.pth, color_sigma25.pth) are measured where they are given, and
their figures kept in PAGE-published.json: they never change. The training curves and rendered
scenes before and after are drawn beside the page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adnet._cli import DebugOption, make_app, reports_errors
from adnet.atomic import atomic_path
from adnet.benchmarks.paper import paper_psnr
from adnet.benchmarks.quality import find_dataset
from adnet.benchmarks.release.models_pictures import EXAMPLE_SIGMA, draw_curves, draw_examples
from adnet.benchmarks.sections import table
from adnet.benchmarks.tables import Entry, measure_psnr
from adnet.errors import UsageError
from adnet.export.outputs import require_file
from adnet.models.shipped import PretrainedModel, pretrained_models
from adnet.runtime.denoiser import Denoiser
from adnet.training.command import train_command

if TYPE_CHECKING:
    from adnet.models.card import ModelCard

app = make_app("Write the page of the shipped models.")

INTRODUCTION = """# Shipped models

Made by

    {command}

`adnet-run --list-models` lists the models; the full record of each, with the seed and all settings,
is in [adnet/weights/index.json](../adnet/weights/index.json). A float ONNX file of ours also holds
its batch norms, so it is all that is needed to run a model, to export it again (`adnet-export onnx
NAME`) and to train on from it (`adnet-train --init NAME`). An int8 file is to run alone: its
`--init` is the float model that it was made from.

PSNR in dB under the published noise protocol (noise not clipped, seed 0 for every image, PSNR on
floats, mean over the images); `adnet-bench tables` measures it again. Published checkpoints, where
a table has them, were measured by us; they are not part of this project. No model was trained or
tuned on a test image. So far all were trained on two CPU cores, beside other work; the paper's
schedule sees about 94 million patches. They are trained further when there is time.

The commands under each model are those of its runs, one after the other: `--init NAME` means what
the run before had made of that model, or the `NAME` of that day, and where fewer steps were taken
than `--steps` says, the weights are from the middle of a run.
"""

_PUBLISHED_BLIND = 55
"""The blind models of the paper are trained with noise of 0 to 55; at 75 the published one for
colour has 6.07 dB on CBSD68, which compares with nothing."""

SCENES_TEXT = """Rendered scenes, pixel for pixel: with noise of sigma {sigma:g}, denoised by the
blind models, and clean (`adnet.images.scenes` draws them; nothing is photographed):"""

PAIRS_TEXT = """Real noise: {title}, scenes that took no part in training or choosing (PSNR in dB,
mean over the pairs of a scene):"""


@app.command()
@reports_errors
def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="Folder of clean test images for the published; repeat."),
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="Folder of the published checkpoints, to measure them.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Use only the first images.")] = None,
    debug: DebugOption = False,
) -> None:
    """Write the page of the shipped models beside the published ones."""
    require_file(output, ".md")
    if (published is None) != (not data):
        raise UsageError("--published and --data measure together: give both or neither.")
    if published is not None:
        if not published.is_dir():
            raise UsageError(f"--published {published}: no such folder.")
        folders = dict(find_dataset(one) for one in data or ())
        theirs = _measure_published(_from_cards(pretrained_models()), folders, published, images)
        _keep_published(theirs, output)
    write_page(output)
    typer.echo(f"wrote {output}")


def write_page(output: Path) -> None:
    """Write the page and its pictures, from the cards and PAGE-published.json."""
    models = pretrained_models()
    entries = _from_cards(models)
    curves = output.with_name(f"{output.stem}-curves.png")
    pictures = output.with_name(f"{output.stem}-examples.png")
    draw_curves(models, curves)
    draw_examples(pictures)
    parts = [
        INTRODUCTION.format(
            command="python -m adnet.benchmarks.release.models_page -o "
            f"{output.parent.name}/{output.name}"
        ),
        "\n".join(_comparison(entries, _kept_published(entries, output))),
        *_pairs(models),
        "Validation PSNR while training, each on images held out of its own data:",
        f"![Training curves]({curves.name})",
        SCENES_TEXT.format(sigma=EXAMPLE_SIGMA),
        f"![Scenes before and after]({pictures.name})",
        *(_record(one.name, one.card) for one in models),
        _terms(models),
    ]
    with atomic_path(output) as temporary:
        temporary.write_text("\n\n".join(part.strip() for part in parts) + "\n", "utf-8")


def _published_file(page: Path) -> Path:
    return page.with_name(f"{page.stem}-published.json")


def _published_name(card: ModelCard, sigma: float) -> str:
    """Name the published checkpoint of the same kind as a model of ours."""
    kind = "blind" if card.is_blind else f"sigma{sigma:g}"
    return f"{'gray' if card.channels == 1 else 'color'}_{kind}"


def _keep_published(measured: dict[Entry, float], page: Path) -> None:
    cards = {one.name: one.card for one in pretrained_models()}
    file = _published_file(page)
    kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for entry, psnr in measured.items():
        of_one = kept.setdefault(_published_name(cards[entry.model], entry.sigma), {})
        of_one.setdefault(entry.dataset, {})[f"{entry.sigma:g}"] = round(psnr, 4)
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", "utf-8")


def _kept_published(entries: Sequence[Entry], page: Path) -> dict[Entry, float]:
    cards = {one.name: one.card for one in pretrained_models()}
    file = _published_file(page)
    kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
    found: dict[Entry, float] = {}
    for entry in entries:
        of_one = kept.get(_published_name(cards[entry.model], entry.sigma), {})
        psnr = of_one.get(entry.dataset, {}).get(f"{entry.sigma:g}")
        if psnr is not None:
            found[entry] = psnr
    return found


def _pairs(models: Sequence[PretrainedModel]) -> list[str]:
    """Tables of real noise: every scene of every set of pairs, before and after each model."""
    found: dict[str, dict[str, Any]] = {}
    for model in models:
        for title, measured in model.card.training.get("test_pairs", {}).items():
            found.setdefault(title, {})[model.name] = measured
    parts = []
    for title, by_model in found.items():
        first = next(iter(by_model.values()))
        rows = [
            [scene, f"{before:.3f}", *(
                f"{one['scenes'][scene][1]:.3f}" if scene in one["scenes"] else "-"
                for one in by_model.values()
            )]
            for scene, (before, _) in first["scenes"].items()
        ]  # fmt: skip
        rows.append([
            f"all {first['pairs']} pairs", f"{first['noisy']:.3f}",
            *(f"{one['denoised']:.3f}" for one in by_model.values()),
        ])  # fmt: skip
        parts += [
            PAIRS_TEXT.format(title=title),
            "\n".join(table(["scene", "noisy", *by_model], rows)),
        ]
    return parts


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
    entries: Sequence[Entry], folders: dict[str, Path], published: Path, limit: int | None
) -> dict[Entry, float]:
    """Measure, for every figure of ours, the published checkpoint of its kind."""
    cards = {one.name: one.card for one in pretrained_models()}
    alike: dict[tuple[str, str], list[Entry]] = {}  # those that one checkpoint and one set give
    for entry in entries:
        card = cards[entry.model]
        if card.is_blind and entry.sigma > _PUBLISHED_BLIND:
            continue
        name = f"{_published_name(card, entry.sigma)}.pth"
        if (published / name).is_file() and entry.dataset in folders:
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
    head = [
        "model", "data", "sigma", "ours", "published", "ours - published", "paper", "ours - paper",
    ]  # fmt: skip
    if not theirs:
        head, rows = head[:4] + head[6:], [row[:4] + row[6:] for row in rows]
    return table(head, rows)


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
        judged = one.get("judged")
        if judged:
            levels = ", ".join(
                f"{psnr:.3f}" + (f" at {level}" if level != "real" else "")
                for level, psnr in judged["psnr"].items()
            )
            lines[-1] += f" Chosen by {judged['images']}: {levels} dB."
        if config:
            lines += ["", f"       {train_command(config)}", ""]
    return "\n".join(lines)


def _terms(models: Sequence[PretrainedModel]) -> str:
    terms: dict[str, str] = {}
    for model in models:
        terms |= model.card.training.get("data_terms", {})
    rows = [[name, text] for name, text in sorted(terms.items())]
    note = (
        "None of these images is part of this project. The weights were learned from images "
        "published for research use; whether they may serve other ends is for those to say who "
        "hold the rights in the images. Every card names its data and their terms, and so does "
        "`adnet-run --list-models --json`."
    )
    return "\n".join(
        ["## Training data", "", *table(["set", "what, and its terms"], rows), "", note]
    )


if __name__ == "__main__":
    app()
