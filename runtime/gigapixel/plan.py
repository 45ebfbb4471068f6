"""Where the chunks of one image go, and what an earlier run has left.

Chunks are written into a Zarr array, which is the result or becomes a TIFF at the end. Until then
it is called `TARGET.partial`, so that no half image is found under the final name; in an object
store, where nothing can be renamed, the array's attribute `adnet.complete` is false.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from adnet import storage
from adnet.errors import ImageError, UsageError
from adnet.images.float_range import check_range, extent
from adnet.images.formats.kinds import FORMATS
from adnet.models.architecture import RECEPTIVE_RADIUS
from adnet.models.shipped import default_model, resolve_model
from adnet.runtime.gigapixel.grid import Cell, Grid
from adnet.runtime.gigapixel.source import ZARR, Source, colours_of, identity_of
from adnet.runtime.gigapixel.zarr_array import (
    OURS,
    attributes_of,
    chunks_there,
    create_array,
    remove,
    set_attribute,
    sweep,
)
from adnet.runtime.settings import Settings

_WORDS = {"source": "image", "bytes": "image", "changed": "image", "shape": "image",
          "dtype": "image", "settings": "options"}  # fmt: skip
"""What users call that which differs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the chunks go, and what they are the result of."""

    source: str
    target: str
    array: str
    grid: Grid
    about: dict[str, Any]
    settings: Settings
    planes: bool

    @classmethod
    def make(cls, image: Source, source: str, target: str, settings: Settings, chunk: int) -> Plan:
        """Plan without writing anything.

        Raises:
            UsageError: a target that cannot be written, or a setting that means nothing here.
            ImageError: there is no such source.
        """
        if storage.suffix_of(target) != ZARR and FORMATS.get(storage.suffix_of(target)) != "TIFF":
            raise UsageError(f"{target}: by chunk, only .zarr and .tif are written.")
        read, written = storage.canonical(source), storage.canonical(target)
        if read == written:
            raise UsageError(f"{target}: the output would replace the input. Choose another one.")
        if written.replace(os.sep, "/").startswith(f"{read}/".replace(os.sep, "/")):
            raise UsageError(f"{target}: the output lies inside the input. Choose another place.")
        if settings.max_memory is not None:
            raise UsageError(
                "--max-memory: by chunk, the memory is set by --chunk and --tile; give those."
            )
        grid = Grid(image.shape[0], image.shape[1], chunk, RECEPTIVE_RADIUS)
        about = {
            **identity_of(source, image.pixels),
            "shape": list(image.shape),
            "dtype": str(image.dtype),
            "chunk": chunk,
            "model": _sum_of_model(settings, colours_of(image)),
            "settings": settings.for_result(),
        }
        # An object store cannot rename; there the attribute says that it is not complete.
        keep = storage.suffix_of(target) == ZARR and storage.is_address(target)
        array = target if keep else f"{target}.partial"
        return cls(source, target, array, grid, about, settings, len(image.shape) == 3)

    def is_finished(self) -> bool:
        """Tell whether the result is there."""
        if storage.suffix_of(self.target) != ZARR:
            return storage.size_of(self.target) is not None
        if not storage.is_address(self.target):
            return Path(self.target).exists()
        found = attributes_of(self.target)
        return found is not None and bool(found.get(OURS, {}).get("complete", True))

    def begin(self, image: Source, overwrite: bool) -> list[str]:
        """Make the array, or find the one that an earlier run left; returns notes."""
        found = attributes_of(self.array)
        notes = list(image.notes)
        if found is not None:
            theirs = dict(found.get(OURS, {}))
            told = theirs.pop("notes", [])
            complete = theirs.pop("complete", None)
            if theirs == self.about and complete is False:
                return list(told)
            if not overwrite:
                names = [name for name in self.about if theirs.get(name) != self.about[name]]
                other = ", ".join(dict.fromkeys(_WORDS.get(name, name) for name in names))
                raise UsageError(
                    f"{self.array}: the rest of a run with another {other or 'program'}. Remove "
                    "it, or give --overwrite."
                )
        remove(self.array)
        if image.dtype.kind == "f":
            notes += self._check_values(image)
        carried: dict[str, Any] = {} if self.settings.strip_metadata else image.carried.attributes
        about = {**self.about, "complete": False, "notes": notes}
        create_array(
            self.array, image.shape, image.dtype, self.grid.chunk, {**carried, OURS: about}
        )
        return notes

    def _check_values(self, image: Source) -> list[str]:
        """Look at all values first: refused later, the work would be lost."""
        pieces: Iterator[NDArray[Any]] = (
            image.read(self.grid.core(cell)) for cell in self.grid.cells
        )
        try:
            found = extent(pieces, colours_of(image))
            note = check_range(found, self.settings.value_range, image.carried.no_data)
        except ImageError as err:
            raise ImageError(f"{self.source}: {err}") from err
        return [note] if note else []

    def missing(self) -> list[Cell]:
        """List the chunks that are not written yet."""
        there = chunks_there(self.array, self.planes)
        return [cell for cell in self.grid.cells if cell not in there]

    def finish(self, image: Source) -> None:
        """Give the result its final name.

        Raises:
            ImageError: a chunk is missing, or the image was replaced while it was read.
        """
        if not identity_of(self.source, image.pixels).items() <= self.about.items():
            raise ImageError(
                f"{self.source}: was changed while it was denoised. Begin anew with --overwrite."
            )
        if missing := self.missing():
            told = f"{len(missing)} of {len(self.grid)} chunks are missing"
            raise ImageError(f"{self.array}: {told}. Run it again.")
        if storage.suffix_of(self.target) != ZARR:
            from adnet.runtime.gigapixel.tiff_target import write_tiff  # noqa: PLC0415

            carried = image.carried
            if self.settings.strip_metadata:
                carried = replace(carried, texts={})
            write_tiff(self.array, self.target, self.grid, carried)
            remove(self.array)
            return
        set_attribute(self.array, OURS, {**self.about, "complete": True})
        if not storage.is_address(self.target):
            sweep(self.array)
            _move(self.array, self.target)


def _sum_of_model(settings: Settings, colours: int) -> str:
    """Return a check sum of the model that the image goes to."""
    name = settings.model
    path = default_model(colours).path if name is None else resolve_model(name)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _move(array: str, target: str) -> None:
    """Rename a folder over another one, if there is one."""
    old = f"{target}.replaced-{time.time_ns()}"
    if Path(target).exists():
        Path(target).rename(old)
    Path(array).rename(target)
    remove(old)
