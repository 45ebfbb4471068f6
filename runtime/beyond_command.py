"""The part of adnet-run that goes beyond files of one machine: its options, and its report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from adnet._cli import print_json

if TYPE_CHECKING:
    from adnet.runtime.beyond import Beyond
    from adnet.runtime.folder import Listener, Summary
    from adnet.runtime.settings import Settings

JobsOption = Annotated[
    str | None,
    typer.Option(
        "--jobs",
        help="Text or Parquet file (or address) that lists images, and their outputs behind a tab "
        "or in a column 'target'. Instead of INPUTS.",
    ),
]
ByChunkOption = Annotated[
    bool,
    typer.Option(
        "--by-chunk",
        help="Read and write TIFF or Zarr images of any size piece by piece, within memory set by "
        "the piece. Without saying: where input or output is named .zarr.",
    ),
]
ChunkOption = Annotated[
    int | None, typer.Option("--chunk", help="Side of such a piece in pixels. [1024]")
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        help="Run on a Ray cluster: auto for the one that this machine belongs to, or HOST:6379.",
    ),
]
WorkersOption = Annotated[
    str | None, typer.Option("--workers", help="On a cluster: N, or LEAST:MOST. Default: all.")
]
WorkerCpusOption = Annotated[
    int | None, typer.Option("--worker-cpus", help="CPUs, and threads, of each worker. [1]")
]
WorkerNpusOption = Annotated[
    int | None, typer.Option("--worker-npus", help="Ascend NPUs of each worker. [0]")
]
WorkerGpusOption = Annotated[
    int | None, typer.Option("--worker-gpus", help="GPUs of each worker. [0]")
]
ImagesPerTaskOption = Annotated[
    int | None,
    typer.Option("--images-per-task", help="Images that a worker takes at once. [64]"),
]


def run_beyond(
    request: Beyond,
    settings: Settings,
    summary: Summary,
    listener: Callable[[int], Listener],
    json_output: bool,
) -> None:
    """Carry out a request and report on it; exits with 1 where images failed."""
    from adnet.errors import DeviceLostError  # noqa: PLC0415  (keeps --help fast)
    from adnet.images.scan import Found  # noqa: PLC0415
    from adnet.runtime import beyond  # noqa: PLC0415
    from adnet.runtime.report import as_json, as_text  # noqa: PLC0415

    found, models = Found(), list[dict[str, str]]()
    try:
        # Ray writes what it thinks of dead workers to stdout, where --json goes.
        with redirect_stdout(sys.stderr):
            found = beyond.run(request, settings, listener, summary, models)
    except (KeyboardInterrupt, DeviceLostError) as err:
        if json_output:
            print_json(as_json(summary, found, models, err))
        raise
    if json_output:
        print_json(as_json(summary, found, models))
    else:
        typer.echo(as_text(summary, found))
    if summary.failed:
        raise typer.Exit(1)
