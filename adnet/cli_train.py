"""adnet-train: train ADNet on clean images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adnet._cli import (
    DebugOption,
    QuietOption,
    VersionOption,
    make_app,
    parse_numbers,
    progress_bar,
    reports_errors,
)
from adnet.errors import UsageError

if TYPE_CHECKING:
    from adnet.train import TrainProgress

app = make_app("Train ADNet on folders of clean images.")


@app.command()
@reports_errors
def train(
    data: Annotated[list[Path], typer.Argument(help="Folders of clean images, or one train.h5.")],
    run: Annotated[Path, typer.Option("--output", "-o", help="Run directory.")],
    channels: Annotated[int, typer.Option(help="1 gray, 3 colour.")] = 1,
    sigma: Annotated[
        str, typer.Option(help="Noise level (25), or LOW,HIGH for a blind model, 0-255 scale.")
    ] = "0,55",
    val: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of validation images. Default: some of DATA are held out."),
    ] = None,
    val_images: Annotated[int, typer.Option(help="How many images to hold out.")] = 8,
    val_sigma: Annotated[
        float | None, typer.Option(help="Validation noise. Default: SIGMA, or 25 when blind.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Length of the schedule in steps.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Length of the schedule in minutes.")
    ] = None,
    patch: Annotated[int, typer.Option(help="Side of a patch in pixels.")] = 50,
    batch: Annotated[int, typer.Option(help="Patches a step.")] = 128,
    scales: Annotated[str, typer.Option(help="Scales of the images.")] = "1,0.9,0.8,0.7",
    lr: Annotated[float, typer.Option(help="Peak learning rate of Adam.")] = 1e-3,
    warmup_steps: Annotated[int, typer.Option(help="Steps of linear warm-up.")] = 500,
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights.")] = 0.999,
    clip_norm: Annotated[float, typer.Option(help="Largest gradient norm.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    init: Annotated[Path | None, typer.Option(help="Checkpoint to start from.")] = None,
    freeze_norm: Annotated[
        bool,
        typer.Option("--freeze-norm", help="Fine-tune with fixed batch-norm statistics."),
    ] = False,
    precision: Annotated[str, typer.Option(help="fp32, or bf16 autocast.")] = "fp32",
    compile_network: Annotated[
        bool, typer.Option("--compile", help="Use torch.compile (pays off on a GPU).")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, npu:0 ...")] = "cpu",
    val_every: Annotated[int, typer.Option(help="Steps between validations.")] = 1000,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in -o.")] = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
    version: VersionOption = False,
) -> None:
    """Train ADNet: adnet-train DATA... -o RUN --steps N (or --max-minutes M).

    RUN receives best.pth, last.pth, config.json, metrics.jsonl and TensorBoard events. Ctrl-C
    saves last.pth; --resume goes on from there.
    """
    if channels not in (1, 3):
        raise UsageError(f"--channels must be 1 or 3, got {channels}.")
    if precision not in ("fp32", "bf16"):
        raise UsageError(f"--precision must be fp32 or bf16, got {precision!r}.")
    low, high = parse_numbers(sigma if "," in sigma else f"{sigma},{sigma}", "--sigma", 2)
    if val_sigma is None:
        val_sigma = low if low == high else 25.0

    from adnet.train import train as run_training  # noqa: PLC0415  (imports torch)
    from adnet.train_config import TrainConfig  # noqa: PLC0415

    config = TrainConfig(
        data=tuple(map(str, data)),
        val=tuple(map(str, val or ())),
        val_images=val_images,
        channels=1 if channels == 1 else 3,
        sigma=(low, high),
        val_sigma=val_sigma,
        patch=patch,
        batch=batch,
        scales=parse_numbers(scales, "--scales", scales.count(",") + 1),
        steps=steps,
        max_minutes=max_minutes,
        lr=lr,
        warmup_steps=warmup_steps,
        ema=ema,
        clip_norm=clip_norm,
        seed=seed,
        init=None if init is None else str(init),
        freeze_norm=freeze_norm,
        precision="fp32" if precision == "fp32" else "bf16",
        compile=compile_network,
        device=device,
        val_every=val_every,
    )
    with progress_bar("training", quiet) as bar:

        def show(progress: TrainProgress) -> None:
            parts = [f"step {progress.step}", f"{progress.patches_per_s:.0f} patches/s"]
            if progress.loss is not None:
                parts.append(f"loss {progress.loss:.5f}")
            if progress.val_psnr is not None:
                parts.append(f"PSNR {progress.val_psnr:.2f} dB")
            bar.show(progress.fraction, ", ".join(parts))

        best = run_training(config, run, resume=resume, on_progress=show)
    typer.echo(f"best checkpoint: {best}")


def main() -> None:
    """Entry point of adnet-train."""
    app()
