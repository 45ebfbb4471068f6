"""What a worker answers: a denoised file, or a status with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from adnet.errors import (
    AdnetError,
    DeviceError,
    ImageError,
    NotEnoughMemory,
    PrecisionError,
    ShapeError,
    TooManyPixels,
    UsageError,
)
from adnet.images.formats.kinds import format_of, why_not

MEDIA_TYPES = {
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants beside its image; checked words and numbers only."""

    model: str | None = None
    """A name that the server offers; None: its default."""
    strength: float = 1.0
    ensemble: bool = False
    suffix: str = ""
    """Of the file to make, such as .png; empty: the format of the one that came."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back; pickled from the worker to the front."""

    status: int
    body: bytes
    media_type: str = "text/plain; charset=utf-8"
    notes: tuple[str, ...] = ()
    pixels: int = 0
    seconds: float = 0.0
    """Decoding, denoising and encoding."""


def failure(status: int, message: str) -> Answer:
    """Make an answer that says why in one line of text."""
    return Answer(status, f"{message}\n".encode())


def refusal_of_kind(data: bytes) -> Answer | None:
    """Return the 415 for what is no image that can be read, by its first bytes; else None."""
    return failure(415, f"image: {why_not(data)}") if format_of(data) is None else None


def failure_of(error: AdnetError, max_pixels: int) -> Answer:
    """Choose the status for an error of ours."""
    if isinstance(error, TooManyPixels):
        return failure(
            413, f"image: more pixels than this server takes, {max_pixels / 1e6:g} megapixels."
        )
    if isinstance(error, NotEnoughMemory) or isinstance(error.__cause__, MemoryError):
        return failure(503, "there is not enough memory for this image now.")
    if isinstance(error, ImageError | ShapeError | UsageError):
        return failure(400, str(error))
    if isinstance(error, DeviceError | PrecisionError):
        return failure(500, str(error))
    return failure(500, "the image could not be denoised; the server's log says more.")
