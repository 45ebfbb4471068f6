"""Denoise one image of any size, chunk by chunk, on this machine or many; resumable."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from adnet.runtime.gigapixel.grid import CHUNK, Cell, Grid, require_chunk
from adnet.runtime.gigapixel.plan import Plan
from adnet.runtime.gigapixel.source import open_source
from adnet.runtime.gigapixel.work import ChunkTask, run_here
from adnet.runtime.settings import Settings

OnPixels = Callable[[int, int], None]
"""Pixels finished since the last call, and all of the image."""


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What a run did."""

    is_new: bool
    """False: the result was there and nothing was done."""
    pixels: int = 0
    """Denoised by this run; those of an earlier one do not count."""
    resumed: int = 0
    """Chunks that an earlier run had finished."""
    notes: tuple[str, ...] = ()
    models: tuple[dict[str, str], ...] = ()


Runner = Callable[[ChunkTask, "list[Cell]", Callable[[Cell], None]], "list[dict[str, str]]"]
"""Makes the chunks that are missing; returns what the models are, as `Denoiser.describe` does."""


def denoise_by_chunk(
    source: str,
    target: str,
    settings: Settings | None = None,
    *,
    chunk: int = CHUNK,
    overwrite: bool = False,
    on_pixels: OnPixels = lambda _done, _all: None,
    runner: Runner = run_here,
) -> ChunkResult:
    """Denoise one TIFF or Zarr image of any size into another, piece by piece.

    The memory is set by the chunk and the network's tile, not by the image. What an earlier run
    with the same image, model and options has finished is kept. The result is the same bit for bit
    however often it was interrupted and on however many machines it was made.

    Args:
        source: path or address of a .tif or .zarr.
        target: likewise.
        chunk: side of a piece in pixels, a multiple of 16.
        overwrite: replace a result, or the rest of another run, that is there.
        runner: makes the chunks; see `adnet.runtime.cluster.chunks` for many machines.

    Raises:
        UsageError: there is the rest of a run with another image, model or other options.
        ImageError: the image is damaged or of a kind that is not read by chunk; or the result
            cannot be written.
    """
    settings = settings or Settings()
    with ExitStack() as stack:
        image = open_source(source)
        stack.callback(image.close)
        plan = Plan.make(image, source, target, settings, require_chunk(chunk))
        if not overwrite and plan.is_finished():
            return ChunkResult(is_new=False)
        notes = plan.begin(image, overwrite)
    cells = plan.missing()
    total = image.shape[0] * image.shape[1]
    done = 0

    def on_chunk(cell: Cell) -> None:
        nonlocal done
        rows, columns = plan.grid.core(cell)
        pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
        done += pixels
        on_pixels(pixels, total)

    models: list[dict[str, str]] = []
    resumed = len(plan.grid) - len(cells)
    if resumed:
        on_pixels(total - _count(plan.grid, cells), total)
    if cells:
        task = ChunkTask(source, plan.array, plan.grid, settings)
        models = runner(task, cells, on_chunk)
    plan.finish(image)
    return ChunkResult(
        is_new=True, pixels=done, resumed=resumed, notes=tuple(notes), models=tuple(models)
    )


def _count(grid: Grid, cells: list[Cell]) -> int:
    count = 0
    for cell in cells:
        rows, columns = grid.core(cell)
        count += (rows.stop - rows.start) * (columns.stop - columns.start)
    return count
