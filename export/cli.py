"""adnet-export: convert checkpoints into deployable models."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, get_args

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
from adnet.errors import BackendUnavailable, UsageError
from adnet.export.choices import Dynamic, Io, PrecisionMode
from adnet.export.triton.command import triton
from adnet.export.web.command import web
from adnet.extras import install_extra
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

    _require("export", "torch", "onnx", "onnxsim")
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
        _note(
            "these scales were only calibrated. Fine-tuning learns better ones in some minutes of "
            "CPU time (gray-25: a loss of 0.04 dB became 0.02 in 400 steps): adnet-train DATA -o "
            f"RUN --quantize int8 --init {checkpoint}, then adnet-export onnx RUN/best.pth"
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


@app.command()
@reports_errors
def om(
    model: Annotated[str, typer.Argument(help="Checkpoint (.pth), ONNX file or shipped name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="OM file to write.")],
    soc: Annotated[
        str | None,
        typer.Option(help="Chip to build for, e.g. Ascend310P3. auto: this machine's. [auto]"),
    ] = None,
    any_soc: Annotated[
        bool, typer.Option("--any-soc", help="Take a chip's name that nothing here knows.")
    ] = False,
    batch: Annotated[str, typer.Option(help="Batches, e.g. 1,4,8.")] = "1",
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="H,W", help="Height and width; repeat for several. [321,481]"),
    ] = None,
    precision_mode: Annotated[
        PrecisionMode | None,
        typer.Option(
            metavar="MODE",
            help=f"ATC's precision mode, either spelling: {', '.join(get_args(PrecisionMode))}. "
            "[fp16]",
        ),
    ] = None,
    io: Annotated[Io, typer.Option(help="Input type; uint8: through AIPP.")] = "fp32",
    aipp: Annotated[bool, typer.Option("--aipp", help="The same as --io uint8.")] = False,
    op_cache: Annotated[
        bool, typer.Option("--op-cache", help="Keep compiled operators for the next conversion.")
    ] = False,
    virtual_type: Annotated[
        bool, typer.Option("--virtual-type", help="Build for a share of a chip (vNPU).")
    ] = False,
    precision: Annotated[
        Literal["fp32", "int8"],
        typer.Option(help="int8, with --emit: quantised here, finished by AMCT."),
    ] = "fp32",
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Folder of photographs to calibrate int8 with. Default: rendered ones."),
    ] = None,
    emit_to: Annotated[
        Path | None, typer.Option("--emit", help="Write a folder to convert elsewhere instead.")
    ] = None,
    atc_arg: Annotated[
        list[str] | None, typer.Option(help="Further argument for ATC, --flag=value; repeatable.")
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Convert a model to OM for Ascend chips with ATC, or write a folder to do it elsewhere."""
    from adnet.models.files import kind_of_file  # noqa: PLC0415
    from adnet.models.shipped import resolve_model  # noqa: PLC0415

    if kind_of_file(resolve_model(model)) == "checkpoint":
        _require("export", "torch", "onnx", "onnxsim")
    _require("convert", "onnx")
    from adnet.export.ascend.atc_config import AtcConfig  # noqa: PLC0415
    from adnet.export.ascend.kit import emit  # noqa: PLC0415
    from adnet.export.ascend.soc import detect_soc  # noqa: PLC0415
    from adnet.export.to_om import convert_to_om, prepare_onnx  # noqa: PLC0415  (imports onnx)
    from adnet.models.om_file import sidecar_path  # noqa: PLC0415

    if aipp and io == "fp16":
        raise UsageError("--aipp is the same as --io uint8; leave --io fp16 or --aipp out.")
    if output.suffix.lower() != ".om":
        raise UsageError(f"{output}: the output must be named .om.")
    sizes = tuple(parse_whole_numbers(text, "--size", 2) for text in size or ["321,481"])
    batches = parse_whole_numbers(batch, "--batch", batch.count(",") + 1)
    _check_int8(precision, calibrate, emit_to, precision_mode)
    if precision == "int8" and len(batches) * len(sizes) > 1:
        raise UsageError("--precision int8: ATC takes one batch and one --size only.")
    if soc is None or soc.lower() == "auto":
        soc = detect_soc()
        typer.echo(f"note: building for {soc}, this machine's chip", err=True)
    with tempfile.TemporaryDirectory(prefix="adnet-om-") as folder:
        onnx_path, card, input_name = prepare_onnx(
            model, Path(folder), int8=precision == "int8", calibration=calibrate
        )
        config = AtcConfig(
            soc=soc,
            channels=card.channels,
            batches=batches,
            sizes=sizes,  # type: ignore[arg-type]
            precision_mode=precision_mode,
            io="uint8" if aipp else io,
            input_name=input_name,
            op_cache=op_cache,
            virtual_type=virtual_type,
            any_soc=any_soc,
            extra=tuple(atc_arg or ()),
        )
        for warning in config.warnings:
            typer.echo(f"note: {warning}", err=True)
        if emit_to is not None:
            emit(onnx_path, card, emit_to, output.stem, config, int8=precision == "int8")
            typer.echo(f"wrote {emit_to}")
            if precision == "int8":
                typer.echo("note: int8 was never tried with AMCT or on a chip", err=True)
            return
        with progress_bar("atc", quiet) as bar:

            def show(seconds: float, line: str) -> None:
                bar.show(0, f"{seconds:.0f} s {line[:60]}")

            try:
                convert_to_om(onnx_path, card, output, config, on_line=show, on_note=_note)
            except BackendUnavailable as err:
                folder_here = output.with_name(f"{output.stem}-atc")
                missing = f"ATC is not installed here, so {output} was not made."
                if folder_here.exists():
                    raise BackendUnavailable(
                        f"{missing} {folder_here} is there already: run 'bash convert.sh' in it on "
                        "a machine with CANN, or delete it and run this command again."
                    ) from err
                emit(onnx_path, card, folder_here, output.stem, config)
                raise BackendUnavailable(
                    f"{missing} Wrote {folder_here} instead: run 'bash convert.sh' in it on a "
                    "machine with CANN."
                ) from err
    size_mb = output.stat().st_size / 1e6
    typer.echo(f"wrote {output} ({size_mb:.2f} MB) and {sidecar_path(output).name}")


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


def _require(extra: str, *packages: str) -> None:
    """Name all packages that a command lacks, and the smallest extra that brings them."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed. Install"
            f" what this command needs: {install_extra(extra)}."
        )


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


def _check_int8(
    precision: str, calibrate: Path | None, emit_to: Path | None, mode: str | None
) -> None:
    if precision == "fp32" and calibrate is not None:
        raise UsageError("--calibrate goes with --precision int8.")
    if precision == "int8" and emit_to is None:
        raise UsageError(
            "--precision int8 needs --emit DIR: AMCT, a package of CANN, must rewrite the model "
            "before ATC; the folder's convert.sh does both."
        )
    if precision == "int8" and mode is not None:
        raise UsageError("--precision int8 chooses the arithmetic itself; leave --precision-mode.")


def main() -> None:
    """Entry point of adnet-export."""
    app()


if __name__ == "__main__":
    main()
