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
from adnet.images.image import ImageFile, read_image
from adnet.images.levels import WHITE, to_levels
from adnet.images.metrics import psnr, ssim
from adnet.images.noise_level import estimate_sigma

Float32 = NDArray[np.float32]

PICTURES = ("noisy", "denoised", "noise", "difference")
GAIN = 2
"""By which the removed noise is amplified to be seen; as on the live page."""
DIFFERENCE_GAIN = 4
_SSIM_PIXELS = 16_000_000
"""SSIM takes a dozen float64 arrays of the image's size."""


@dataclass(frozen=True, slots=True)
class Files:
    """One file before and after, and what it should have become."""

    noisy: Path
    denoised: Path
    clean: Path | None = None


def measure(files: Files, max_pixels: int) -> dict[str, Any]:
    """Measure the first frame; ready for JSON.

    Raises:
        ImageError: a file cannot be read, or the reference has another size.
    """
    noisy_file = read_image(files.noisy, max_pixels)
    noisy = _values(noisy_file)
    denoised = _values(read_image(files.denoised, max_pixels))
    removed = noisy - denoised
    counts = np.bincount(
        (np.clip(np.rint(removed * WHITE), -WHITE, WHITE) + WHITE).astype(np.int64).ravel(),
        minlength=2 * WHITE + 1,
    )
    height, width = noisy.shape[:2]
    sample = noisy_file.pixels.dtype
    facts: dict[str, Any] = {
        "size": [width, height],
        "frames": len(noisy_file.frames),
        "format": noisy_file.format,
        "depth": f"{8 * sample.itemsize} bits" + (" float" if sample.kind == "f" else ""),
        "planes": noisy.shape[2],
        "sigma": _rounded(estimate_sigma(noisy_file.pixels), 1),
        "removed": _rounded(float(removed.std()) * WHITE, 2),
        "histogram": counts.tolist(),
    }
    if files.clean is not None:
        clean = _reference(files.clean, noisy.shape, max_pixels)
        with_ssim = min(height, width) >= 11 and height * width <= _SSIM_PIXELS
        for name, image in (("before", noisy), ("after", denoised)):
            shown = np.clip(image, 0, 1)
            facts[f"psnr_{name}"] = _rounded(psnr(clean, shown), 2)
            facts[f"ssim_{name}"] = _rounded(ssim(clean, shown), 4) if with_ssim else None
    return facts


def draw(files: Files, picture: str, target: Path, max_pixels: int) -> None:
    """Write one of `PICTURES` as an 8-bit PNG without alpha.

    Raises:
        ImageError: as `measure`.
    """
    if picture == "difference" and files.clean is None:
        raise ImageError("there is no clean reference to draw a difference to.")
    if picture == "noisy":
        values = _values(read_image(files.noisy, max_pixels))
    else:
        values = _values(read_image(files.denoised, max_pixels))
    if picture == "noise":
        values = 128 / WHITE + GAIN * (_values(read_image(files.noisy, max_pixels)) - values)
    if picture == "difference" and files.clean is not None:
        clean = _reference(files.clean, values.shape, max_pixels)
        values = DIFFERENCE_GAIN * np.abs(clean - values)
    levels = to_levels(values)
    Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(
        target, "PNG", compress_level=1
    )


def _values(file: ImageFile) -> Float32:
    """Return the colours of the first frame as (H, W, C) with white at 1."""
    pixels = file.pixels.reshape(*file.pixels.shape[:2], -1)
    colours = pixels[..., : 3 if pixels.shape[2] >= 3 else 1]
    white = 1.0 if colours.dtype.kind == "f" else float(np.iinfo(colours.dtype).max)
    return np.asarray(colours, np.float32) / np.float32(white)


def _reference(path: Path, shape: tuple[int, ...], max_pixels: int) -> Float32:
    clean = _values(read_image(path, max_pixels))
    if clean.shape != shape:
        raise ImageError(
            f"the clean reference has {_told(clean.shape)}, the image {_told(shape)}: they cannot "
            "be compared. Give the same picture without noise."
        )
    return clean


def _told(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} pixels in {'gray' if shape[2] == 1 else 'colour'}"


def _rounded(value: float | None, digits: int) -> float | None:
    """JSON has no infinity: an image equal to its reference has no PSNR."""
    return None if value is None or not math.isfinite(value) else round(value, digits)
