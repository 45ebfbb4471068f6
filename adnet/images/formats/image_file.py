"""A decoded image file: its frames and whatever is needed to write its like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ImageError, TooManyPixels
from adnet.images.formats.exif import resolution_of, stripped_exif

Pixels = NDArray[Any]
"""(H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB, (H, W, 4) RGB and alpha; uint8, uint16 over
their whole range, or floats with nominal range [0, 1]."""


@dataclass(frozen=True, slots=True)
class Portable:
    """Metadata that has a place in most formats, for writing another format than was read."""

    icc: bytes | None = None
    exif: bytes | None = None
    """A TIFF structure, without the `Exif` marker that JPEG puts before it."""
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    """Where it is not given, what Exif says of it."""

    def __post_init__(self) -> None:
        if self.dpi is None and self.exif:
            object.__setattr__(self, "dpi", resolution_of(self.exif))

    @property
    def names(self) -> list[str]:
        """What is there, in words."""
        told = {"ICC profile": self.icc, "Exif": self.exif, "XMP": self.xmp, "resolution": self.dpi}
        return [name for name, value in told.items() if value]


class Layout(Protocol):
    """What one format needs beyond the pixels to write a file like the one read."""

    @property
    def only_here(self) -> list[str]:
        """Metadata that no other format has a place for, in words."""

    def stripped(self) -> Layout:
        """Leave out all that does not change how the image looks."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One decoded image file and what is needed to write its like."""

    pixels: Pixels
    """The image, or the first of several frames or pages."""
    format: str
    """PNG, TIFF, JPEG, WEBP, GIF or BMP: what the file really was, whatever its name says."""
    layout: Any = None
    """The format's own `Layout`; None where pixels are all there is."""
    portable: Portable = field(default_factory=Portable)
    notes: tuple[str, ...] = ()
    """What could not be kept as it was, one sentence each."""
    more: tuple[Pixels, ...] = ()
    """Further frames or pages; those of a TIFF may differ in size, kind and depth."""
    quality: int | None = None
    """With which lossy formats are to be written, 1 to 100; None: as it was, or 95."""
    lossless: bool = False
    """Another format than was read is to be written without loss, where it can be."""

    @property
    def frames(self) -> tuple[Pixels, ...]:
        """All frames or pages."""
        return (self.pixels, *self.more)

    @property
    def colour_channels(self) -> int:
        """1 for gray, 3 for RGB; alpha not counted."""
        return colour_channels(self.pixels)

    def without_metadata(self) -> ImageFile:
        """Leave out all metadata but what the image would look different without.

        The ICC profile and other colour chunks, the orientation, the resolution and the timing of
        frames stay.
        """
        layout = None if self.layout is None else self.layout.stripped()
        portable = replace(self.portable, xmp=None, exif=stripped_exif(self.portable.exif))
        return replace(self, layout=layout, portable=portable)


def colour_channels(pixels: Pixels) -> int:
    """Return 1 for gray, 3 for RGB; alpha not counted."""
    return 1 if pixels.ndim == 2 or pixels.shape[2] <= 2 else 3


def has_alpha(pixels: Pixels) -> bool:
    """Tell whether there is a plane beyond gray or RGB."""
    return pixels.ndim == 3 and pixels.shape[2] in (2, 4)


def planes(pixels: Pixels) -> Pixels:
    """Return (H, W, C), gray with C = 1."""
    return pixels.reshape(*pixels.shape[:2], -1)


def squeezed(pixels: Pixels) -> Pixels:
    """Return (H, W) for one plane, (H, W, C) otherwise, contiguous."""
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def stand_in(shape: Sequence[int], dtype: Any) -> Pixels:
    """Make an array that has a shape and a dtype, but takes no memory; see `squeezed`."""
    shape = tuple(shape)
    whole = np.broadcast_to(np.zeros((), dtype), shape)
    return whole[..., 0] if len(shape) == 3 and shape[2] == 1 else whole


def require_pixels(frames: Sequence[tuple[int, int]], limit: int) -> None:
    """Refuse frames (width, height) with more than `limit` pixels together, before decoding.

    Raises:
        TooManyPixels: too many.
        ImageError: none.
    """
    count = sum(width * height for width, height in frames)
    if count > limit:
        width, height = frames[0]
        several = f" in {len(frames)} frames or pages" if len(frames) > 1 else ""
        raise TooManyPixels(
            f"{width}x{height}{several} is {_megapixels(count)}, more than the limit of "
            f"{_megapixels(limit)} that guards against decompression bombs. If you trust the file, "
            f"pass --max-pixels {count}."
        )
    if any(width < 1 or height < 1 for width, height in frames) or not frames:
        raise ImageError("the file holds no pixels; it may be damaged.")


def _megapixels(count: int) -> str:
    return f"{count / 1e6:.0f} megapixels" if count >= 10_000_000 else f"{count} pixels"


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn pixels as a viewer does; source: Exif 2.32, section 4.6.4, tag Orientation."""
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
