"""Makes chunks of one image: reads a window, denoises it, writes the chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from adnet.errors import ImageError, ShapeError
from adnet.runtime.backend import Backend
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.gigapixel.grid import Cell, Grid
from adnet.runtime.gigapixel.source import colours_of, open_source
from adnet.runtime.gigapixel.zarr_array import open_array
from adnet.runtime.settings import Settings

TILE = 552
"""Largest side of what the network sees, where it may be chosen: the window of a chunk of 1024 is
two of them with a halo of 20. The denoiser's own choice is by the free memory, so two machines
might not make the same bits."""


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """What a worker needs to make chunks: plain values, which can be sent to another machine."""

    source: str
    array: str
    grid: Grid
    settings: Settings

    def open(self) -> ChunkWork:
        """Open image, array and model.

        Raises:
            AdnetError: one of them cannot be opened.
        """
        return ChunkWork(self)


class ChunkWork:
    """Makes chunks; `close` releases what it holds."""

    def __init__(self, task: ChunkTask) -> None:
        self._grid = task.grid
        with ExitStack() as stack:
            self.source = open_source(task.source)
            stack.callback(self.source.close)
            self._array = open_array(task.array)
            self._denoiser, model = _open(task.settings, colours_of(self.source))
            stack.callback(self._denoiser.close)
            if model.card.receptive_radius > self._grid.halo:
                raise ShapeError(
                    f"the model looks {model.card.receptive_radius} pixels around each one; by "
                    f"chunk, {self._grid.halo} are planned for."
                )
            self._stack = stack.pop_all()

    def read(self, cell: Cell) -> NDArray[Any]:
        """Read what a chunk is made of."""
        return self.source.read(self._grid.window(cell))

    def denoise(self, cell: Cell, window: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels of a chunk."""
        denoised: NDArray[Any] = self._denoiser(window)[self._grid.core_within(cell)]
        return denoised

    def write(self, cell: Cell, pixels: NDArray[Any]) -> None:
        """Write a chunk, whole or not at all."""
        try:
            self._array[self._grid.core(cell)] = pixels
        except Exception as err:  # every store has its own
            raise ImageError(f"{self._array.store}: cannot be written: {err}.") from err

    def run(self, cells: Iterable[Cell], on_chunk: Callable[[Cell], None]) -> None:
        """Make chunks: the next is read and the last is written while one is denoised.

        Raises:
            ImageError: the image is damaged there, or the chunk cannot be written.
        """
        rest = iter(cells)
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
            cell = next(rest, None)
            reading = None if cell is None else reader.submit(self.read, cell)
            writing: Future[None] | None = None
            while cell is not None and reading is not None:
                window = reading.result()
                following = next(rest, None)
                reading = None if following is None else reader.submit(self.read, following)
                pixels = self.denoise(cell, window)
                if writing is not None:
                    writing.result()
                writing = writer.submit(self._write_and_tell, cell, pixels, on_chunk)
                cell = following
            if writing is not None:
                writing.result()

    def _write_and_tell(
        self, cell: Cell, pixels: NDArray[Any], on_chunk: Callable[[Cell], None]
    ) -> None:
        self.write(cell, pixels)
        on_chunk(cell)

    def describe(self) -> list[dict[str, str]]:
        """See `Denoiser.describe`."""
        return self._denoiser.describe()

    def close(self) -> None:
        """Release the model and the file."""
        self._stack.close()


def _open(settings: Settings, colours: int) -> tuple[Denoiser, Backend]:
    """Open the model that the image goes to, with tiles that do not depend on the free memory."""
    denoiser = settings.open_denoiser()
    try:
        model = denoiser.model_for(colours)
        if settings.tile is None and model.spec.sizes is None:
            denoiser.close()
            denoiser = replace(settings, tile=TILE).open_denoiser()
            model = denoiser.model_for(colours)
    except BaseException:
        denoiser.close()
        raise
    return denoiser, model


def run_here(
    task: ChunkTask, cells: list[Cell], on_chunk: Callable[[Cell], None]
) -> list[dict[str, str]]:
    """Make chunks in this process."""
    with closing(task.open()) as work:
        work.run(cells, on_chunk)
        return work.describe()
