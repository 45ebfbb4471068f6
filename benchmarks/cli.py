"""adnet-bench: speed and quality of every backend, measured the same way."""

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
    parse_whole_numbers,
    print_json,
    progress_bar,
    reports_errors,
)
from adnet.errors import UsageError

if TYPE_CHECKING:
    from adnet.benchmarks.subject import Subject

app = make_app("Measure speed and quality of ADNet on every backend.")


@app.callback(invoke_without_command=True, no_args_is_help=False)
@reports_errors
def bench(
    context: typer.Context,
    backend: Annotated[
        str, typer.Option(help="Backends, e.g. onnx,torch, or all that run here.")
    ] = "onnx",
    model: Annotated[
        list[str] | None,
        typer.Option(help="Shipped name or file; repeat for backends that need their own."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Folder of clean images, or a fetched set such as BSD68.")
    ] = None,
    sigma: Annotated[float, typer.Option(help="Noise level, 0 to 255.")] = 25.0,
    batch: Annotated[str, typer.Option(help="Batches, e.g. 1,4,8.")] = "1",
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="H,W", help="Height and width; repeat for several. [321,481]"),
    ] = None,
    rounds: Annotated[
        int, typer.Option(help="Interleaved rounds of timing; 0 leaves it out.")
    ] = 12,
    images: Annotated[
        int | None, typer.Option(help="Use only the first images of the data.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device, as for adnet-run.")] = None,
    precision: Annotated[str | None, typer.Option(help="Precision, as for adnet-run.")] = None,
    provider: Annotated[str | None, typer.Option(help="Provider, as for adnet-run.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads, as for adnet-run.")] = None,
    streams: Annotated[int | None, typer.Option(help="Streams, as for adnet-run.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result, for adnet-bench compare.")
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
    version: VersionOption = False,
) -> None:
    """Measure speed (latency, throughput, end to end) and, with --data, quality.

    Exit status: 0 all measured, 1 a backend failed (the others are measured), 2 nothing started.
    """
    if context.invoked_subcommand is not None:
        return
    from adnet.benchmarks.environment import environment  # noqa: PLC0415
    from adnet.benchmarks.markdown import markdown  # noqa: PLC0415
    from adnet.benchmarks.quality import find_dataset  # noqa: PLC0415
    from adnet.benchmarks.results import new_result, write_result  # noqa: PLC0415
    from adnet.benchmarks.subject import open_subjects  # noqa: PLC0415

    sizes = [
        (h, w) for h, w in (parse_whole_numbers(text, "--size", 2) for text in size or ["321,481"])
    ]
    batches = parse_whole_numbers(batch, "--batch", batch.count(",") + 1)
    if min(batches) < 1 or min(min(one) for one in sizes) < 1 or rounds < 0:
        raise UsageError("--batch, --size and --rounds: expected numbers of at least 1.")
    if not 0 <= sigma <= 255 or (images is not None and images < 1):
        raise UsageError("--sigma must be 0 to 255, and --images at least 1.")
    if data is None and (images is not None or rounds == 0):
        raise UsageError("without --data there is no quality to measure; give it, or --rounds.")
    if json_file is not None and not json_file.parent.is_dir():
        raise UsageError(f"{json_file.parent}: no such folder for --json.")
    dataset = None if data is None else find_dataset(data)
    options: Any = {
        "device": device, "precision": precision, "provider": provider, "threads": threads,
        "streams": streams,
    }  # fmt: skip
    options = {name: value for name, value in options.items() if value is not None}
    result = new_result(environment())
    try:
        with open_subjects(backend.split(","), model or ["gray-blind"], options) as subjects:
            result["left_out"] = subjects.left_out
            if not subjects.opened:
                raise UsageError(f"no backend can run here: {subjects.left_out}")
            _measure(result, subjects.opened, batches, sizes, rounds, dataset, sigma, images, quiet)
            result["errors"] |= {one.name: one.error for one in subjects.opened if one.error}
        result["complete"] = not result["errors"]
    finally:
        # Interrupted, too: what was measured is kept, and marked as incomplete.
        if json_file is not None and result["subjects"]:
            write_result(result, json_file)
    typer.echo(markdown(result))
    if dataset is None:
        typer.echo("Quality: give --data FOLDER, or fetch a set with 'adnet-data fetch BSD68'.")
    if result["errors"]:
        raise typer.Exit(1)


