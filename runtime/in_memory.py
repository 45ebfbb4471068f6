"""Denoise an image file that is in memory: what adnet-run does to a file, without a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from adnet.images.formats.codec import (
    DEFAULT_MAX_PIXELS,
    decode_image,
    encode_image,
    target_format,
)
from adnet.images.formats.kinds import FORMATS
from adnet.runtime.jobs import Job
from adnet.runtime.loading import Limits, load_from

Denoise = Callable[[NDArray[Any]], NDArray[Any]]
"""Such as a `Denoiser`."""


@dataclass(frozen=True, slots=True)
class DenoisedFile:
    """A denoised image file."""

    data: bytes
    format: str
    """PNG, TIFF, JPEG, WEBP, GIF or BMP."""
    notes: tuple[str, ...]
    """What could not be kept as it was, one sentence each."""
    pixels: int
    """Of all frames or pages together."""


def denoise_file(
    data: bytes, denoise: Denoise, *, suffix: str = "", max_pixels: int = DEFAULT_MAX_PIXELS
) -> DenoisedFile:
    """Denoise an image file with its metadata; the result is, byte for byte, what adnet-run writes.

    Args:
        data: the file; what it is, is seen by its first bytes.
        suffix: of the file to make, such as .png; where it is none that is known, the format stays.
        max_pixels: of all frames or pages together.

    Raises:
        ImageError: the file is damaged, too large (`TooManyPixels`), not supported, or the other
            format cannot hold it.
        ShapeError: the image does not fit the model.
    """
    job = Job(Path("image"), Path("image" + (suffix if suffix.lower() in FORMATS else "")))
    limits = Limits(max_pixels)
    file = load_from(job, decode_image(data, "image", max_pixels), limits)
    frames = [denoise(frame) for frame in file.frames]
    wanted = target_format(file, job.target)
    return DenoisedFile(
        encode_image(frames, file, wanted),
        wanted,
        file.notes,
        sum(frame.shape[0] * frame.shape[1] for frame in frames),
    )
