"""Cutting a folder into patches: our store beside one dataset a patch, as ModelZoo writes.

    python -m adnet.benchmarks.studies.store_writers PATH/Train400 [--mode S]

Each writer runs in a process of its own, so that its peak memory is its own. The per-key writer
is rebuilt from the description of the ModelZoo script, for measurement only: float32 patches, one
HDF5 dataset each.
"""

from __future__ import annotations

import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from adnet._cli import make_app, reports_errors
from adnet.images.levels import from_levels

app = make_app("Time the writers of patch stores.")


@app.command()
@reports_errors
def compare(
    images: Annotated[Path, typer.Argument(help="Folder of clean images.")],
    mode: Annotated[str, typer.Option(help="S or B, as in adnet-data prepare.")] = "S",
) -> None:
    """Write both stores; print patches, seconds, megabytes on disk and of peak memory."""
    seconds = {}
    for name, write in (("adnet", _ours), ("one dataset a patch", _per_key)):
        with (
            tempfile.TemporaryDirectory() as folder,
            ProcessPoolExecutor(1, get_context("spawn")) as pool,
        ):
            patches, seconds[name], peak = pool.submit(write, images, mode, Path(folder)).result()
            size = (Path(folder) / "train.h5").stat().st_size / 1e6
        typer.echo(
            f"{name}: {patches} patches, {seconds[name]:.1f} s, {size:.0f} MB on disk, peak memory "
            f"{peak:.0f} MB"
        )
    ours, theirs = seconds.values()
    typer.echo(f"one dataset a patch takes {theirs / ours:.1f} times as long")


def _ours(images: Path, mode: str, folder: Path) -> tuple[int, float, float]:
    from adnet.data.patch_store import StoreOptions, prepare_stores  # noqa: PLC0415

    began = time.perf_counter()
    report = prepare_stores(images, folder, StoreOptions(mode=mode, val_images=8))
    return report.patches, time.perf_counter() - began, _peak()


def _per_key(images: Path, mode: str, folder: Path) -> tuple[int, float, float]:
    import h5py

    from adnet.data.held_out import hold_out, rescaled  # noqa: PLC0415
    from adnet.data.patch_store import MODES  # noqa: PLC0415
    from adnet.images.image import find_images, load_image  # noqa: PLC0415

    stride, copies = MODES[mode]
    generator = np.random.default_rng(0)
    began = time.perf_counter()
    found = find_images(images)
    held = hold_out(len(found), 8)
    number = 0
    with h5py.File(folder / "train.h5", "w") as file:
        for index, path in enumerate(found):
            if index in held:
                continue
            for image in rescaled([load_image(path, 1)], (1.0, 0.9, 0.8, 0.7)):
                scaled = from_levels(image)
                for row in range(0, image.shape[0] - 49, stride):
                    for column in range(0, image.shape[1] - 49, stride):
                        patch = scaled[row : row + 50, column : column + 50]
                        for copy in range(copies):
                            turned = np.rot90(patch, int(generator.integers(4))) if copy else patch
                            file.create_dataset(str(number), data=turned[None])
                            number += 1
    return number, time.perf_counter() - began, _peak()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # Linux counts in kB


if __name__ == "__main__":
    app()
