"""How well noise is estimated, and what choosing a model by the estimate gains over the blind one.

    python -m adnet.benchmarks.studies.noise_levels PATH/BSD432 [--sigma 5,15,25,50] [--held 6]

On the images that training on that folder holds out for validation; none was trained on. Images are
rounded to 8 bits after the noise, as files are. Printed for each level: the estimate of `auto`, its
error beside that of Donoho's estimate of the whole image, and the PSNR of the blind gray model, of
the one that `auto` chose and of every gray model of a single level.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from adnet._cli import make_app, reports_errors
from adnet.data.held_out import hold_out
from adnet.images.evaluate import compare
from adnet.images.image import find_images, load_image
from adnet.images.levels import from_levels, to_levels
from adnet.images.noise import add_published_noise
from adnet.images.noise_level import estimate_sigma, plain_estimate
from adnet.models.shipped import FAST_SUFFIX, default_model, pretrained_models
from adnet.runtime.denoiser import Denoiser

app = make_app("Measure the estimate of noise, and what choosing a model by it gains.")

Images = list[NDArray[np.float32]]


def errors(found: list[float], sigma: float) -> str:
    """Write bias and mean absolute error."""
    off = np.array(found) - sigma
    return f"{off.mean():+5.2f} {np.abs(off).mean():5.2f}"


def quality(denoise: Any, clean: Images, noisy: Images) -> float:
    """Return the mean PSNR in dB."""
    pairs = zip(clean, noisy, strict=True)
    return float(np.mean([compare(one, denoise(other)).psnr for one, other in pairs]))


@app.command()
@reports_errors
def main(
    data: Annotated[Path, typer.Argument(help="Folder that was trained on, such as BSD432.")],
    sigma: Annotated[str, typer.Option(help="Noise levels.")] = "5,15,25,50",
    held: Annotated[int, typer.Option(help="How many images are held out.")] = 6,
    threads: Annotated[int, typer.Option(help="Threads.")] = 1,
) -> None:
    """Print a table of estimates and of PSNR."""
    paths = find_images(data)
    clean = [from_levels(load_image(paths[one], 1)) for one in sorted(hold_out(len(paths), held))]
    single = [one.name for one in pretrained_models()
              if one.card.channels == 1 and one.card.is_blind is False
              and not one.name.endswith(FAST_SUFFIX)]  # fmt: skip
    blind = default_model(1).name
    typer.echo(f"sigma | estimate  bias  |e| | plain: bias  |e| | {blind} | auto | {single}")
    for level in (float(part) for part in sigma.split(",")):
        noisy = [
            from_levels(to_levels(add_published_noise(image, level, seed)))
            for seed, image in enumerate(clean)
        ]
        found = [estimate_sigma(image) or 0.0 for image in noisy]
        plain = [plain_estimate(image) for image in noisy]
        psnr = []
        for model in (blind, None, *single):
            with Denoiser(model, sigma=None if model else "auto", threads=threads) as denoiser:
                psnr.append(f"{quality(denoiser, clean, noisy):6.3f}")
        typer.echo(
            f"{level:5g} | {np.mean(found):8.2f} {errors(found, level)} | "
            f"{errors(plain, level)} | {' | '.join(psnr)}"
        )


if __name__ == "__main__":
    app()
