"""adnet-bench: speed and quality of every backend, measured the same way."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adnet._cli import (
    DebugOption,
    JsonOption,
    QuietOption,
    VersionOption,
    make_app,
    parse_numbers,
    parse_whole_numbers,
    print_json,
    progress_bar,
    reports_errors,
)
from adnet.errors import UsageError
from adnet.runtime.choices import Precision

if TYPE_CHECKING:
    from adnet.benchmarks.results import Result

JsonFileOption = Annotated[
    Path | None,
    typer.Option("--json", help="Write the result, for adnet-bench compare and report."),
]
ReportOption = Annotated[
    Path | None,
    typer.Option("--report", help="Write a page (one HTML file) with plots; needs matplotlib."),
]

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
        typer.Option(help="Shipped name or file; repeat for several. [gray-blind]"),
    ] = None,
    peers: Annotated[
        str,
        typer.Option(
            help="What others would use, beside: published-script, torch-compile[-bf16], "
            "bare-onnxruntime, openvino-fp32, -bf16 or -nncf-int8, ncnn, mnn-fp32 or -low, or all "
            "that are installed."
        ),
    ] = "",
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
        int | None,
        typer.Option(help="Rounds of timing, 0: none. [until the intervals are within 2 %]"),
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="Use only the first images of the data.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device, as for adnet-run.")] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Precision, as for adnet-run.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Provider, as for adnet-run.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads, as for adnet-run.")] = None,
    streams: Annotated[int | None, typer.Option(help="Streams, as for adnet-run.")] = None,
    json_file: JsonFileOption = None,
    report: ReportOption = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
    version: VersionOption = False,
) -> None:
    """Measure speed (latency, throughput, end to end) and, with --data, quality.

    Exit status: 0 all measured, 1 a backend failed (the others are measured), 2 nothing started.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    from adnet.benchmarks.measure import BenchConfig, run_benchmark  # noqa: PLC0415
    from adnet.benchmarks.quality import find_dataset  # noqa: PLC0415
    from adnet.runtime.backend import RunOptions  # noqa: PLC0415

    sizes = [parse_whole_numbers(text, "--size", 2) for text in size or ["321,481"]]
    config = BenchConfig(
        backends=_names(backend),
        models=tuple(model or ["gray-blind"]),
        options=RunOptions(
            threads=threads, device=device, precision=precision, provider=provider, streams=streams
        ),
        peers=_names(peers),
        batches=_counts(batch, "--batch"),
        sizes=tuple((height, width) for height, width in sizes),
        rounds=rounds,
        dataset=None if data is None else find_dataset(data),
        sigma=sigma,
        images=images,
    )
    result = _recorded(
        lambda result, show: run_benchmark(config, result, show), json_file, report, quiet
    )
    if data is None:
        typer.echo("Quality: give --data FOLDER, or fetch a set with 'adnet-data fetch BSD68'.")
    if result.errors:
        raise typer.Exit(1)


