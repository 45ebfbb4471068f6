"""What saturating half precision does to training: an emulation on the CPU.

    python -m adnet.benchmarks.studies.half_precision IMAGES -o docs/half-precision.png [--seeds 3]

Ascend 910 and 310P round inf to 65504 and nan to 0 in float16 (their default mode). Here every
convolution, batch norm and tanh gives its result, and takes its gradient, through such a float16;
weights are float16 in the convolutions and float32 in the optimiser, as apex O2 and autocast keep
them. Compared are, on the same noisy patches:

    modelzoo      the ModelZoo recipe with Adam: summed loss, fixed loss scale 64, rate 1e-3, the
                  published start, nothing watches the gradients
    large scale   the same with a fixed loss scale of 65536
    float32       the same without half precision, for comparison
    adnet         our own trainer in fp16, as it is: mean loss, adapted scale, saturation counted
                  as overflow, clipping, warm-up, loss guard
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import typer

from adnet._cli import make_app, reports_errors
from adnet.images.levels import WHITE

app = make_app("Emulate training in saturating half precision.")

BATCH, PATCH, SIGMA = 2, 50, 25.0


@app.command()
@reports_errors
def study(
    images: Annotated[Path, typer.Argument(help="Folder of clean images.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Plot, PNG.")],
    seeds: Annotated[int, typer.Option(help="Runs of each kind.")] = 3,
    steps: Annotated[int, typer.Option(help="Steps of each run.")] = 100,
) -> None:
    """Run the study, write the plot and the numbers (JSON beside it), print a table."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for name in ("modelzoo", "large scale", "float32", "adnet"):
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                run = (
                    _adnet_run(images, steps, seed, Path(folder, "run"))
                    if name == "adnet"
                    else _modelzoo_run(images, steps, seed, name)
                )
            runs.setdefault(name, []).append(run)
            typer.echo(f"{name}, seed {seed}: {_summary(run)}")
    output.with_suffix(".json").write_text(json.dumps(runs))
    _plot(runs, output)


def _summary(run: dict[str, Any]) -> str:
    losses = run["losses"]
    end = sum(losses[-20:]) / len(losses[-20:])
    return (
        f"mean loss of the last 20 steps {end:.5f}, highest after step 20 "
        f"{max(losses[20:]):.5f}, steps with saturated gradients {run['saturated']}, skipped "
        f"{run['skipped']}, returns {run['rollbacks']}, largest scaled gradient "
        f"{run['largest'] or float('nan'):.0f}"
    )


def _modelzoo_run(images: Path, steps: int, seed: int, kind: str) -> dict[str, Any]:
    import torch

    from adnet.models.network import ADNet  # noqa: PLC0415
    from adnet.training.config import TrainConfig  # noqa: PLC0415
    from adnet.training.data import load_training_data, make_batch  # noqa: PLC0415
    from adnet.training.precision import LARGEST_HALF  # noqa: PLC0415
    from adnet.training.world import World  # noqa: PLC0415

    world = World(torch.device("cpu"))
    config = TrainConfig(**_common(images, steps, seed))
    data = load_training_data(config, world.device)
    torch.manual_seed(seed)
    network = ADNet(1).train()
    _publish_start(network)
    scale = {"modelzoo": 64.0, "large scale": 65536.0, "float32": 1.0}[kind]
    if kind != "float32":
        saturate_half(network)
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    losses, saturated, largest = [], 0, 0.0
    for step in range(steps):
        noisy, clean = make_batch(config, data, world, step)
        error = (network(noisy) - clean).square()
        loss = error.sum() / (2 * len(clean))
        optimizer.zero_grad()
        (loss * scale).backward()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        step_largest = max(float(gradient.abs().max()) for gradient in gradients)
        largest = max(largest, step_largest)
        saturated += step_largest >= LARGEST_HALF
        for gradient in gradients:
            gradient.div_(scale)
        optimizer.step()
        losses.append(float(error.detach().mean()))
    return {
        "losses": losses,
        "largest": largest,
        "saturated": saturated,
        "skipped": 0,
        "rollbacks": 0,
    }


