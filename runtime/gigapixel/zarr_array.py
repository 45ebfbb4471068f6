"""Zarr arrays by window and by chunk (zarr 3)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from adnet import storage
from adnet.errors import ImageError
from adnet.runtime.gigapixel.grid import Cell, Place
from adnet.runtime.gigapixel.source import Carried, require_kind

OURS = "adnet"
"""The attribute that says what an array is the result of."""


class ZarrSource:
    """An array (H, W) or (H, W, C), or a group that has it as `0`; see `Source`.

    Raises:
        ImageError: there is none, or none that can be denoised.
    """

    def __init__(self, place: str) -> None:
        self._place = self.pixels = place
        self.notes: list[str] = []
        try:
            found: Any = zarr.open(place, mode="r")
            if isinstance(found, zarr.Group):
                if "0" not in found or not isinstance(found["0"], zarr.Array):
                    raise ImageError(
                        f"{place}: is a Zarr group without an array named 0. Give the array."
                    )
                if len(list(found)) > 1:
                    self.notes.append("the array 0 is denoised; other members are left out.")
                found = found["0"]
                self.pixels = storage.join(place, "0")
        except ImageError:
            raise
        except Exception as err:  # zarr and its stores have their own
            raise ImageError(f"{place}: cannot be read as Zarr: {err or type(err)}.") from err
        self._array = found
        self.shape: tuple[int, ...] = found.shape
        self.dtype = np.dtype(found.dtype).newbyteorder("=")
        require_kind(place, self.shape, self.dtype)
        kept = {key: value for key, value in dict(found.attrs).items() if key != OURS}
        self.carried = Carried(attributes=kept)

    def read(self, place: Place) -> NDArray[Any]:
        """See `Source`."""
        try:
            return np.asarray(self._array[place], self.dtype)
        except Exception as err:  # every codec and store has its own
            rows, columns = place
            raise ImageError(
                f"{self._place}: cannot be decoded at rows {rows.start} to {rows.stop}, columns "
                f"{columns.start} to {columns.stop} ({str(err) or type(err).__name__})."
            ) from err

    def close(self) -> None:
        """Nothing is held open."""


def create_array(
    place: str, shape: tuple[int, ...], dtype: np.dtype[Any], chunk: int, about: dict[str, Any]
) -> None:
    """Make an array without any pixels yet.

    Args:
        about: its attributes.
    """
    try:
        zarr.create_array(
            place,
            shape=shape,
            dtype=dtype,
            chunks=(min(chunk, shape[0]), min(chunk, shape[1]), *shape[2:]),
            attributes=about,
            dimension_names=("y", "x", "c")[: len(shape)],
            overwrite=True,
        )
    except Exception as err:  # every store has its own
        raise ImageError(f"{place}: cannot be written: {err}.") from err


def open_array(place: str) -> Any:
    """Open an array to write chunks.

    Chunks of zeros are written, too: what is not there counts as not done.
    """
    # As an argument of open_array, zarr 3.1 ignores it.
    with zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open_array(place, mode="r+")


def attributes_of(place: str) -> dict[str, Any] | None:
    """Return an array's attributes; None where there is no array."""
    if storage.is_address(place):
        if storage.size_of(storage.join(place, "zarr.json")) is None:
            return None
    elif not Path(place, "zarr.json").is_file():
        return None
    try:
        found = json.loads(storage.read(storage.join(place, "zarr.json")))
        return dict(found["attributes"])
    except (ValueError, KeyError, TypeError) as err:
        raise ImageError(f"{place}: is no Zarr array: {err}.") from err


def set_attribute(place: str, name: str, value: Any) -> None:
    """Change one attribute."""
    open_array(place).attrs[name] = value


def chunks_there(place: str, planes: bool) -> set[Cell]:
    """Return the chunks that are written, from one listing.

    Args:
        planes: the array has a third dimension.
    """
    cells = set()
    for name in _names(storage.join(place, "c")):
        parts = name.split("/")
        if len(parts) == 2 + planes and all(part.isdigit() for part in parts):
            cells.add((int(parts[0]), int(parts[1])))
    return cells


def sweep(place: str) -> None:
    """Remove what a killed writer left beside the chunks of a local array."""
    for path in Path(place).rglob("*"):
        if path.is_file() and not path.name.isdigit() and path.name != "zarr.json":
            path.unlink(missing_ok=True)


def remove(place: str) -> None:
    """Remove an array; nothing happens where there is none."""
    if storage.is_address(place):
        storage.remove_below(place)
    else:
        shutil.rmtree(place, ignore_errors=True)


def _names(place: str) -> Iterable[str]:
    if storage.is_address(place):
        return storage.list_files(place)
    base = Path(place)
    return [path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()]
