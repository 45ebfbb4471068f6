"""A run to look at: its curve, what its samples became, and what it started from; no torch."""

from __future__ import annotations

import base64
import html
import json
import math
from pathlib import Path
from typing import Any

from adnet.atomic import write_atomically
from adnet.data.folders import SAMPLES
from adnet.errors import UsageError
from adnet.pages.curve import curve
from adnet.pages.document import compare_figure, document
from adnet.training.command import train_command
from adnet.training.run_log import read_metrics

REPORT = "report.html"
INDEX = "samples.json"
START = 0
"""The step of the network that a run starts from."""


def write_report(run: Path) -> Path:
    """Write RUN/report.html from what the run left there; it appears whole or not at all.

    Raises:
        UsageError: the folder holds no run.
        OSError: it cannot be written.
    """
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        metrics = read_metrics(run / "metrics.jsonl")
    except OSError as err:
        raise UsageError(f"{run}: holds no training run ({err.strerror}: {err.filename}).") from err
    index = run / SAMPLES / INDEX
    samples = json.loads(index.read_text(encoding="utf-8")) if index.exists() else None
    parts = [
        f"<h1>{html.escape(run.resolve().name)}</h1>",
        f"<p><code>{html.escape(train_command(config))}</code></p>",
        _facts(metrics),
        _curves(metrics),
    ]
    if samples:
        parts.append(_samples(run / SAMPLES, samples, config))
    target = run / REPORT
    page = document(f"adnet-train: {run.resolve().name}", "\n".join(parts))
    write_atomically(target, page.encode("utf-8"))
    return target


def _series(metrics: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(one["step"], one[name]) for one in metrics if one.get(name) is not None]


def _facts(metrics: list[dict[str, Any]]) -> str:
    found = []
    if validated := _series(metrics, "val_psnr"):
        step, best = max(validated, key=lambda one: (not math.isnan(one[1]), one[1]))
        found.append(("Best validation PSNR", f"{best:.3f} dB, at step {step:,}"))
        found.append(("Last", f"{validated[-1][1]:.3f} dB"))
    if speed := _series(metrics, "patches_per_s"):
        found.append(("Speed", f"{speed[-1][1]:.1f} patches/s"))
    if seconds := _series(metrics, "elapsed_s"):
        found.append(("Time", f"{seconds[-1][1] / 60:.1f} min"))
    if backs := _series(metrics, "rollback"):
        found.append(("Went back to earlier weights", f"{backs[-1][1]:.0f} times"))
    items = "".join(f"<li>{name} <b>{html.escape(value)}</b></li>" for name, value in found)
    return f'<ul class="facts">{items}</ul>'


def _curves(metrics: list[dict[str, Any]]) -> str:
    parts = []
    for title, name, logarithmic in (
        ("Validation PSNR, dB", "val_psnr", False),
        ("Loss", "loss", True),
        ("Learning rate", "lr", True),
    ):
        drawn = curve(title, _series(metrics, name), logarithmic=logarithmic)
        if drawn:
            parts.append(f"<h2>{title}</h2>\n<figure>{drawn}<figcaption>over steps</figcaption>"
                         "</figure>")  # fmt: skip
    return "\n".join(parts)


def _samples(folder: Path, samples: dict[str, Any], config: dict[str, Any]) -> str:
    validations = samples["validations"]
    last = validations[-1]
    start = next((one for one in validations if one["step"] == START), None)
    noise = "real noise" if config["noise"] == "pairs" else f"sigma {config['val_sigma']:g}"
    parts = [f"<h2>Samples</h2>\n<p class='note'>Details of validation images, {noise}.</p>"]
    figures = []
    for number in range(samples["images"]):
        denoised = ("denoised", _address(folder, f"{last['step']:08}-{number}.png"))
        noisy = ("noisy", _address(folder, f"noisy-{number}.png"))
        told = f"noisy | denoised at step {last['step']:,}: {last['psnr'][number]:.2f} dB"
        figures.append(compare_figure(f"image {number + 1}", noisy, denoised, told))
        if start is not None and start is not last:
            before = ("start", _address(folder, f"{START:08}-{number}.png"))
            gain = last["psnr"][number] - start["psnr"][number]
            told = (
                f"the model it started from, {start['psnr'][number]:.2f} dB | now, {gain:+.2f} dB"
            )
            name = f"image {number + 1}, start and end"
            figures.append(compare_figure(name, before, denoised, told))
    parts.append(f'<div class="pairs">{"".join(figures)}</div>\n<h2>While it learned</h2>')
    for number in range(samples["images"]):
        steps = [
            _small(folder, f"{one['step']:08}-{number}.png",
                   f"{_step(one['step'])}: {one['psnr'][number]:.2f} dB")
            for one in validations
        ]  # fmt: skip
        steps = [_small(folder, f"noisy-{number}.png", "noisy"), *steps,
                 _small(folder, f"clean-{number}.png", "clean")]  # fmt: skip
        parts.append(f'<div class="strip">{"".join(steps)}</div>')
    return "\n".join(parts)


def _step(step: int) -> str:
    return "start" if step == START else f"{step:,}"


def _small(folder: Path, name: str, told: str) -> str:
    shown = html.escape(told)
    return (f'<figure><img src="{_address(folder, name)}" alt="{shown}"><figcaption>{shown}'
            "</figcaption></figure>")  # fmt: skip


def _address(folder: Path, name: str) -> str:
    data = (folder / name).read_bytes()
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")
