"""Training an int8 network by our own code, by torchao and by NNCF: what each loses, and its file.

    python -m adnet.benchmarks.studies.int8_training PATH/BSD432 --way ours [--steps 400]
    python -m adnet.benchmarks.studies.int8_training PATH/BSD432 --way torchao  # and onnxscript
    python -m adnet.benchmarks.studies.int8_training PATH/BSD432 --way nncf
    python -m adnet.benchmarks.studies.int8_training PATH/BSD432 --way float    # the control

Every way gets the same patches, targets (the clean image and the float network), optimiser and
8-bit weights, and leaves the first and the last layer and the attention in float where it can be
told to. Losses are those of `gray-25` at sigma 25 on crops of 200x200 of images that are held out.
Threads: those of OMP_NUM_THREADS.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
import onnxruntime
import torch
import typer
from torch import Tensor, nn

from adnet._cli import make_app, reports_errors
from adnet.images.levels import from_levels
from adnet.images.metrics import psnr
from adnet.images.noise import add_published_noise
from adnet.models.checkpoint import load_checkpoint
from adnet.models.network import ADNet, fold_batch_norm
from adnet.models.shipped import resolve_model
from adnet.training.allocator import keep_freed_memory
from adnet.training.data import TrainingData, load_training_data, make_batch
from adnet.training.quantization import parameter_groups, quantized_from
from adnet.training.recipes import make_config
from adnet.training.world import World

app = make_app("Compare ways to train an int8 network.")

_WARMUP = 20
_SIDE = 200
_CALIBRATION = 4
"""Batches that a way may look at before training."""

Networks = tuple[nn.Module, list[dict[str, Any]], Callable[[], nn.Module]]
"""What learns, its groups of parameters (`times`: factor on the rate), and what makes the result
of it."""


@app.command()
@reports_errors
def main(
    data: Annotated[Path, typer.Argument(help="Folder of images.")],
    way: Annotated[Literal["ours", "torchao", "nncf", "float"], typer.Option(help="Whose.")],
    steps: Annotated[int, typer.Option(help="Steps of training.")] = 400,
    out: Annotated[Path, typer.Option(help="ONNX file to write.")] = Path("int8.onnx"),
    bf16: Annotated[bool, typer.Option("--bf16", help="Autocast; torchao refuses it.")] = False,
) -> None:
    """Train one way; print its loss before and after, CPU seconds a step, and its file."""
    warnings.filterwarnings("ignore")
    keep_freed_memory()
    world = World(torch.device("cpu"))
    config = make_config(
        [data], sigma=(25.0, 25.0), patch=48, batch=8, val_images=12, steps=steps, seed=5
    )
    loaded = load_training_data(config, world.device)
    teacher = fold_batch_norm(load_checkpoint(resolve_model("gray-25")).network).eval()

    def batch(step: int) -> tuple[Tensor, Tensor]:
        noisy, clean = make_batch(config, loaded, world, step)
        return noisy.contiguous(memory_format=torch.channels_last), clean

    samples = [batch(10_000 + step)[0] for step in range(_CALIBRATION)]
    exact = score(teacher, loaded)
    network, groups, result = {
        "ours": _ours, "torchao": _torchao, "nncf": _nncf, "float": _float,
    }[way](teacher, samples)  # fmt: skip
    if way != "torchao":  # which has no whole network before it has learned its scales
        typer.echo(f"{way}: before training {np.mean(score(network, loaded) - exact):+.3f} dB")
    seconds = train(network, groups, teacher, batch, steps, bf16=bf16)
    done = result()
    lost = score(network, loaded) - exact
    typer.echo(
        f"{way}: after {steps} steps {lost.mean():+.3f} dB, worst image {lost.min():+.3f}; "
        f"{seconds / steps:.2f} CPU seconds a step"
    )
    if way == "ours":
        typer.echo("its file: adnet-export onnx, see docs/export.md")
        return
    typer.echo(export(done, samples[0], out))


def score(network: nn.Module, data: TrainingData) -> np.ndarray:
    """Return the PSNR of every held-out image in dB."""
    found = []
    with torch.inference_mode():
        for image in data.val_images:
            clean = from_levels(image.clean[:_SIDE, :_SIDE])
            noisy = torch.from_numpy(add_published_noise(clean, 25))[None, None]
            denoised = torch.cat([  # of the side that torchao's network was exported at
                torch.cat([network(tile) for tile in torch.split(rows, _SIDE, 3)], 3)
                for rows in torch.split(noisy, _SIDE, 2)
            ], 2)  # fmt: skip
            found.append(psnr(clean, np.clip(denoised[0, 0].numpy(), 0, 1)))
    return np.array(found)


def train(
    network: nn.Module,
    groups: list[dict[str, Any]],
    teacher: ADNet,
    batch: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    *,
    bf16: bool,
) -> float:
    """Train with Adam, 1e-4 at most, falling as a cosine; return CPU seconds."""
    optimizer = torch.optim.Adam(groups, lr=1e-4)
    began = time.process_time()
    for step in range(steps):
        rate = 1e-4 * min(1, (step + 1) / _WARMUP) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("times", 1.0)
        noisy, clean = batch(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            with torch.no_grad():
                wanted = teacher(noisy).float()
            found = network(noisy).float()
        mse = nn.functional.mse_loss
        loss = mse(found, clean) + mse(found, wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return time.process_time() - began


def export(network: nn.Module, sample: Tensor, out: Path) -> str:
    """Write an ONNX file for images of any size; say what it holds, or why there is none."""
    names = {"input_names": ["image"], "output_names": ["denoised"]}
    axes = {0: "n", 2: "h", 3: "w"}
    free: dict[str, Any] = {"dynamic_axes": {"image": axes, "denoised": axes}, "opset_version": 13}
    if isinstance(network, torch.fx.GraphModule):  # torchao's operators need the newer exporter
        free = {
            "dynamo": True,
            "external_data": False,
            "dynamic_shapes": (dict.fromkeys(axes, torch.export.Dim.AUTO),),
        }
    try:
        torch.onnx.export(network, (sample,), str(out), **{"dynamo": False, **names, **free})
        larger = np.ones((1, 1, 72, 72), np.float32)
        onnxruntime.InferenceSession(out).run(None, {"image": larger})
    except Exception as err:  # noqa: BLE001  (whatever torch or the way raises is the answer)
        return f"its file: fails, {type(err).__name__}: {str(err)[:200]}"
    graph = onnx.load(out).graph
    counted = Counter(node.op_type for node in graph.node)
    kinds = Counter(onnx.TensorProto.DataType.Name(one.data_type) for one in graph.initializer)
    return (
        f"its file: {out.stat().st_size / 1e6:.1f} MB, {dict(counted)}, initialisers {dict(kinds)}"
    )


def _float(teacher: ADNet, samples: Sequence[Tensor]) -> Networks:
    del samples
    network = copy.deepcopy(teacher)
    return network, [{"params": list(network.parameters())}], lambda: network


def _ours(teacher: ADNet, samples: Sequence[Tensor]) -> Networks:
    network = quantized_from(teacher, samples, 8)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, parameter_groups(network), lambda: network


def _torchao(teacher: ADNet, samples: Sequence[Tensor]) -> Networks:
    from torchao.quantization import pt2e  # noqa: PLC0415  (one way's alone)
    from torchao.quantization.pt2e import quantize_pt2e  # noqa: PLC0415  (one way's alone)
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86  # noqa: PLC0415  (one way's alone)

    sides: Any = {
        2: torch.export.Dim("h", min=8, max=2000),
        3: torch.export.Dim("w", min=8, max=2000),
    }
    sides[0] = torch.export.Dim("n", max=64)
    exported = torch.export.export(_plain(teacher), (samples[0],), dynamic_shapes=(sides,)).module()
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_qat=True))
    prepared = quantize_pt2e.prepare_qat_pt2e(exported, quantizer)
    pt2e.move_exported_model_to_train(prepared)
    for sample in samples:
        prepared(sample)

    def result() -> Any:
        pt2e.move_exported_model_to_eval(prepared)
        return pt2e.allow_exported_model_train_eval(quantize_pt2e.convert_pt2e(prepared))

    return prepared, _learning(prepared), result


def _nncf(teacher: ADNet, samples: Sequence[Tensor]) -> Networks:
    import nncf  # noqa: PLC0415  (one way's alone)

    network = nncf.quantize(
        _plain(teacher), nncf.Dataset(list(samples)), subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(
            patterns=[".*conv1_1/.*", ".*conv3.*"],
            types=["cat", "tanh", "mul", "sub", "__sub__", "__mul__"], validate=False,
        ),
    )  # fmt: skip
    return network, _learning(network), lambda: nncf.strip(network, example_input=samples[0])


def _plain(teacher: ADNet) -> ADNet:
    """Copy it with ReLUs that are not in place, which the others ask for."""
    network = copy.deepcopy(teacher)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return network


def _learning(network: nn.Module) -> list[dict[str, Any]]:
    return [{"params": [one for one in network.parameters() if one.requires_grad]}]


if __name__ == "__main__":
    app()
