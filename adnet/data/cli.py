"""adnet-data: fetch image sets and prepare training data."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Literal

import typer

from adnet._cli import (
    DebugOption,
    JsonOption,
    ProgressBar,
    QuietOption,
    VersionOption,
    make_app,
    parse_numbers,
    print_json,
    progress_bar,
    reports_errors,
)
from adnet.data.datasets import DATASETS, dataset_folder, files_present, known_name
from adnet.data.datasets import fetch as fetch_dataset
from adnet.errors import UsageError

app = make_app("Fetch image sets and prepare training data for ADNet.")


@app.callback()
def common(version: VersionOption = False) -> None:
    """Fetch image sets and prepare training data for ADNet."""


@app.command()
@reports_errors
def prepare(
    images: Annotated[Path, typer.Argument(help="Folder of clean images.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for train.h5, val.h5.")],
    mode: Annotated[
        Literal["S", "B"],
        typer.Option(help="S: stride 40, each patch once; B: stride 10, each patch twice."),
    ] = "S",
    channels: Annotated[Literal[1, 3], typer.Option(help="1 gray, 3 colour.")] = 1,
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
    from adnet.data.patch_store import StoreOptions, prepare_stores  # noqa: PLC0415  (needs h5py)

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


@app.command()
@reports_errors
def fetch(
    names: Annotated[list[str], typer.Argument(help="Image sets, see 'adnet-data list'.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Parent folder. [$ADNET_DATA, or the user's cache]"),
    ] = None,
    mirror: Annotated[
        str | None, typer.Option(help="Address of a folder with the same files, for one set.")
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Download image sets; run again, it fetches what is missing."""
    if mirror is not None and len(names) > 1:
        raise UsageError("--mirror is the address of one set; fetch them one by one.")
    for name in map(known_name, names):
        folder = None if output is None else output / name
        with progress_bar(name, quiet) as bar:
            path = fetch_dataset(
                name,
                folder,
                mirror=mirror,
                on_progress=functools.partial(_show_files, bar),
            )
        typer.echo(path)


@app.command("split-pairs")
@reports_errors
def split_pairs(
    pairs: Annotated[Path, typer.Argument(help="Folder of noisy and clean images, e.g. PolyU.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Parent of the folders that are made.")
    ],
    debug: DebugOption = False,
) -> None:
    """Split pairs by scene into NAME-train, NAME-val and NAME-test (links to the images).

    adnet-train PolyU-train --pairs --val PolyU-val then sees no scene of PolyU-test.
    """
    from adnet.data.pairs import split_pairs as split  # noqa: PLC0415

    for name, count in split(pairs, output).items():
        typer.echo(f"{output / name}: {count} pairs")


@app.command("list")
@reports_errors
def list_datasets(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the image sets that can be fetched, and which are here."""
    rows = []
    for dataset in DATASETS.values():
        folder = dataset_folder(dataset.name)
        rows.append(
            {
                "name": dataset.name,
                "purpose": dataset.purpose,
                "files": len(dataset.names),
                "present": files_present(dataset, folder),
                "checksums": "pinned" if dataset.checksums else "of the first download",
                "folder": folder,
                "source": dataset.address,
            }
        )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        here = f"{row['present']} of {row['files']} files here"
        typer.echo(f"{row['name']:9} {row['purpose']:15} {here:22} SHA-256 {row['checksums']}")
        typer.echo(f"{'':9} {row['source']}")
    typer.echo(f"kept in {dataset_folder('NAME')}")


def _show_files(bar: ProgressBar, done: int, total: int) -> None:
    bar.show(done / total, f"{done} of {total} files")


def main() -> None:
    """Entry point of adnet-data."""
    app()


if __name__ == "__main__":
    main()
