r"""How well noise is estimated, and what choosing a model by the estimate gains over the blind one.

    python -m adnet.benchmarks.studies.noise_levels PATH/BSD432 [--sigma 5,15,25,50] [--held 6] \
        [--channels 3] [--seen 12]
    python -m adnet.benchmarks.studies.noise_levels PATH/BSD432 --jpeg 80

With --jpeg, instead: what the blind models gain on white noise of sigma 10 and 25, and what is left
of that after a JPEG of that quality with and without chroma subsampling.

On the images that training on that folder holds out for validation; none was trained on. With
--seen N, on parts of 128x128 pixels of every Nth of the others, which all models were trained on:
few images tell little of how often noise is clipped. Images are rounded to 8 bits after the noise,
as files are. Printed for each level: the estimate of `auto`, its
error beside that of Donoho's estimate of the whole image, and the PSNR of the blind model for gray
(or for colour), of the one that `auto` chose and of every such model of a single level.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

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

_PART = (slice(80, 240), slice(120, 280))
_SMALL_PART = (slice(80, 208), slice(120, 248))


def errors(found: list[float], sigma: float) -> str:
    """Write bias and mean absolute error."""
    off = np.array(found) - sigma
    return f"{off.mean():+5.2f} {np.abs(off).mean():5.2f}"


def quality(denoise: Any, clean: Images, noisy: Images) -> float:
    """Return the mean PSNR in dB."""
    pairs = zip(clean, noisy, strict=True)
    return float(np.mean([compare(one, denoise(other)).psnr for one, other in pairs]))


def after_jpeg(paths: list[Path], quality_: int, threads: int) -> Iterator[str]:
    """Say what the blind models gain on parts of images, as they stand and after a JPEG."""
    for channels, samplings in ((3, (None, 2, 0)), (1, (None, 0))):
        parts = [_part(from_levels(load_image(path, channels))) for path in paths]
        model = default_model(channels).name
        with Denoiser(model, threads=threads) as denoiser:
            for sigma in (10, 25):
                told = []
                for sampling in samplings:
                    noisy = [
                        _through_jpeg(add_published_noise(part, sigma, seed), quality_, sampling)
                        for seed, part in enumerate(parts)
                    ]
                    before = quality(lambda image: image, parts, noisy)
                    after = quality(denoiser, parts, noisy)
                    name = {None: "8 bits", 2: "4:2:0", 0: "not subsampled"}[sampling]
                    told.append(f"{name}: {before:.2f} -> {after:.2f} ({after - before:+.2f})")
                yield f"{model}, sigma {sigma}: {'; '.join(told)}"


def _part(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut out 160x160 pixels; a small image stays whole."""
    return image[_PART] if min(image.shape[:2]) >= 280 else image


def _through_jpeg(
    image: NDArray[np.float32], quality_: int, sampling: int | None
) -> NDArray[np.float32]:
    """Round to 8 bits; with a sampling, compress as a JPEG too."""
    levels = to_levels(image)
    if sampling is None:
        return from_levels(levels)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality_, subsampling=sampling)
    return from_levels(np.asarray(Image.open(file)))


@app.command()
@reports_errors
def main(
    data: Annotated[Path, typer.Argument(help="Folder that was trained on, such as BSD432.")],
    sigma: Annotated[str, typer.Option(help="Noise levels.")] = "5,15,25,50",
    held: Annotated[int, typer.Option(help="How many images are held out.")] = 6,
    channels: Annotated[int, typer.Option(help="1: gray, 3: colour.")] = 1,
    seen: Annotated[int | None, typer.Option(help="Every so many of the others instead.")] = None,
    threads: Annotated[int, typer.Option(help="Threads.")] = 1,
    jpeg: Annotated[int | None, typer.Option(help="Quality of a JPEG after the noise.")] = None,
) -> None:
    """Print a table of estimates and of PSNR."""
    paths = find_images(data)
    if jpeg is not None:
        parts = [paths[one] for one in sorted(hold_out(len(paths), held))[:4]]
        for line in after_jpeg(parts, jpeg, threads):
            typer.echo(line)
        return
    chosen = sorted(hold_out(len(paths), held))
    clean = [from_levels(load_image(paths[one], channels)) for one in chosen]
    if seen is not None:
        others = [one for one in range(len(paths)) if one not in chosen][::seen]
        clean = [from_levels(load_image(paths[one], channels))[_SMALL_PART] for one in others]
    single = [one.name for one in pretrained_models()
              if one.card.channels == channels and one.card.is_blind is False
              and not one.name.endswith(FAST_SUFFIX)]  # fmt: skip
    blind = default_model(channels).name
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