@app.command()
@reports_errors
def scaling(
    backend: Annotated[str, typer.Option(help="Backend, as for adnet-run.")] = "onnx",
    model: Annotated[str, typer.Option(help="Shipped name or file.")] = "gray-blind",
    megapixels: Annotated[
        str, typer.Option(help="Image sizes; empty: none.")
    ] = "0.1,0.3,1,3,10,30,100",
    batch: Annotated[str, typer.Option(help="Batches; empty: none.")] = "1,2,4,8,16",
    threads: Annotated[
        str | None, typer.Option(help="CPU threads; empty: none. [powers of two up to the cores]")
    ] = None,
    streams: Annotated[
        str | None, typer.Option(help="Streams; empty: none. [powers of two up to the cores]")
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="H,W", help="Height and width for batch, threads and streams.")
    ] = "321,481",
    device: Annotated[str | None, typer.Option(help="Device, as for adnet-run.")] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Rounds of timing. [until the intervals are within 2 %]")
    ] = None,
    json_file: JsonFileOption = None,
    report: ReportOption = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure throughput against image size, batch, threads and streams."""
    from adnet.benchmarks.scaling import (  # noqa: PLC0415
        ScalingConfig,
        default_counts,
        measure_scaling,
    )
    from adnet.provenance import usable_cores  # noqa: PLC0415
    from adnet.runtime.backend import RunOptions  # noqa: PLC0415

    counts = ",".join(map(str, default_counts(usable_cores())))
    sizes = (
        parse_numbers(megapixels, "--megapixels", megapixels.count(",") + 1) if megapixels else ()
    )
    height, width = parse_whole_numbers(size, "--size", 2)
    config = ScalingConfig(
        size=(height, width),
        backend=backend,
        model=model,
        options=RunOptions(device=device),
        megapixels=sizes,
        batches=_counts(batch, "--batch"),
        threads=_counts(counts if threads is None else threads, "--threads"),
        streams=_counts(counts if streams is None else streams, "--streams"),
        rounds=rounds,
    )
    _recorded(lambda result, show: measure_scaling(config, result, show), json_file, report, quiet)


@app.command()
@reports_errors
def report(
    result: Annotated[Path, typer.Argument(help="JSON of a run.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="HTML file to write; a PNG or SVG: speed against quality alone."
        ),
    ],
    debug: DebugOption = False,
) -> None:
    """Turn a stored result into a page."""
    from adnet.benchmarks.plots import write_front  # noqa: PLC0415
    from adnet.benchmarks.report import write_report  # noqa: PLC0415
    from adnet.benchmarks.results_json import read_result  # noqa: PLC0415

    _check_target(output, "--output", [".html", ".htm", ".png", ".svg"])
    write = write_front if output.suffix.lower() in (".png", ".svg") else write_report
    write(read_result(result), output)
    typer.echo(f"report: {output}")


@app.command()
@reports_errors
def compare(
    before: Annotated[Path, typer.Argument(help="JSON of the first run.")],
    after: Annotated[Path, typer.Argument(help="JSON of the second run.")],
    slower: Annotated[
        float,
        typer.Option(help="Share of throughput whose loss counts, if the whole interval says so."),
    ] = 0.05,
    worse: Annotated[float, typer.Option(help="Loss of PSNR in dB that counts.")] = 0.01,
    debug: DebugOption = False,
) -> None:
    """Compare two results. Exit status 1 where the second is slower or worse, or lacks figures."""
    from adnet.benchmarks.compare import (  # noqa: PLC0415
        compare_results,
        differences,
        lost_figures,
        unlike,
    )
    from adnet.benchmarks.results_json import read_result  # noqa: PLC0415
    from adnet.benchmarks.sections import markdown_changes  # noqa: PLC0415

    first, second = read_result(before), read_result(after)
    changes = compare_results(first, second, slower=slower, worse=worse)
    if not changes:
        raise UsageError(f"{before} and {after} have no figure in common.")
    for path, one in ((before, first), (after, second)):
        if not one.complete:
            typer.echo(f"note: {path} is of a run that was interrupted or failed", err=True)
    for difference in differences(first, second):
        typer.echo(f"note: the machines differ, {difference}", err=True)
    for told in unlike(first, second):
        typer.echo(f"note: {told}", err=True)
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
    pairs: Annotated[
        bool, typer.Option("--pairs", help="The folders hold pairs of real noisy and clean images.")
    ] = False,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure models at the paper's noise levels, beside the paper's figures.

    With --pairs: on photographs with noise of their own, before and after, scene by scene.
    """
    from dataclasses import asdict  # noqa: PLC0415

    from adnet.benchmarks.quality import find_dataset  # noqa: PLC0415
    from adnet.benchmarks.sections import table  # noqa: PLC0415
    from adnet.benchmarks.tables import measure_real, measure_tables  # noqa: PLC0415
    from adnet.models.shipped import FAST_SUFFIX, pretrained_models  # noqa: PLC0415

    if images is not None and images < 1:
        raise UsageError(f"--images must be at least 1, got {images}.")
    # PyTorch takes no int8 file: those of ours are left out, one that is named is refused.
    is_torch = backend in ("torch", "npu")
    names = model or [
        one.name for one in pretrained_models() if not (is_torch and one.name.endswith(FAST_SUFFIX))
    ]
    if pairs:
        if images is not None:
            raise UsageError("--images has no effect with --pairs: scenes are measured whole.")
        real = list(measure_real(names, [find_dataset(one) for one in data], backend))
        if json_output:
            print_json([{"model": m, "dataset": d, **found.to_dict()} for m, d, found in real])
            return
        lines = [
            [name, dataset, scene, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}"]
            for name, dataset, found in real
            for scene, (before, after) in (
                *found.scenes.items(), (f"all {found.pairs} pairs", (found.noisy, found.denoised)),
            )
        ]  # fmt: skip
        head = ["model", "data", "scene", "noisy", "denoised", "gain"]
        typer.echo("\n".join(table(head, lines)))
        return
    entries = list(measure_tables(names, [find_dataset(one) for one in data], backend, images))
    if not entries:
        raise UsageError(
            "none of the models takes these images: gray and colour do not match, or the models "
            "are for real noise, which is measured on pairs: --pairs."
        )
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


def _recorded(
    measure: Callable[[Result, Callable[[float, str], None]], None],
    json_file: Path | None,
    report: Path | None,
    quiet: bool,
) -> Result:
    """Measure into a new result, write what is asked for and print it."""
    from adnet.benchmarks import results  # noqa: PLC0415
    from adnet.benchmarks.environment import environment  # noqa: PLC0415
    from adnet.benchmarks.results_json import write_result  # noqa: PLC0415
    from adnet.benchmarks.sections import markdown  # noqa: PLC0415

    for path, option, endings in (
        (json_file, "--json", [".json"]), (report, "--report", [".html", ".htm"]),
    ):  # fmt: skip
        if path is not None:
            _check_target(path, option, endings)
    if report is not None:
        import_module("matplotlib")  # missing: better said before the measurement
    result = results.Result(environment())
    try:
        with progress_bar("measuring", quiet) as bar:
            measure(result, bar.show)
    finally:
        # Interrupted, too: what was measured is kept, and marked as incomplete.
        if result.has_figures:
            typer.echo(markdown(result))
            if json_file is not None:
                write_result(result, json_file)
            if report is not None:
                from adnet.benchmarks.report import write_report  # noqa: PLC0415

                write_report(result, report)
                typer.echo(f"report: {report}")
    return result


def _check_target(path: Path, option: str, endings: Sequence[str]) -> None:
    """Refuse what could not be written after all the work, or is some other file by its name."""
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise UsageError(f"{option} {path}: {problem}. Give the name of a file.")
    if path.suffix.lower() not in endings:
        raise UsageError(f"{option} {path}: expected a name that ends in {' or '.join(endings)}.")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{option} {path}: the folder cannot be written.")


def _refuse_options(context: typer.Context) -> None:
    """Options before a sub-command are those of adnet-bench itself, and would do nothing."""
    given = [
        name for name in context.params
        if str(getattr(context.get_parameter_source(name), "name", "")) == "COMMANDLINE"
    ]  # fmt: skip
    if given:
        raise UsageError(
            f"--{given[0].replace('_', '-')}: give options after '{context.invoked_subcommand}'."
        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _counts(text: str, option: str) -> tuple[int, ...]:
    return parse_whole_numbers(text, option, text.count(",") + 1) if text else ()


def main() -> None:
    """Entry point of adnet-bench."""
    app()


if __name__ == "__main__":
    main()
