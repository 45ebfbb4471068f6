"""adnet-data: prepare training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adnet._cli import (
    DebugOption,
    QuietOption,
    VersionOption,
    make_app,
    parse_numbers,
    progress_bar,
    reports_errors,
)

app = make_app("Prepare training data for ADNet.")


@app.callback()
def common(version: VersionOption = False) -> None:
    """Prepare training data for ADNet."""


@app.command()
@reports_errors
def prepare(
    images: Annotated[Path, typer.Argument(help="Folder of clean images.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for train.h5, val.h5.")],
    mode: Annotated[
        str, typer.Option(help="S: stride 40, each patch once; B: stride 10, each patch twice.")
    ] = "S",
    channels: Annotated[int, typer.Option(help="1 gray, 3 colour.")] = 1,
    patch: Annotated[int, typer.Option(help="Side of a patch in pixels.")] = 50,
    scales: Annotated[str, typer.Option(help="Scales of the images.")] = "1,0.9,0.8,0.7",
    val: Annotated[
        Path | None, typer.Option(help="Validation images. Default: some are held out.")
    ] = None,
    val_images: Annotated[int, typer.Option(help="How many images to hold out.")] = 8,
    seed: Annotated[int, typer.Option(help="Chooses the orientations of mode B.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing stores.")
    ] = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Cut a folder of images into patches: writes train.h5 and val.h5."""
    from adnet.training.patch_store import StoreOptions, prepare_stores  # noqa: PLC0415  (needs h5py)

    options = StoreOptions(
        mode=mode,
        channels=channels,
        patch=patch,
        scales=parse_numbers(scales, "--scales", scales.count(",") + 1),
        val_images=val_images,
        seed=seed,
    )
    with progress_bar("preparing", quiet) as bar:
        report = prepare_stores(
            images,
            output,
            options,
            val=val,
            overwrite=overwrite,
            on_progress=lambda fraction, patches: bar.show(fraction, f"{patches} patches"),
        )
    typer.echo(f"{report.train}: {report.patches} patches of {patch}x{patch}, mode {mode}")
    typer.echo(f"{report.val}: {report.val_images} images")
    if report.skipped:
        typer.echo(f"{report.skipped} images are smaller than a patch and were left out")


def main() -> None:
    """Entry point of adnet-data."""
    app()
