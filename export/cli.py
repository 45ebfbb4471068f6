"""adnet-export: convert checkpoints into deployable models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from adnet._cli import (
    DebugOption,
    JsonOption,
    QuietOption,
    VersionOption,
    make_app,
    parse_whole_numbers,
    print_json,
    progress_bar,
    reports_errors,
)
from adnet.export.ascend.command import om
from adnet.export.choices import Dynamic, Io
from adnet.export.triton.command import triton
from adnet.export.web.command import web
from adnet.extras import require_packages
from adnet.models.card import Precision

app = make_app("Convert ADNet checkpoints into models to deploy.")
app.command()(triton)


@app.callback()
def common(version: VersionOption = False) -> None:
    """Convert ADNet checkpoints into models to deploy."""


@app.command()
@reports_errors
def onnx(
    checkpoint: Annotated[
        str, typer.Argument(help="Checkpoint (.pth), ONNX file of ours, or shipped name.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    batch: Annotated[int | None, typer.Option(help="Fixed batch. Default: dynamic.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="H,W", help="Fixed height and width. Default: dynamic.")
    ] = None,
    dynamic: Annotated[
        Dynamic | None, typer.Option(help="What stays open: state it instead of implying it.")
    ] = None,
    opset: Annotated[int, typer.Option(help="ONNX opset.")] = 13,
    name: Annotated[str | None, typer.Option(help="Name for the model card.")] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Arithmetic; int8: calibrated. A checkpoint of adnet-train --quantize int8 gives "
            "int8 with the scales that it learned."
        ),
    ] = "fp32",
    io: Annotated[
        Io, typer.Option(help="Pixels in and out; fp16: with --precision fp16, uint8: 0 to 255.")
    ] = "fp32",
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Folder of photographs to calibrate int8 with. Default: rendered ones."),
    ] = None,
    simplify: Annotated[bool, typer.Option(help="Simplify with onnxsim.")] = True,
    verify: Annotated[bool, typer.Option(help="Prove structure and values.")] = True,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Export a checkpoint to ONNX and prove that it computes the same."""
    height_width = None
    if size is not None:
        height, width = parse_whole_numbers(size, "--size", 2)
        height_width = (height, width)

    require_packages("export", "torch", "onnx", "onnxsim")
    from adnet.export.to_onnx import Variant, checkpoint_to_onnx  # noqa: PLC0415  (imports torch)
    from adnet.export.torch_to_onnx import OnnxShape  # noqa: PLC0415
    from adnet.models.shipped import resolve_model  # noqa: PLC0415

    variant = Variant(precision, io, calibrate)
    shape = OnnxShape.choose(batch, height_width, dynamic)
    result = checkpoint_to_onnx(
        resolve_model(checkpoint), output, shape, opset=opset, name=name, simplify=simplify,
        verify=verify, variant=variant,
    )  # fmt: skip
    if result.is_calibrated:
        typer.echo(
            "note: these scales were only calibrated. Fine-tuning learns better ones in some "
            "minutes of CPU time (gray-25: a loss of 0.04 dB became 0.02 in 400 steps): "
            f"adnet-train DATA -o RUN --quantize int8 --init {checkpoint}, then adnet-export onnx "
            "RUN/best.pth",
            err=True,
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
                "variant": result.variant and {
                    "precision": result.precision, "io": io,
                    "max_abs_error": result.variant.max_abs_error,
                    "delta_psnr": result.variant.delta_psnr,
                },
            }
        )  # fmt: skip
        return
    for case in result.parity:
        typer.echo(
            f"float32 model, parity {'x'.join(map(str, case.shape))}: max abs error "
            f"{case.max_abs_error:.2e}, delta PSNR {case.delta_psnr:+.5f} dB"
        )
    if result.variant is not None:
        typer.echo(
            f"{result.precision}, {io} in and out, on images kept aside: max abs error "
            f"{result.variant.max_abs_error:.2e}, delta PSNR {result.variant.delta_psnr:+.4f} dB"
        )
    proof = "parity proven" if result.parity else "NOT verified"
    if result.variant is not None:
        proof = f"{result.precision}, {io} in and out, loss {-result.variant.delta_psnr:.3f} dB"
    typer.echo(f"wrote {result.path} ({result.path.stat().st_size / 1e6:.2f} MB, {proof})")


app.command()(om)


@app.command()
@reports_errors
def inspect(
    file: Annotated[str, typer.Argument(help="Checkpoint, ONNX or OM file, or a shipped name.")],
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Tell what a model file is, without running it."""
    from adnet.export.inspect_model import describe, inspect_file  # noqa: PLC0415
    from adnet.models.shipped import resolve_model  # noqa: PLC0415

    facts = inspect_file(resolve_model(file))
    if json_output:
        print_json(facts)
    else:
        typer.echo(describe(facts))


@app.command()
@reports_errors
def verify(
    model: Annotated[Path, typer.Argument(help="OM file, as adnet-export om makes it.")],
    against: Annotated[
        str | None,
        typer.Option(help="ONNX file or shipped name. Default: the shipped model it was made of."),
    ] = None,
    device: Annotated[str, typer.Option(help="Ascend device.")] = "npu:0",
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Largest allowed difference, white being 1. [0.01]")
    ] = None,
    quiet: QuietOption = False,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare an OM on its device with its ONNX on the CPU, at every gear and on tiled images."""
    from adnet.export.ascend.verify_om import OmCase, table, verify_om  # noqa: PLC0415
    from adnet.models.shipped import resolve_model  # noqa: PLC0415

    done = 0
    with progress_bar("verify", quiet) as bar:

        def show(case: OmCase) -> None:
            nonlocal done
            done += 1
            bar.show(0, f"{done} compared, last {'x'.join(map(str, case.shape))}")

        report = verify_om(
            model, None if against is None else resolve_model(against), device=device,
            tolerance=tolerance, on_case=show,
        )  # fmt: skip
    if json_output:
        print_json(asdict(report) | {"passed": report.passed})
    else:
        typer.echo(table(report))
    report.require()


app.command()(web)


def main() -> None:
    """Entry point of adnet-export."""
    app()


if __name__ == "__main__":
    main()
