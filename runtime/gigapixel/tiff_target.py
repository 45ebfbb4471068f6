"""A finished Zarr array becomes a BigTIFF in tiles."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from adnet import storage
from adnet.atomic import atomic_path
from adnet.errors import ImageError
from adnet.runtime.gigapixel.grid import Grid
from adnet.runtime.gigapixel.source import Carried
from adnet.runtime.gigapixel.zarr_array import open_array

_DEFLATE = "zlib"


def write_tiff(array_place: str, target: str, grid: Grid, carried: Carried) -> None:
    """Write the TIFF of an array, whole or not at all, one tile at a time.

    Raises:
        ImageError: it cannot be written.
    """
    try:
        if storage.is_address(target):
            with tempfile.TemporaryDirectory(prefix="adnet-") as folder:
                path = Path(folder, "stitched.tif")
                _write(path, array_place, grid, carried)
                storage.put_file(target, path)
            return
        with atomic_path(Path(target)) as path:
            _write(path, array_place, grid, carried)
    except OSError as err:
        raise ImageError(f"{target}: cannot be written: {err.strerror or err}.") from err


def _write(path: Path, array_place: str, grid: Grid, carried: Carried) -> None:
    array = open_array(array_place)
    planes = array.shape[2] if array.ndim == 3 else 1
    colours = planes - (planes % 2 == 0)
    extra = () if colours == planes else (2 if carried.alpha is None else carried.alpha,)
    resolution: dict[str, Any] = {}
    if carried.resolution is not None:
        resolution = {"resolution": carried.resolution, "resolutionunit": carried.unit}
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(
            _tiles(array, grid),
            shape=array.shape,
            dtype=array.dtype,
            tile=(grid.chunk, grid.chunk),
            photometric="rgb" if colours == 3 else "minisblack",
            planarconfig="contig" if planes > 1 else None,
            extrasamples=extra,
            compression=_DEFLATE,
            predictor=True,
            iccprofile=carried.profile,
            extratags=_tags(carried),
            software=False,
            metadata=None,
            maxworkers=1,
            **resolution,
        )


def _tiles(array: Any, grid: Grid) -> Iterator[NDArray[Any]]:
    """Yield whole tiles; those at the border are filled up with zeros."""
    side = grid.chunk
    for cell in grid.cells:
        rows, columns = grid.core(cell)
        pixels = np.asarray(array[rows, columns])
        if pixels.shape[:2] != (side, side):
            whole = np.zeros((side, side, *pixels.shape[2:]), pixels.dtype)
            whole[: pixels.shape[0], : pixels.shape[1]] = pixels
            pixels = whole
        yield pixels


def _tags(carried: Carried) -> list[tuple[int, str, int, Any, bool]]:
    tags: list[tuple[int, str, int, Any, bool]] = []
    for code, text in carried.texts.items():
        tags.append((code, "s", 0, text.encode("utf-8"), True))
    if carried.orientation != 1:
        tags.append((274, "H", 1, carried.orientation, True))
    return tags
