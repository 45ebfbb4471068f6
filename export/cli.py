"""adnet-export: convert checkpoints into deployable models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adnet._cli import (
    DebugOption,
    JsonOption,
    VersionOption,
    make_app,
    parse_numbers,
    print_json,
    reports_errors,
)
from adnet.errors import UsageError

app = make_app("Convert ADNet checkpoints into models to deploy.")


@app.callback()
def common(version: VersionOption = False) -> None:
    """Convert ADNet checkpoints into models to deploy."""


@app.command()
@reports_errors
def onnx(
    checkpoint: Annotated[Path, typer.Argument(help="PyTorch checkpoint (.pth).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    batch: Annotated[int | None, typer.Option(help="Fixed batch. Default: dynamic.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="H,W", help="Fixed height and width. Default: dynamic.")
    ] = None,
    dynamic: Annotated[
        str | None, typer.Option(help="none, batch, size or all: state it instead of implying it.")
    ] = None,
    opset: Annotated[int, typer.Option(help="ONNX opset.")] = 13,
    name: Annotated[str | None, typer.Option(help="Name for the model card.")] = None,
    simplify: Annotated[bool, typer.Option(help="Simplify with onnxsim.")] = True,
    verify: Annotated[bool, typer.Option(help="Prove structure and values.")] = True,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Export a checkpoint to ONNX and prove that it computes the same."""
    if dynamic not in (None, "none", "batch", "size", "all"):
        raise UsageError(f"--dynamic must be none, batch, size or all, got {dynamic!r}.")
    height_width = None
    if size is not None:
        height, width = parse_numbers(size, "--size", 2)
        height_width = (int(height), int(width))

    from adnet.export.pipeline import checkpoint_to_onnx  # noqa: PLC0415  (imports torch)
    from adnet.export.torch_to_onnx import OnnxShape  # noqa: PLC0415

    shape = OnnxShape.choose(batch, height_width, dynamic)  # type: ignore[arg-type]
    result = checkpoint_to_onnx(
        checkpoint, output, shape, opset=opset, name=name, simplify=simplify, verify=verify
    )
    if json_output:
        print_json(
            {
                "path": result.path,
                "parity": [
                    {"shape": case.shape, "max_abs_error": case.max_abs_error,
                     "delta_psnr": case.delta_psnr}
                    for case in result.parity
                ],
            }
        )  # fmt: skip
        return
    for case in result.parity:
        typer.echo(
            f"parity {'x'.join(map(str, case.shape))}: max abs error {case.max_abs_error:.2e}, "
            f"delta PSNR {case.delta_psnr:+.5f} dB"
        )
    proof = "parity proven" if result.parity else "NOT verified"
    typer.echo(f"wrote {result.path} ({result.path.stat().st_size / 1e6:.2f} MB, {proof})")


def main() -> None:
    """Entry point of adnet-export."""
    app()
