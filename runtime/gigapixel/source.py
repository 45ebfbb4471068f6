"""Images that are read by window: what they are, and which can be."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adnet import storage
from adnet.errors import ImageError
from adnet.images.formats.kinds import FORMATS
from adnet.runtime.gigapixel.grid import Place

ZARR = ".zarr"


@dataclass(frozen=True, slots=True)
class Carried:
    """What goes into the output beside the pixels."""

    resolution: tuple[float, float] | None = None
    """Pixels per unit, across and down."""
    unit: int = 1
    """Of the resolution, as TIFF numbers them: 1 none, 2 inch, 3 centimetre."""
    profile: bytes | None = None
    """ICC."""
    orientation: int = 1
    alpha: int | None = None
    """TIFF's ExtraSamples of the last plane: 1 associated, 2 unassociated alpha, 0 unspecified."""
    no_data: float | None = None
    """What stands for missing data in the input; it is not written."""
    texts: dict[int, str] = field(default_factory=dict)
    """TIFF tags of plain text."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Of a Zarr array."""


class Source(Protocol):
    """An image of which any window can be read; for one thread at a time."""

    shape: tuple[int, ...]
    """(H, W) or (H, W, C)."""
    dtype: np.dtype[Any]
    pixels: str
    """The file or folder that they lie in: of a Zarr group, that of its array."""
    carried: Carried
    notes: list[str]
    """What is left out, one sentence each."""

    def read(self, place: Place) -> NDArray[Any]:
        """Return the pixels of a window, in native byte order."""

    def close(self) -> None:
        """Release the file."""


def open_source(place: str) -> Source:
    """Open a TIFF or Zarr image by path or address.

    Raises:
        ImageError: it is of a kind that cannot be read by window.
    """
    suffix = storage.suffix_of(place)
    if suffix == ZARR:
        from adnet.runtime.gigapixel.zarr_array import ZarrSource  # noqa: PLC0415

        return ZarrSource(place)
    if FORMATS.get(suffix) == "TIFF":
        from adnet.runtime.gigapixel.tiff_source import TiffSource  # noqa: PLC0415

        return TiffSource(place)
    raise ImageError(
        f"{place}: only TIFF and Zarr are read by chunk. Convert it to a tiled TIFF, for example "
        "with 'vips tiffsave IN OUT --tile --bigtiff'."
    )


def colours_of(image: Source) -> int:
    """Return the colour planes, 1 or 3."""
    return 1 if len(image.shape) == 2 or image.shape[2] <= 2 else 3


def require_kind(place: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Make sure that these are pixels that can be denoised.

    Raises:
        ImageError: other dimensions, planes or types.
    """
    planes = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or not 1 <= planes <= 4 or 0 in shape:
        raise ImageError(
            f"{place}: expected (height, width) or (height, width, 1 to 4 planes), got an array of "
            f"{'x'.join(map(str, shape))}. Store each plane or slice as an image of its own."
        )
    if dtype.newbyteorder("=") not in (np.uint8, np.uint16) and dtype.kind != "f":
        raise ImageError(
            f"{place}: expected 8 or 16 bits without sign or floats, got {dtype}. Convert it first."
        )


def identity_of(place: str, pixels: str) -> dict[str, Any]:
    """Describe an image so that another one of the same name is told apart.

    Bytes and time of change of a local file, bytes and ETag of an object (what other stores have
    instead is in `storage`); of a Zarr array, a sum over those of all its files, for which they are
    listed, not read.

    Args:
        pixels: where the pixels are; see `Source`.

    Raises:
        ImageError: there is none.
    """
    whole = place if storage.is_address(place) else os.path.abspath(place)  # noqa: PTH100
    if storage.suffix_of(place) == ZARR:
        size, digest = 0, hashlib.sha256()
        for name, (length, version) in storage.states_below(pixels):
            size += length
            digest.update(f"{name}\n{length}\n{version}\n".encode("utf-8", "surrogateescape"))
        return {"source": whole, "bytes": size, "changed": digest.hexdigest()}
    state = storage.state_of(pixels)
    if state is None:
        raise ImageError(f"{place}: no such file.")
    return {"source": whole, "bytes": state[0], "changed": state[1]}
