"""adnet-export web: its options."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from adnet._cli import DebugOption, JsonOption, print_json, reports_errors


@reports_errors
def web(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Shipped names, ONNX files or checkpoints. [all shipped float models]"),
    ] = None,
    ort_web: Annotated[
        Path | None,
        typer.Option(
            help="The npm package onnxruntime-web, packed or unpacked. Default: npm fetches it."
        ),
    ] = None,
    webgpu: Annotated[
        bool, typer.Option(help="Put in what browsers with WebGPU need, 27 MB.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a page that is there already.")
    ] = False,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a web page that runs models in the visitor's browser; nothing is uploaded."""
    from adnet.export.web.folder import write_live_page  # noqa: PLC0415

    page = write_live_page(
        models or (), output, ort_web=ort_web, webgpu=webgpu, overwrite=overwrite
    )
    if json_output:
        print_json(asdict(page))
        return
    typer.echo(f"wrote {page.folder} ({page.size / 1e6:.0f} MB): {', '.join(page.models)}")
    typer.echo(f"look at it: python3 -m http.server --bind 127.0.0.1 -d {shlex.quote(str(output))}")
