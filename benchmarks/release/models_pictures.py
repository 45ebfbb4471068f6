"""The pictures of docs/models.md: training curves, and rendered scenes before and after."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adnet.atomic import write_atomically
from adnet.images.evaluate import compare
from adnet.images.noise import add_published_noise
from adnet.images.scenes import SCENES
from adnet.models.shipped import PretrainedModel, default_model
from adnet.runtime.denoiser import Denoiser

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLE_SIGMA = 25.0
_HEIGHT, _WIDTH = 118, 200
_GAP, _CAPTION = 6, 17


def draw_curves(models: Sequence[PretrainedModel], path: Path) -> None:
    """Draw the validation PSNR of each model over the patches that it had seen."""
    from matplotlib import colormaps  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=colormaps["tab20"](np.arange(20)))  # no colour twice
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
        figure.legend(frameon=False, loc="outside right center")
    save_figure(figure, path)


def draw_examples(path: Path) -> None:
    """Draw every scene noisy, denoised by the shipped blind model and clean, with the PSNR below.

    Pixels are shown one to one: scaling would soften what is to be seen.
    """
    font = ImageFont.load_default(12)
    height = len(SCENES) * (_HEIGHT + _CAPTION) + _GAP
    picture = Image.new("RGB", (3 * _WIDTH + 4 * _GAP, height), "white")
    draw = ImageDraw.Draw(picture)
    for row, (title, render) in enumerate(SCENES.items()):
        clean = render(_HEIGHT, _WIDTH)
        noisy = add_published_noise(clean, EXAMPLE_SIGMA)
        model = default_model(1 if clean.ndim == 2 else 3)
        with Denoiser(model.name) as denoiser:
            denoised = denoiser(noisy)
        shown = (
            (noisy, f"noisy, {compare(clean, noisy).psnr:.2f} dB"),
            (denoised, f"{model.name}, {compare(clean, denoised).psnr:.2f} dB"),
            (clean, f"clean: {title}"),
        )
        top = _GAP + row * (_HEIGHT + _CAPTION)
        for column, (image, caption) in enumerate(shown):
            left = _GAP + column * (_WIDTH + _GAP)
            # Noise does not compress: on 32 levels it looks the same and takes a third less.
            pixels = _pixels(image, step=8 if column == 0 else 1)
            picture.paste(Image.fromarray(pixels).convert("RGB"), (left, top))
            draw.text((left, top + _HEIGHT + 1), caption, "black", font)
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", optimize=True)
    write_atomically(path, encoded.getbuffer())


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Matplotlib writes through Pillow, which does not notice a full disk; memory is never short.
    """
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=110)
    write_atomically(path, encoded.getbuffer())


def _pixels(image: NDArray[Any], step: int) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(image * (255 / step)) * step, 0, 255), np.uint8)