@app.command()
@reports_errors
def compare(
    before: Annotated[Path, typer.Argument(help="JSON of the first run.")],
    after: Annotated[Path, typer.Argument(help="JSON of the second run.")],
    slower: Annotated[float, typer.Option(help="Loss of throughput that counts.")] = 0.05,
    worse: Annotated[float, typer.Option(help="Loss of PSNR in dB that counts.")] = 0.01,
    debug: DebugOption = False,
) -> None:
    """Compare two results. Exit status 1 where the second is slower or worse, or lacks figures."""
    from adnet.benchmarks.compare import (  # noqa: PLC0415
        compare_results,
        differences,
        lost_figures,
    )
    from adnet.benchmarks.markdown import markdown_changes  # noqa: PLC0415
    from adnet.benchmarks.results import read_result  # noqa: PLC0415

    first, second = read_result(before), read_result(after)
    changes = compare_results(first, second, slower=slower, worse=worse)
    if not changes:
        raise UsageError(f"{before} and {after} have no figure in common.")
    for difference in differences(first, second):
        typer.echo(f"note: the machines differ, {difference}", err=True)
    typer.echo(markdown_changes(changes))
    lost = lost_figures(first, second)
    for figure in lost:
        typer.echo(f"missing in {after}: {figure}")
    if lost or any(change.is_regression for change in changes):
        raise typer.Exit(1)


@app.command()
@reports_errors
def tables(
    data: Annotated[
        list[str],
        typer.Option(help="Folder of clean images, or a fetched set; repeat for several."),
    ],
    model: Annotated[
        list[str] | None, typer.Option(help="Shipped name or file. Default: all shipped models.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Backend, as for adnet-run.")] = None,
    images: Annotated[int | None, typer.Option(help="Use only the first images of a set.")] = None,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure models at the paper's noise levels, beside the paper's figures."""
    from dataclasses import asdict  # noqa: PLC0415

    from adnet.benchmarks.markdown import table  # noqa: PLC0415
    from adnet.benchmarks.quality import find_dataset  # noqa: PLC0415
    from adnet.benchmarks.tables import measure_tables  # noqa: PLC0415

    from adnet.pretrained import pretrained_models  # noqa: PLC0415

    names = model or [one.name for one in pretrained_models()]
    entries = list(measure_tables(names, [find_dataset(one) for one in data], backend, images))
    if not entries:
        raise UsageError("none of the models takes these images: gray and colour do not match.")
    if json_output:
        print_json([asdict(entry) for entry in entries])
        return
    rows = [
        [
            one.model, one.dataset, f"{one.sigma:g}", f"{one.psnr:.3f}",
            "-" if one.paper is None else f"{one.paper:.2f}",
            "-" if one.paper is None else f"{one.psnr - one.paper:+.3f}",
        ]
        for one in entries
    ]  # fmt: skip
    head = ["model", "data", "sigma", "PSNR", "paper", "difference"]
    typer.echo("\n".join(table(head, rows)))


def _measure(
    result: dict[str, Any],
    subjects: list[Subject],
    batches: tuple[int, ...],
    sizes: list[tuple[int, int]],
    rounds: int,
    dataset: tuple[str, Path] | None,
    sigma: float,
    images: int | None,
    quiet: bool,
) -> None:
    from adnet.benchmarks.quality import PROTOCOL, load_clean, measure_quality  # noqa: PLC0415
    from adnet.benchmarks.speed import (  # noqa: PLC0415
        measure_end_to_end,
        measure_speed,
        peak_memory,
        rendered_images,
    )

    channels = subjects[0].backend.card.channels
    if any(one.backend.card.channels != channels for one in subjects):
        raise UsageError("gray and colour models cannot be compared; measure them one by one.")
    result["subjects"] = [
        {"backend": one.name, "model": str(one.model), "load_s": one.load_seconds,
         "weights_sha256": one.backend.card.weights_sha256, **one.backend.describe()}
        for one in subjects
    ]  # fmt: skip
    clean = None if dataset is None else load_clean(dataset[1], channels, images)
    with progress_bar("measuring", quiet) as bar:
        if rounds:
            bar.show(0.0, "speed")
            result["speed"], result["peak_gflop_per_s"] = measure_speed(
                subjects,
                batches,
                sizes,
                rounds,
                sigma,
            )
            bar.show(0.4, "end to end")
            files = list(clean.values())[:8] if clean else rendered_images(channels, sizes[0], 4)
            result["end_to_end"] = measure_end_to_end(subjects, files, max(3, rounds // 4))
        if clean is not None and dataset is not None:
            result["protocol"] = PROTOCOL
            result["quality"] = measure_quality(
                subjects, dataset[0], clean, sigma, lambda name: bar.show(0.6, f"quality: {name}"),
                is_whole=images is None,
            )  # fmt: skip
    result["peak_memory_mb"] = peak_memory()


def main() -> None:
    """Entry point of adnet-bench."""
    app()
