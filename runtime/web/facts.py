"""What came of a file: figures, and pictures for a screen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adnet.errors import ImageError
from adnet.images.compare import draw as draw_comparison
from adnet.images.compare import likeness
from adnet.images.float_range import NOMINAL, Range, to_nominal
from adnet.images.image import ImageFile, read_image
from adnet.images.levels import WHITE, to_levels
from adnet.images.noise_level import estimate_sigma

Float32 = NDArray[np.float32]

PICTURES = ("noisy", "denoised", "noise", "difference", "comparison")
GAIN = 2
"""By which the removed noise is amplified to be seen; as on the live page."""
DIFFERENCE_GAIN = 4


@dataclass(frozen=True, slots=True)
class Files:
    """One file before and after, and what it should have become."""

    noisy: Path
    denoised: Path
    clean: Path | None = None
    value_range: Range = NOMINAL
    """Black and white of float images."""


def measure(files: Files, max_pixels: int) -> dict[str, Any]:
    """Measure the first frame; ready for JSON. The reference is left to `judge`.

    Raises:
        ImageError: a file cannot be read.
    """
    noisy_file = read_image(files.noisy, max_pixels)
    noisy = _values(noisy_file, files.value_range)
    denoised_file = read_image(files.denoised, max_pixels)
    denoised = _values(denoised_file, files.value_range)
    removed = noisy - denoised
    counts = np.bincount(
        (np.clip(np.rint(removed * WHITE), -WHITE, WHITE) + WHITE).astype(np.int64).ravel(),
        minlength=2 * WHITE + 1,
    )
    height, width = noisy.shape[:2]
    sample = noisy_file.pixels.dtype
    return {
        "size": [width, height],
        "frames": len(noisy_file.frames),
        "format": noisy_file.format,
        "depth": f"{8 * sample.itemsize} bits" + (" float" if sample.kind == "f" else ""),
        "planes": noisy.shape[2],
        "sigma": _rounded(estimate_sigma(noisy_file.pixels, files.value_range), 1),
        "removed": _rounded(float(removed.std()) * WHITE, 2),
        "histogram": counts.tolist(),
    }


def judge(files: Files, max_pixels: int) -> dict[str, Any]:
    """Compare the first frame before and after with the reference; ready for JSON.

    Raises:
        ImageError: a file cannot be read, or the reference is no picture of the same size and
            colours.
    """
    facts: dict[str, Any] = {}
    if files.clean is None:
        return facts
    shape = _values(read_image(files.noisy, max_pixels), NOMINAL).shape
    clean = _reference(files.clean, shape, max_pixels)
    for name, path in (("before", files.noisy), ("after", files.denoised)):
        found = likeness(read_image(path, max_pixels).pixels, clean.pixels, files.value_range)
        if found is None:
            raise ImageError(f"{files.clean}: cannot be compared with this image.")
        facts[f"psnr_{name}"] = _rounded(found.psnr, 2)
        facts[f"ssim_{name}"] = _rounded(found.ssim, 4)
    return facts


def draw(files: Files, picture: str, target: Path, max_pixels: int) -> None:
    """Write one of `PICTURES` as an 8-bit PNG without alpha.

    Raises:
        ImageError: as `measure`.
    """
    if picture == "difference" and files.clean is None:
        raise ImageError("there is no clean reference to draw a difference to.")
    if picture == "comparison":
        _compare(files, max_pixels).save(target, "PNG")
        return
    if picture == "noisy":
        values = _values(read_image(files.noisy, max_pixels), files.value_range)
    else:
        values = _values(read_image(files.denoised, max_pixels), files.value_range)
    if picture == "noise":
        noisy = _values(read_image(files.noisy, max_pixels), files.value_range)
        values = 128 / WHITE + GAIN * (noisy - values)
    if picture == "difference" and files.clean is not None:
        clean = _values(_reference(files.clean, values.shape, max_pixels), files.value_range)
        values = DIFFERENCE_GAIN * np.abs(clean - values)
    levels = to_levels(values)
    Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(
        target, "PNG", compress_level=1
    )


def _values(file: ImageFile, value_range: Range) -> Float32:
    """Return the colours of the first frame as (H, W, C) with white at 1."""
    pixels = file.pixels.reshape(*file.pixels.shape[:2], -1)
    colours = pixels[..., : 3 if pixels.shape[2] >= 3 else 1]
    return to_nominal(colours, value_range)


def _compare(files: Files, max_pixels: int) -> Image.Image:
    """Draw the picture of adnet-run --compare."""
    panels = [("before", read_image(files.noisy, max_pixels).pixels)]
    panels.append(("after", read_image(files.denoised, max_pixels).pixels))
    if files.clean is not None:
        clean = read_image(files.clean, max_pixels).pixels
        found = [(label, likeness(pixels, clean, files.value_range)) for label, pixels in panels]
        told = {label: f"{label} {one.told()}" for label, one in found if one is not None}
        panels = [(told.get(label, label), pixels) for label, pixels in panels]
        panels.append(("reference", clean))
    return draw_comparison(panels, files.value_range)


def _reference(path: Path, shape: tuple[int, ...], max_pixels: int) -> ImageFile:
    file = read_image(path, max_pixels)
    found = _values(file, NOMINAL).shape
    if found != shape:
        raise ImageError(
            f"{path}: as a clean reference it has {_told(found)}, the image {_told(shape)}: they "
            "cannot be compared. Give the same picture without noise."
        )
    return file


def _told(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} pixels in {'gray' if shape[2] == 1 else 'colour'}"


def _rounded(value: float | None, digits: int) -> float | None:
    """JSON has no infinity: an image equal to its reference has no PSNR."""
    return None if value is None or not math.isfinite(value) else round(value, digits)
