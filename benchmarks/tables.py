"""The paper's tables with our models: PSNR of every model on every data set given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adnet.benchmarks.paper import paper_psnr
from adnet.benchmarks.quality import load_clean
from adnet.data.pair_quality import PairsQuality, measure_pairs
from adnet.data.pairs import load_pairs
from adnet.images.evaluate import PAPER_SIGMAS, evaluate, mean_psnr
from adnet.images.image import find_images, read_image
from adnet.images.levels import from_levels
from adnet.runtime.denoiser import Denoiser


@dataclass(frozen=True, slots=True)
class Entry:
    """One figure of a table."""

    model: str
    dataset: str
    sigma: float
    psnr: float
    paper: float | None
    """Of the model for that level, or the blind one, whichever this model is."""


def measure_tables(
    models: Sequence[str],
    datasets: Sequence[tuple[str, Path]],
    backend: str | None = None,
    limit: int | None = None,
) -> Iterator[Entry]:
    """Measure, at the paper's noise levels that a model covers; gray images go to gray models.

    Args:
        models: shipped names or files.
        datasets: names and folders of clean images.
        limit: use only the first images of each set; the paper's figure is then left out.

    Yields:
        Figures as they are measured.
    """
    for name in models:
        with Denoiser(name, backend=backend) as denoiser:
            card = denoiser.model_for(3).card
            if card.is_for_real_noise:
                continue  # see `measure_real`
            sigmas = [sigma for sigma in PAPER_SIGMAS[card.channels] if card.covers(sigma)]
            for dataset, folder in datasets:
                first = read_image(find_images(folder)[0])
                if first.colour_channels != card.channels:
                    continue
                for sigma, psnr in measure_psnr(
                    denoiser, folder, card.channels, sigmas, limit
                ).items():
                    paper = None if limit else paper_psnr(dataset, sigma, card.is_blind)
                    yield Entry(card.name or Path(name).stem, dataset, sigma, psnr, paper)


def measure_real(
    models: Sequence[str], datasets: Sequence[tuple[str, Path]], backend: str | None = None
) -> Iterator[tuple[str, str, PairsQuality]]:
    """Measure models on pairs of real photographs; gray models see them in gray.

    Yields:
        Model, data set, and its quality over all pairs and by scene.

    Raises:
        TrainingError: a folder does not hold pairs.
    """
    for name in models:
        with Denoiser(name, backend=backend) as denoiser:
            card = denoiser.model_for(3).card
            for dataset, folder in datasets:
                found = measure_pairs(denoiser, load_pairs(folder, card.channels))
                yield card.name or Path(name).stem, dataset, found


def measure_psnr(
    denoiser: Denoiser, folder: Path, channels: int, sigmas: Sequence[float], limit: int | None
) -> dict[float, float]:
    """Measure one model on one data set, the first `limit` images; noise level -> PSNR in dB."""
    images = load_clean(folder, channels, limit).values()
    clean = [from_levels(image) for image in images]
    return {sigma: mean_psnr(evaluate(denoiser, clean, sigma)) for sigma in sigmas}
