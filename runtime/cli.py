"""adnet-run: denoise files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adnet._cli import (
    DebugOption,
    JsonOption,
    QuietOption,
    VersionOption,
    make_app,
    print_json,
    progress_bar,
    reports_errors,
)
from adnet.runtime.choices import Pad, Precision

if TYPE_CHECKING:
    from adnet.runtime.jobs import Job

app = make_app("Denoise images with ADNet.")


@app.command()
@reports_errors
def run(
    inputs: Annotated[
        list[Path] | None, typer.Argument(help="Images, or folders (their tree is mirrored).")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the results; for one input, also a file."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of a shipped model or path of a model file. "
            "Default: the shipped blind model for gray or colour, whichever the image is."
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Runtime. Default: chosen by the model file's suffix.")
    ] = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="Take the int8 twin of --model: faster on CPUs; what it loses is told.",
        ),
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(
            help="Largest side in pixels of what the network sees at once. Default: about 1024 on "
            "a CPU, less where little memory is free."
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Tiles given to the network at once. [1]")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads, of each stream. Default: the runtime decides.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Where to run: cpu, cuda:0, npu:0 or, for several OM, npu:0,npu:1."),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Arithmetic, on torch and OpenVINO. Default: fp32, or the file's int8."),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(help="Execution provider of ONNX Runtime, e.g. cuda, openvino. Default: cpu."),
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option(help="On ONNX Runtime and OpenVINO: batches in work at once. Default: 1."),
    ] = None,
    compile_: Annotated[
        bool, typer.Option("--compile", help="On torch: use torch.compile.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="On OpenVINO: folder to keep compiled models in. Default: none is kept."),
    ] = None,
    pad: Annotated[
        Pad | None,
        typer.Option(help="reflect: mirror the border of images too small for a fixed-size model."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing outputs instead of skipping them.")
    ] = False,
    max_pixels: Annotated[
        int, typer.Option(help="Refuse larger images as possible decompression bombs.")
    ] = 89_478_485,
    max_memory: Annotated[
        str | None,
        typer.Option(
            help="Memory of the whole program, such as 500M or 2G. PNG and TIFF images that do not "
            "fit in are denoised in bands. Default: half of what is free."
        ),
    ] = None,
    value_range: Annotated[
        str | None,
        typer.Option("--range", help="BLACK,WHITE of float images, such as 0,255. Default: 0,1."),
    ] = None,
    strip_metadata: Annotated[
        bool,
        typer.Option(
            "--strip-metadata",
            help="Leave out Exif, GPS, XMP, IPTC and texts; colour profile, orientation and "
            "resolution stay.",
        ),
    ] = False,
    list_models: Annotated[
        bool, typer.Option("--list-models", help="List the shipped models and exit.")
    ] = False,
    list_backends: Annotated[
        bool, typer.Option("--list-backends", help="List what can run here, or why not, and exit.")
    ] = False,
    doctor: Annotated[
        bool,
        typer.Option(
            "--doctor",
            help="Examine this machine and exit; with --backend: status 1 when it cannot run.",
        ),
    ] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
    version: VersionOption = False,
) -> None:
    """Denoise images: adnet-run INPUT... -o OUT.

    Depth and metadata are kept; colour values are used as stored, whatever their profile.

    Outputs that exist are skipped, so a second run finishes an interrupted one. Exit status: 0
    all done, 1 some images failed (they are listed), 2 nothing was started.
    """
    if list_models:
        _list_models(json_output)
        return
    if list_backends:
        _list_backends(json_output)
        return
    if doctor:
        _examine(backend, json_output)
        return
    if not inputs:
        raise typer.BadParameter("give at least one image or folder", param_hint="INPUTS")
    if output is None:
        raise typer.BadParameter("say where the results go", param_hint="--output")

    from adnet.errors import DeviceLostError  # noqa: PLC0415
    from adnet.images.float_range import parse_range  # noqa: PLC0415
    from adnet.runtime.backend import RunOptions  # noqa: PLC0415
    from adnet.runtime.denoiser import Denoiser  # noqa: PLC0415  (keeps --help fast)
    from adnet.runtime.folder import Listener, Summary, run_jobs  # noqa: PLC0415
    from adnet.runtime.jobs import Plan, make_plan  # noqa: PLC0415
    from adnet.runtime.loading import Limits, memory_for_images  # noqa: PLC0415
    from adnet.runtime.report import as_json, as_text  # noqa: PLC0415

    black_white = None if value_range is None else parse_range(value_range)
    model, remarks = _fast(model) if fast else (model, [])
    plan, summary, models = Plan(), Summary(remarks=remarks), []
    try:
        plan = make_plan(inputs, output)
        summary.failed += plan.found.unreadable
        for path, reason in plan.found.unreadable:
            typer.echo(f"failed: {path}: {reason}", err=True)
        with (
            Denoiser(
                model,
                backend=backend,
                tile=tile,
                batch=batch,
                pad=pad,
                value_range=black_white,
                options=RunOptions(
                    threads=threads,
                    device=device,
                    precision=precision,
                    provider=provider,
                    streams=streams,
                    compile=compile_ or None,
                    cache=None if cache is None else str(cache),
                ),
            ) as denoiser,
            progress_bar("denoising", quiet) as bar,
        ):
            limits = Limits(
                max_pixels,
                strip_metadata,
                *memory_for_images(denoiser, max_memory),
                value_range=black_white,
            )
            position = _Position(len(plan.jobs), bar.show)
            try:
                run_jobs(
                    plan.jobs,
                    denoiser,
                    overwrite=overwrite,
                    limits=limits,
                    listener=Listener(position.add_pixels, position.add_image),
                    summary=summary,
                )
            finally:
                models = denoiser.describe()
                summary.remarks += [denoiser.tiles_note] * bool(denoiser.tiles_note)
    except (KeyboardInterrupt, DeviceLostError) as err:
        if json_output:
            print_json(as_json(summary, plan.found, models, err))
        raise
    if json_output:
        print_json(as_json(summary, plan.found, models))
    else:
        typer.echo(as_text(summary, plan.found))
    if summary.failed:
        raise typer.Exit(1)


def _fast(model: str | None) -> tuple[str, list[str]]:
    """Replace a model by its int8 twin; say what that costs."""
    from adnet.models.shipped import loss_of_fast, require_fast_twin  # noqa: PLC0415

    twin = require_fast_twin(model)
    return twin.name, [f"--fast: {twin.name} computes in int8, {loss_of_fast(twin)}."]


class _Position:
    """How far a run has come: images done, and the pixels of the image in work."""

    def __init__(self, images: int, show: Any) -> None:
        from time import monotonic  # noqa: PLC0415

        self._clock, self._images, self._show = monotonic, images, show
        self._begin = monotonic()
        self._done, self._part, self._pixels = 0, 0.0, 0

    def add_pixels(self, pixels: int, of_image: int) -> None:
        self._pixels += pixels
        self._part += pixels / of_image
        self._draw()

    def add_image(self, _job: Job, error: str | None) -> None:
        self._done += 1
        if error is not None:
            typer.echo(f"failed: {error}", err=True)
        self._draw()

    def _draw(self) -> None:
        seconds = max(self._clock() - self._begin, 1e-9)
        rate = self._pixels / 1e6 / seconds
        fraction = min(1.0, max(self._part, self._done) / self._images)
        self._show(fraction, f"{self._done}/{self._images} images, {rate:.2f} MPix/s")


def _list_models(as_json: bool) -> None:
    from adnet.models.shipped import (  # noqa: PLC0415
        FAST_SUFFIX,
        loss_of_fast,
        pretrained_models,
    )

    models = pretrained_models()
    if as_json:
        print_json(
            [{"name": m.name, "channels": m.card.channels, "sigma_range": m.card.sigma_range,
              "test_psnr": m.card.training.get("test_psnr"),
              "test_pairs": m.card.training.get("test_pairs"),
              "data_terms": m.card.training.get("data_terms"), "path": m.path, "sha256": m.sha256}
             for m in models]
        )  # fmt: skip
        return
    for model in models:
        colour = "gray" if model.card.channels == 1 else "colour"
        size = model.path.stat().st_size / 1e6
        told = model.card.training.get("test_psnr", {})
        quality = ", ".join(
            f"{name} {' / '.join(f'{psnr:.2f}' for psnr in at.values())} dB at sigma "
            f"{' / '.join(at)}"
            for name, at in told.items()
        )
        for name, pairs in model.card.training.get("test_pairs", {}).items():
            gain = f"{name} {pairs['noisy']:.2f} -> {pairs['denoised']:.2f} dB"
            quality = f"{quality}; {gain}" if quality else gain
        sigma = model.card.describe_sigma()
        if model.name.endswith(FAST_SUFFIX):
            quality = f"{quality}; int8: {loss_of_fast(model)}"
        typer.echo(f"{model.name:<16} {colour:<7} {sigma:<20} {size:.1f} MB  {quality}".rstrip())


def _list_backends(as_json: bool) -> None:
    from dataclasses import asdict  # noqa: PLC0415

    from adnet.runtime.inventory import list_backends  # noqa: PLC0415

    rows = list_backends()
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        state = "yes" if row.available else "no"
        typer.echo(
            f"{row.backend:<6} {row.where:<10} {state:<4} {row.version:<12} {row.note}".rstrip()
        )


def _examine(backend: str | None, as_json: bool) -> None:
    from dataclasses import asdict  # noqa: PLC0415

    from adnet.runtime.doctor import REPORT_HINT, examine, works  # noqa: PLC0415

    findings = examine(backend)
    if as_json:
        print_json({"works": works(findings), "findings": [asdict(one) for one in findings]})
    else:
        for one in findings:
            expected = f"; expected: {one.expected}" if one.expected else ""
            remedy = f"; to do: {one.remedy}" if one.remedy else ""
            typer.echo(f"{one.topic:<16} {one.state:<4} {one.found}{expected}{remedy}")
        typer.echo(REPORT_HINT)
    if not works(findings):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of adnet-run."""
    app()


if __name__ == "__main__":
    main()
