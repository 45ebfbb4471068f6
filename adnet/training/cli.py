"""adnet-train: train ADNet on one device or many."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adnet._cli import (
    DebugOption,
    ProgressBar,
    VersionOption,
    make_app,
    progress_bar,
    reports_errors,
)
from adnet.errors import UsageError
from adnet.training.config import FIELDS, TrainConfig
from adnet.training.field_options import SectionedCommand, read_fields, takes_fields
from adnet.training.recipes import make_config
from adnet.training.threads import sleep_when_idle
from adnet.training.workers import Workers, choose_workers

if TYPE_CHECKING:
    from adnet.training.progress import TrainProgress

app = make_app("Train ADNet on images.")

log = logging.getLogger(__name__)

_LINE_EVERY_S = 60.0

_on_devices = functools.partial(typer.Option, show_default=False, rich_help_panel="Device")


@app.command(cls=SectionedCommand)
@reports_errors
@takes_fields(FIELDS.values())
def train(
    data: Annotated[
        list[Path], typer.Argument(help="Folders of images, or one of 'adnet-data prepare'.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run directory.", show_default=False)
    ] = None,
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in -o.")] = False,
    benchmark: Annotated[
        int | None,
        typer.Option(metavar="STEPS", help="Measure patches/s over STEPS steps; save nothing."),
    ] = None,
    npus: Annotated[int | None, _on_devices(help="Train on so many NPUs.")] = None,
    gpus: Annotated[int | None, _on_devices(help="Train on so many GPUs.")] = None,
    procs: Annotated[
        int | None, _on_devices(help="Train in so many processes on --device cpu.")
    ] = None,
    nodes: Annotated[int, _on_devices(help="Machines; start the same command on each.")] = 1,
    rendezvous: Annotated[
        str, _on_devices(help="HOST:PORT of the first machine, for --nodes.")
    ] = "",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No bar, no lines of progress; only warnings.")
    ] = False,
    debug: DebugOption = False,
    version: VersionOption = False,
    **fields: Any,
) -> None:
    """Train ADNet: adnet-train DATA... -o RUN --steps N (or --epochs, --max-minutes).

    RUN receives best.pth, last.pth, config.json, metrics.jsonl, TensorBoard events and, at the
    end, report.html to look at. Ctrl-C saves last.pth; --resume continues from there. [Brackets]
    show the recipe default's values.
    """
    given = read_fields(FIELDS.values(), fields)
    given["device"], workers = choose_workers(
        given.get("device"),
        npus=npus, gpus=gpus, procs=procs, nodes=nodes, rendezvous=rendezvous,
    )  # fmt: skip
    if benchmark is not None:
        given |= {"steps": benchmark}
        given.pop("epochs", None)
    config = make_config(data, **given)
    if benchmark is not None:
        _benchmark(config, workers)
        return
    if output is None:
        raise UsageError("--output is missing: where should the run be written?")

    from adnet.training.start import run_training  # noqa: PLC0415  (imports torch)
    from adnet.training.world import speaks_for_all  # noqa: PLC0415

    display = functools.partial(training_display, quiet)
    best = run_training(config, output, resume=resume, workers=workers, display=display)
    if speaks_for_all():
        typer.echo(f"best checkpoint: {best}")


@contextmanager
def training_display(
    quiet: bool, interval_s: float = _LINE_EVERY_S
) -> Iterator[Callable[[TrainProgress], None]]:
    """Show a training run's progress: a bar on a terminal, a line a minute elsewhere.

    Args:
        quiet: nothing below a warning is logged either, while the run lasts.
        interval_s: least time between two lines.
    """
    from adnet.training.progress import ProgressLines  # noqa: PLC0415

    ours = logging.getLogger("adnet")
    if quiet:
        before = ours.level
        ours.setLevel(logging.WARNING)
        try:
            yield lambda _progress: None
        finally:
            ours.setLevel(before)
    elif sys.stderr.isatty():
        with ExitStack() as stack:
            bar: ProgressBar | None = None

            def clear_line(_record: logging.LogRecord) -> bool:
                """Let a log line replace the bar, which is drawn again after the next step."""
                if bar is not None:
                    sys.stderr.write("\r\033[K")
                return True

            for handler in logging.getLogger().handlers:
                handler.addFilter(clear_line)
                stack.callback(handler.removeFilter, clear_line)

            def show(progress: TrainProgress) -> None:
                nonlocal bar
                if bar is None:  # not before the log has said what is trained
                    bar = stack.enter_context(progress_bar("training", quiet))
                bar.show(progress.fraction, progress.describe())

            yield show
    else:
        yield ProgressLines(log.info, interval_s).show


def _benchmark(config: TrainConfig, workers: Workers | None) -> None:
    from adnet.training.benchmark import benchmark_training  # noqa: PLC0415  (imports torch)
    from adnet.training.world import speaks_for_all  # noqa: PLC0415

    result = benchmark_training(config, workers)
    if speaks_for_all():
        typer.echo(result.describe())


def main() -> None:
    """Entry point of adnet-train."""
    sleep_when_idle()
    app()


if __name__ == "__main__":
    main()