def _adnet_run(images: Path, steps: int, seed: int, run: Path) -> dict[str, Any]:
    import torch

    from adnet.training import learner, train  # noqa: PLC0415
    from adnet.training.config import TrainConfig  # noqa: PLC0415
    from adnet.training.world import World  # noqa: PLC0415

    class Emulated(learner.Learner):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            saturate_half(self.network)

    config = TrainConfig(
        **_common(images, steps, seed), precision="fp16", warmup_steps=steps // 20, log_every=1,
        val_every=steps,
    )  # fmt: skip
    with (
        patch.object(train, "Learner", Emulated),
        patch.object(learner, "autocast", lambda *_: contextlib.nullcontext()),
    ):
        train.train(config, run, World(torch.device("cpu")))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps_of = [line for line in lines if "loss" in line]
    skipped = steps_of[-1]["skipped"]
    return {
        "losses": [line["loss"] for line in steps_of],
        "largest": 0.0,
        "saturated": skipped,
        "skipped": skipped,
        "rollbacks": sum("rollback" in line for line in lines),
    }


def _common(images: Path, steps: int, seed: int) -> dict[str, Any]:
    return {
        "data": (str(images),), "val_images": 1, "sigma": (SIGMA, SIGMA), "patch": PATCH,
        "batch": BATCH, "steps": steps, "seed": seed, "scales": (1.0,),
    }  # fmt: skip


def _publish_start(network: Any) -> None:
    """Start as the published code does: small random batch-norm weights, at least 0.025."""
    from torch import nn

    spread = (2 / (9 * 64)) ** 0.5
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0, spread)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -(0.5**0.5), 0.5**0.5)  # torch's default
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 0, spread)
            weight = module.weight.data
            weight.copy_(weight.sign() * weight.abs().clamp(min=0.025))


def saturate_half(network: Any) -> None:
    """Let a float32 network compute as a saturating float16 unit would, forward and backward."""
    import torch
    from torch import nn

    def rounded(tensor: torch.Tensor) -> torch.Tensor:
        # clamp before the conversion, which would give inf; nan becomes 0
        finite = tensor.nan_to_num(0.0, 65504.0, -65504.0).clamp(-65504.0, 65504.0)
        return finite.half().float()

    class Half(torch.autograd.Function):
        @staticmethod
        def forward(_ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
            return rounded(tensor)

        @staticmethod
        def backward(_ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return rounded(gradient)

    half: Any = Half.apply

    def convolve(conv: nn.Conv2d, features: torch.Tensor) -> torch.Tensor:
        bias = None if conv.bias is None else half(conv.bias)
        result: torch.Tensor = half(
            nn.functional.conv2d(
                half(features), half(conv.weight), bias, 1, conv.padding, conv.dilation
            )
        )
        return result

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.forward = partial(convolve, module)  # type: ignore[method-assign]
        elif isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _module, _inputs, result: half(result))


def _plot(runs: dict[str, list[dict[str, Any]]], output: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, panels = plt.subplots(1, len(runs), figsize=(3.4 * len(runs), 3.4), sharey=True)
    for axes, (name, group) in zip(panels, runs.items(), strict=True):
        for seed, run in enumerate(group):
            axes.semilogy(run["losses"], linewidth=0.9, label=f"seed {seed}")
        axes.axhline((SIGMA / WHITE) ** 2, color="gray", linestyle=":", linewidth=1)
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("mean squared error of a batch")
    panels[0].legend(fontsize=8)
    figure.text(0.995, 0.01, "dotted: the noise itself", ha="right", fontsize=8, color="gray")
    figure.tight_layout()
    from adnet.benchmarks.release.models_pictures import save_figure  # noqa: PLC0415

    output.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, output)


if __name__ == "__main__":
    app()
