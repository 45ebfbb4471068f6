"""adnet-run: denoise files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from adnet._cli import (
    DebugOption,
    JsonOption,
    QuietOption,
    VersionOption,
    end_like_ctrl_c,
    make_app,
    print_json,
    progress_bar,
    reports_errors,
)
from adnet.runtime import options as ask

if TYPE_CHECKING:
    from adnet._cli import ProgressBar
    from adnet.runtime.beyond import Beyond
    from adnet.runtime.progress import Progress
    from adnet.runtime.request import Request
    from adnet.runtime.summary import Summary

app = make_app("Denoise images with ADNet.")


@app.command()
@reports_errors
def run(
    inputs: ask.Inputs = None,
    output: ask.Output = None,
    suffix: ask.Suffix = None,
    format_: ask.Format = None,
    quality: ask.Quality = None,
    files_from: ask.FilesFrom = None,
    watch: ask.Watch = False,
    overwrite: ask.Overwrite = False,
    dry_run: ask.DryRun = False,
    compare: ask.Compare = None,
    reference: ask.Reference = None,
    strip_metadata: ask.StripMetadata = False,
    model: ask.Model = None,
    sigma: ask.Sigma = None,
    strength: ask.Strength = 1.0,
    ensemble: ask.Ensemble = False,
    color_mode: ask.Color = None,
    fast: ask.Fast = False,
    value_range: ask.ValueRange = None,
    backend: ask.Backend = None,
    device: ask.Device = None,
    provider: ask.ExecutionProvider = None,
    precision: ask.Arithmetic = None,
    threads: ask.Threads = None,
    streams: ask.Streams = None,
    compile_: ask.Compile = False,
    cache: ask.Cache = None,
    tile: ask.TileSide = None,
    batch: ask.Batch = None,
    pad: ask.Padding = None,
    max_pixels: ask.MaxPixels = 89_478_485,
    max_memory: ask.MaxMemory = None,
    jobs: ask.Jobs = None,
    by_chunk: ask.ByChunk = False,
    chunk: ask.Chunk = None,
    cluster: ask.Cluster = None,
    workers: ask.Workers = None,
    worker_cpus: ask.WorkerCpus = None,
    worker_npus: ask.WorkerNpus = None,
    worker_gpus: ask.WorkerGpus = None,
    images_per_task: ask.ImagesPerTask = None,
    list_models: ask.ListModels = False,
    list_backends: ask.ListBackends = False,
    doctor: ask.Doctor = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
    version: VersionOption = False,
) -> None:
    """Denoise images: adnet-run INPUT... -o OUT.

    For white Gaussian noise; depth and metadata are kept; colour values are used as stored.

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
    given = [*(inputs or []), *(_listed(files_from) if files_from else [])]
    if not given and not jobs:
        raise typer.BadParameter("give at least one image or folder", param_hint="INPUTS")
    if output is None and not suffix and not dry_run and not jobs:
        raise typer.BadParameter("say where the results go", param_hint="--output")

    from adnet.images.float_range import parse_range  # noqa: PLC0415
    from adnet.runtime.api import make_request  # noqa: PLC0415  (keeps --help fast)
    from adnet.runtime.beyond import Beyond, cluster_options  # noqa: PLC0415

    per_worker = (workers, worker_cpus, worker_npus, worker_gpus, images_per_task)
    beyond = Beyond(
        given, output, jobs, cluster_options(cluster, *per_worker), by_chunk, chunk, overwrite
    )
    request = make_request(
        inputs=[Path(one) for one in given],
        output=None if output is None else Path(output),
        suffix=suffix or "",
        format=format_,
        quality=quality,
        overwrite=overwrite,
        compare=compare,
        reference=reference,
        strip_metadata=strip_metadata,
        model=model,
        sigma=_sigma(sigma),
        strength=strength,
        ensemble=ensemble,
        color_mode=color_mode,
        fast=fast,
        value_range=None if value_range is None else parse_range(value_range),
        backend=backend,
        device=device,
        provider=provider,
        precision=precision,
        threads=threads,
        streams=streams,
        compile=compile_ or None,
        cache=None if cache is None else str(cache),
        tile=tile,
        batch=batch,
        pad=pad,
        max_pixels=max_pixels,
        max_memory=max_memory,
    )
    if beyond.is_wanted:
        beyond.refuse_what_does_not_go(request, watch=watch, dry_run=dry_run)
        _denoise(request, json_output, quiet, watch=False, beyond=beyond)
    elif dry_run:
        _preview(request, json_output)
    else:
        _denoise(request, json_output, quiet, watch=watch)


def _denoise(
    request: Request,
    json_output: bool,
    quiet: bool,
    *,
    watch: bool,
    beyond: Beyond | None = None,
) -> None:
    """Carry out a request, and say what was done."""
    from adnet.errors import DeviceLostError, UsageError  # noqa: PLC0415
    from adnet.images.decoder_lines import heard  # noqa: PLC0415
    from adnet.runtime.pipe import STREAM, is_piped, run_piped  # noqa: PLC0415
    from adnet.runtime.report import as_json, as_text  # noqa: PLC0415
    from adnet.runtime.summary import Summary  # noqa: PLC0415

    summary, piped = Summary(), is_piped(request)
    if piped and watch:
        raise UsageError("--watch takes folders; it does not go with - for stdin or stdout.")
    if request.output == STREAM and json_output:
        raise UsageError("--json and -o - would both write to stdout. Leave out one of the two.")
    try:
        with heard():
            if beyond is not None:
                _run_beyond(beyond, request, summary, quiet)
            elif piped:
                run_piped(request, summary)
            else:
                _run_shown(request, summary, quiet, watch=watch)
    except (KeyboardInterrupt, DeviceLostError) as err:
        if json_output:
            print_json(as_json(summary, err))
        raise
    if json_output:
        print_json(as_json(summary))
    elif text := as_text(summary, only_notes=request.output == STREAM):
        typer.echo(text, err=request.output == STREAM)
    if summary.failed:
        raise typer.Exit(1)


