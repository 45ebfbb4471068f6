"""adnet-export om: its options."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from adnet._cli import (
    DebugOption,
    QuietOption,
    parse_whole_numbers,
    progress_bar,
    reports_errors,
)
from adnet.errors import BackendUnavailable, UsageError
from adnet.export.choices import Io, PrecisionMode
from adnet.extras import require_packages

if TYPE_CHECKING:
    from adnet.export.ascend.atc_config import AtcConfig
    from adnet.models.card import ModelCard


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
        require_packages("export", "torch", "onnx", "onnxsim")
    require_packages("convert", "onnx")
    from adnet.export.ascend.atc_config import AtcConfig  # noqa: PLC0415
    from adnet.export.ascend.kit import emit  # noqa: PLC0415
    from adnet.export.ascend.soc import detect_soc  # noqa: PLC0415
    from adnet.export.outputs import require_folder, require_suffix  # noqa: PLC0415
    from adnet.export.to_om import prepare_onnx, require_om  # noqa: PLC0415  (imports onnx)
    from adnet.models.om_file import sidecar_path  # noqa: PLC0415

    if aipp and io == "fp16":
        raise UsageError("--aipp is the same as --io uint8; leave --io fp16 or --aipp out.")
    if emit_to is None:
        require_om(output, resolve_model(model))
    else:
        require_folder(emit_to, option="--emit")
        require_suffix(output, ".om")
    sizes = tuple(parse_whole_numbers(text, "--size", 2) for text in size or ["321,481"])
    batches = parse_whole_numbers(batch, "--batch", batch.count(",") + 1)
    _check_int8(precision, calibrate, emit_to, precision_mode)
    if precision == "int8" and len(batches) * len(sizes) > 1:
        raise UsageError("--precision int8: ATC takes one batch and one --size only.")
    if soc is None or soc.lower() == "auto":
        soc = detect_soc()
        _note(f"building for {soc}, this machine's chip")
    with tempfile.TemporaryDirectory(prefix="adnet-om-") as folder:
        onnx_path, card, input_name = prepare_onnx(
            model, Path(folder), int8=precision == "int8", calibration=calibrate, on_note=_note
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
            _note(warning)
        if emit_to is not None:
            emit(onnx_path, card, emit_to, output.stem, config, int8=precision == "int8")
            typer.echo(f"wrote {emit_to}")
            if precision == "int8":
                _note("int8 was never tried with AMCT or on a chip")
            return
        _convert(onnx_path, card, output, config, quiet=quiet)
    size_mb = output.stat().st_size / 1e6
    typer.echo(f"wrote {output} ({size_mb:.2f} MB) and {sidecar_path(output).name}")


def _convert(
    onnx_path: Path, card: ModelCard, output: Path, config: AtcConfig, *, quiet: bool
) -> None:
    """Convert here, or write a folder where ATC is not installed."""
    from adnet.export.ascend.kit import emit, holds_the_same  # noqa: PLC0415
    from adnet.export.to_om import convert_to_om  # noqa: PLC0415  (imports onnx)

    with progress_bar("atc", quiet) as bar:

        def show(seconds: float, line: str) -> None:
            bar.show(0, f"{seconds:.0f} s {line[:60]}")

        try:
            convert_to_om(onnx_path, card, output, config, on_line=show, on_note=_note)
        except BackendUnavailable as err:
            folder_here = output.with_name(f"{output.stem}-atc")
            missing = f"ATC is not installed here, so {output} was not made."
            run_it = "run 'bash convert.sh' in it on a machine with CANN"
            try:
                if not folder_here.exists():
                    emit(onnx_path, card, folder_here, output.stem, config)
                    raise BackendUnavailable(
                        f"{missing} Wrote {folder_here} instead: {run_it}."
                    ) from err
                with tempfile.TemporaryDirectory(prefix="adnet-om-") as elsewhere:
                    fresh = emit(onnx_path, card, Path(elsewhere, "new"), output.stem, config)
                    is_the_same = holds_the_same(folder_here, fresh)
            except BackendUnavailable:
                raise
            except UsageError as why:
                raise BackendUnavailable(f"{missing} Nor could a folder be written: {why}") from why
            if is_the_same:
                raise BackendUnavailable(
                    f"{missing} {folder_here} is there already: {run_it}, or delete it and run "
                    "this command again."
                ) from err
            raise BackendUnavailable(
                f"{missing} {folder_here} is there already, but was not made with this model and "
                "these options. Move it away, or give another -o or --emit DIR."
            ) from err


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


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)
