"""adnet-export triton: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adnet._cli import DebugOption, reports_errors
from adnet.export.choices import TritonMode


@reports_errors
def triton(
    model: Annotated[str, typer.Argument(help="ONNX file of ours, or shipped name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Repository (folder) to write.")],
    mode: Annotated[
        TritonMode,
        typer.Option(
            help="image: whole images and files, as adnet-run denoises them. tiles: the network "
            "alone; the caller cuts the image."
        ),
    ] = "image",
    name: Annotated[str, typer.Option(help="Of the model, as requests call it.")] = "adnet",
    instances: Annotated[int, typer.Option(help="Copies that work at once.")] = 1,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of each copy. Default: the runtime decides.")
    ] = None,
    queue: Annotated[int, typer.Option(help="Requests that may wait; more are refused.")] = 16,
    batch: Annotated[int, typer.Option(help="Mode tiles: most tiles put together.")] = 8,
    max_pixels: Annotated[int, typer.Option(help="Mode image: refuse larger images.")] = 50_000_000,
    debug: DebugOption = False,  # noqa: ARG001  (reports_errors reads it)
) -> None:
    """Write a model repository for the Triton inference server."""
    from adnet.export.triton.config import Serving  # noqa: PLC0415
    from adnet.export.triton.repository import write_repository  # noqa: PLC0415

    serving = Serving(mode, name, instances, threads, queue, batch, max_pixels)
    write_repository(model, output, serving)
    typer.echo(f"wrote {output}; its README.md says how it is served")