def _run_shown(request: Request, summary: Summary, quiet: bool, *, watch: bool) -> None:
    """Carry out a request with a progress bar."""
    from adnet.runtime.progress import Position  # noqa: PLC0415
    from adnet.runtime.request import run  # noqa: PLC0415
    from adnet.runtime.watch import watch as go_on  # noqa: PLC0415

    with progress_bar("denoising", quiet, lines=True) as bar:
        if watch:
            end_like_ctrl_c()
            show = _Shown(bar, watched=not quiet)
            go_on(request, Position(0, show), summary, bar.message)
            return
        plan = request.plan()
        for path, reason in plan.found.unreadable:
            bar.message(f"failed: {path}: {reason}")
        run(request, plan, Position(len(plan.jobs), _Shown(bar)), summary)


def _run_beyond(beyond: Beyond, request: Request, summary: Summary, quiet: bool) -> None:
    """Carry out a request that goes beyond files of this machine."""
    import sys  # noqa: PLC0415
    from contextlib import redirect_stdout  # noqa: PLC0415

    from adnet.runtime.beyond import run  # noqa: PLC0415
    from adnet.runtime.progress import Position  # noqa: PLC0415

    # Ray writes what it thinks of dead workers to stdout, where --json goes.
    with progress_bar("denoising", quiet, lines=True) as bar, redirect_stdout(sys.stderr):
        run(beyond, request, lambda count: Position(count, _Shown(bar)), summary)


class _Shown:
    """Shows each step of a run."""

    def __init__(self, bar: ProgressBar, *, watched: bool = False) -> None:
        self._bar, self._watched = bar, watched

    def __call__(self, step: Progress) -> None:
        if step.error is not None:
            self._bar.message(f"failed: {step.error}")
        elif step.image is not None and self._watched:
            self._bar.message(f"done: {step.image}")
        rate = step.megapixels_per_second
        self._bar.show(step.fraction, f"{step.done}/{step.images} images, {rate:.2f} MPix/s")


def _sigma(text: str | None) -> Any:
    """Read --sigma."""
    if text is None or text == "auto":
        return text
    try:
        return float(text)
    except ValueError as err:
        raise typer.BadParameter(
            f"expected a number or auto, got {text!r}", param_hint="--sigma"
        ) from err


def _listed(files_from: Path) -> list[str]:
    """Read a list of paths, one a line, or parted by NUL bytes; empty lines are left out."""
    import os  # noqa: PLC0415
    import sys  # noqa: PLC0415
    from codecs import BOM_UTF8  # noqa: PLC0415

    from adnet.errors import UsageError  # noqa: PLC0415

    try:
        data = sys.stdin.buffer.read() if str(files_from) == "-" else files_from.read_bytes()
    except OSError as err:
        raise UsageError(f"{files_from}: cannot be read: {err.strerror or err}.") from err
    data = data.removeprefix(BOM_UTF8)
    if b"\0" in data:
        lines = data.split(b"\0")
    else:
        lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    found = [os.fsdecode(line) for line in lines if line.strip()]
    if not found:
        raise UsageError(f"{files_from}: the list names no file.")
    return found


def _preview(request: Request, json_output: bool) -> None:
    from adnet.errors import UsageError  # noqa: PLC0415
    from adnet.images.decoder_lines import heard  # noqa: PLC0415
    from adnet.runtime.pipe import is_piped  # noqa: PLC0415
    from adnet.runtime.preview import as_lines, preview  # noqa: PLC0415

    if is_piped(request):
        raise UsageError("--dry-run is for files; it does not go with - for stdin or stdout.")
    plan = request.plan()
    with heard():
        looked = list(preview(request, plan))
    if json_output:
        print_json([one.as_json() for one in looked])
    else:
        for line in as_lines(looked, plan.found):
            typer.echo(line)
    if any(one.will == "fail" for one in looked):
        raise typer.Exit(1)


def _list_models(json_output: bool) -> None:
    from adnet.runtime.listing import models_as_json, models_as_text  # noqa: PLC0415

    if json_output:
        print_json(models_as_json())
        return
    for line in models_as_text():
        typer.echo(line)


def _list_backends(json_output: bool) -> None:
    from dataclasses import asdict  # noqa: PLC0415

    from adnet.runtime.inventory import list_backends  # noqa: PLC0415
    from adnet.runtime.listing import backends_as_text  # noqa: PLC0415

    rows = list_backends()
    if json_output:
        print_json([asdict(row) for row in rows])
        return
    for line in backends_as_text(rows):
        typer.echo(line)


def _examine(backend: str | None, json_output: bool) -> None:
    from dataclasses import asdict  # noqa: PLC0415

    from adnet.runtime.doctor import REPORT_HINT, examine, works  # noqa: PLC0415
    from adnet.runtime.listing import findings_as_text  # noqa: PLC0415

    findings = examine(backend)
    if json_output:
        print_json({"works": works(findings), "findings": [asdict(one) for one in findings]})
    else:
        for line in findings_as_text(findings):
            typer.echo(line)
        typer.echo(REPORT_HINT)
    if not works(findings):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of adnet-run."""
    app()


if __name__ == "__main__":
    main()
