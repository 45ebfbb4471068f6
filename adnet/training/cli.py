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
    parse_numbers,
    progress_bar,
    reports_errors,
)
from adnet.errors import UsageError

if TYPE_CHECKING:
    from adnet.training.launch import Workers
    from adnet.training.progress import TrainProgress

app = make_app("Train ADNet on images.")

log = logging.getLogger(__name__)

_LINE_EVERY_S = 60.0


@app.command()
@reports_errors
def train(
    data: Annotated[
        list[Path], typer.Argument(help="Folders of images, or one of 'adnet-data prepare'.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run directory.", show_default=False)
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Defaults of the options below: default, paper, modelzoo.")
    ] = "default",
    channels: Annotated[int | None, typer.Option(help="1 gray, 3 colour. [1]")] = None,
    sigma: Annotated[
        str | None,
        typer.Option(help="Noise level (25), or LOW,HIGH for a blind model, 0-255 scale. [0,55]"),
    ] = None,
    pairs: Annotated[
        bool | None,
        typer.Option("--pairs", help="DATA holds pairs of real noisy and clean images."),
    ] = None,
    val: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of validation images. [some of DATA are held out]"),
    ] = None,
    val_images: Annotated[int | None, typer.Option(help="Images to hold out. [8]")] = None,
    val_sigma: Annotated[
        float | None, typer.Option(help="Validation noise. [SIGMA, or 25 when blind]")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Length in passes over a train.h5.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length of the schedule in steps.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Length of the schedule in minutes.")
    ] = None,
    patch: Annotated[int | None, typer.Option(help="Side of a patch in pixels. [50]")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Patches a step, over all workers. [128]")
    ] = None,
    scales: Annotated[
        str | None, typer.Option(help="Scales of the images. [1,0.9,0.8,0.7; pairs 1]")
    ] = None,
    augment: Annotated[
        bool | None, typer.Option(help="Turn and mirror patches at random. [yes]")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="adam, adamw, sgd (on an NPU the fused ones) or muon. [adam]")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="[0]")] = None,
    momentum: Annotated[float | None, typer.Option(help="Nesterov momentum of sgd. [0.9]")] = None,
    loss: Annotated[str | None, typer.Option(help="mean, or sum (as published). [mean]")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate. [0.001]")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="cosine, or steps down at the milestones. [cosine]")
    ] = None,
    milestones: Annotated[
        str | None, typer.Option(help="Shares of the run, e.g. 0.5,0.9, or none. [none]")
    ] = None,
    decay: Annotated[
        float | None, typer.Option(help="Factor on the rate at a milestone. [0.1]")
    ] = None,
    final_lr_ratio: Annotated[
        float | None, typer.Option(help="End of the cosine as a share of the rate. [0.001]")
    ] = None,
    warmup_steps: Annotated[int | None, typer.Option(help="Steps of linear warm-up. [500]")] = None,
    ema: Annotated[
        float | None, typer.Option(help="Decay of the averaged weights; 0: none. [0.999]")
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(help="Largest gradient norm; 0: any. [1]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice. [0]")] = None,
    init: Annotated[
        str | None, typer.Option(help="Checkpoint or name of a shipped model to start from.")
    ] = None,
    freeze_norm: Annotated[
        bool | None,
        typer.Option("--freeze-norm", help="Fine-tune with fixed batch-norm statistics."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, or autocast to bf16 or fp16. [fp32]")
    ] = None,
    loss_scale: Annotated[
        float | None, typer.Option(help="Fixed loss scale of fp16; 0: adapted. [adapted]")
    ] = None,
    hf32: Annotated[
        bool | None, typer.Option(help="NPU: allow or forbid HF32 in fp32. [torch_npu's choice]")
    ] = None,
    compile_network: Annotated[
        bool | None, typer.Option("--compile", help="Use torch.compile (pays off on a GPU).")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, npu, npu:1 ... [cpu]")
    ] = None,
    npus: Annotated[int | None, typer.Option(help="Train on so many NPUs.")] = None,
    gpus: Annotated[int | None, typer.Option(help="Train on so many GPUs.")] = None,
    procs: Annotated[
        int | None, typer.Option(help="Train in so many processes on --device cpu.")
    ] = None,
    nodes: Annotated[
        int, typer.Option(help="Machines; start the same command on each.", show_default=False)
    ] = 1,
    rendezvous: Annotated[
        str, typer.Option(help="HOST:PORT of the first machine, for --nodes.", show_default=False)
    ] = "",
    val_every: Annotated[int | None, typer.Option(help="Steps between validations. [1000]")] = None,
    log_every: Annotated[int | None, typer.Option(help="Steps between metrics. [50]")] = None,
    save_minutes: Annotated[float | None, typer.Option(help="Minutes between saves. [5]")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between saves, too. [none]")] = None,
    keep: Annotated[int | None, typer.Option(help="Checkpoints kept to resume from. [3]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in -o.")] = False,
    benchmark: Annotated[
        int | None,
        typer.Option(metavar="STEPS", help="Measure patches/s over STEPS steps; save nothing."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No bar, no lines of progress; only warnings.")
    ] = False,
    debug: DebugOption = False,
    version: VersionOption = False,
) -> None:
    """Train ADNet: adnet-train DATA... -o RUN --steps N (or --epochs, --max-minutes).

    RUN receives best.pth, last.pth, config.json, metrics.jsonl and TensorBoard events. Ctrl-C
    saves last.pth; --resume goes on from there. [Brackets] show the recipe default's values.
    """
    from adnet.training.command import OFF_AT_ZERO  # noqa: PLC0415
    from adnet.training.config import TrainConfig  # noqa: PLC0415
    from adnet.training.recipes import complete_options  # noqa: PLC0415

    kind, workers = _workers(device, npus=npus, gpus=gpus, procs=procs, nodes=nodes)
    given = {
        "val": None if val is None else tuple(map(str, val)),
        "val_images": val_images,
        "noise": "pairs" if pairs else None,
        "channels": channels,
        "sigma": None if sigma is None else _range(sigma),
        "val_sigma": val_sigma,
        "epochs": epochs,
        "steps": steps,
        "max_minutes": max_minutes,
        "patch": patch,
        "batch": batch,
        "scales": None if scales is None else _numbers(scales, "--scales"),
        "augment": augment,
        "optimizer": optimizer,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "loss": loss,
        "lr": lr,
        "schedule": schedule,
        "milestones": None if milestones is None else _shares(milestones),
        "decay": decay,
        "final_lr_ratio": final_lr_ratio,
        "warmup_steps": warmup_steps,
        "ema": ema,
        "clip_norm": clip_norm,
        "seed": seed,
        "init": init,
        "freeze_norm": freeze_norm,
        "precision": precision,
        "loss_scale": loss_scale,
        "hf32": hf32,
        "compile": compile_network,
        "val_every": val_every,
        "log_every": log_every,
        "save_minutes": save_minutes,
        "save_every": save_every,
        "keep": keep,
    }
    given = {name: value for name, value in given.items() if value is not None}
    given |= {name: None for name in OFF_AT_ZERO if given.get(name) == 0}
    options = complete_options(recipe, given)
    if benchmark is not None:
        options["steps"] = benchmark
        options.pop("epochs", None)
    config = TrainConfig(data=tuple(map(str, data)), device=kind, **options)

    from adnet.training.launch import Workers  # noqa: PLC0415  (imports torch)
    from adnet.training.start import run_training  # noqa: PLC0415
    from adnet.training.world import speaks_for_all  # noqa: PLC0415

    team = None if workers is None else Workers(workers, nodes, rendezvous)
    if benchmark is not None:
        _benchmark(config, team)
        return
    if output is None:
        raise UsageError("--output is missing: where should the run be written?")
    display = functools.partial(training_display, quiet)
    best = run_training(config, output, resume=resume, workers=team, display=display)
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
                """Let a log line replace the bar, which is drawn anew after the next step."""
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


def _benchmark(config: Any, workers: Workers | None) -> None:
    from adnet.training.benchmark import benchmark_training  # noqa: PLC0415  (imports torch)
    from adnet.training.world import speaks_for_all  # noqa: PLC0415

    result = benchmark_training(config, workers)
    if speaks_for_all():
        typer.echo(result.describe())


def _workers(
    device: str | None, *, npus: int | None, gpus: int | None, procs: int | None, nodes: int
) -> tuple[str, int | None]:
    """Turn --device, --npus, --gpus and --procs into a device and a number of workers."""
    asked = {"npu": npus, "cuda": gpus, "cpu": procs}
    if nodes > 1 and not any(count is not None for count in asked.values()):
        raise UsageError("--nodes needs --npus, --gpus or --procs: the workers of each machine.")
    kinds = [kind for kind, count in asked.items() if count is not None]
    if not kinds:
        return device or "cpu", None
    if len(kinds) > 1 or (device is not None and device != kinds[0]):
        raise UsageError(
            "--npus, --gpus and --procs say the device themselves: give one of them, and no "
            "--device (but --device cpu with --procs)."
        )
    return kinds[0], asked[kinds[0]]


def _range(sigma: str) -> tuple[float, ...]:
    return parse_numbers(sigma if "," in sigma else f"{sigma},{sigma}", "--sigma", 2)


def _shares(text: str) -> tuple[float, ...]:
    return () if text == "none" else _numbers(text, "--milestones")


def _numbers(text: str, option: str) -> tuple[float, ...]:
    return parse_numbers(text, option, text.count(",") + 1)


def main() -> None:
    """Entry point of adnet-train."""
    app()


if __name__ == "__main__":
    main()
