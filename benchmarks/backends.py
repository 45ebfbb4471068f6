"""Every way to run one checkpoint, side by side: speed, PSNR, parity with PyTorch.

    python -m adnet.benchmarks.backends CHECKPOINT PATH/BSD68 [--om FILE.om] [--calibrate PHOTOS]

The checkpoint is exported to each variant first. Speed: one noisy 321x481 image at a time through
`Backend.infer`, as adnet-run calls it, in interleaved rounds; the ratio is to the published way
(PyTorch eager, batch norms not folded). Quality: PSNR under the published noise protocol, and the
largest difference to PyTorch over all images. An OM takes part where pyACL is; its time is left
out when pyACL is the tests' simulator.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from adnet.benchmarks.subject import is_simulated
from adnet.benchmarks.timing import interleave, ratio
from adnet.runtime.denoiser import Denoiser
from numpy.typing import NDArray

from adnet._cli import make_app, reports_errors
from adnet.image import load_folder
from adnet.metrics import psnr
from adnet.noise import add_published_noise

Float32 = NDArray[np.float32]
DenoiseFunction = Callable[[Float32], Float32]

app = make_app("Compare the backends on one checkpoint.")


@dataclass(frozen=True, slots=True)
class Row:
    """One way to run the model."""

    name: str
    denoise: DenoiseFunction
    is_timed: bool = True


@app.command()
@reports_errors
def main(
    checkpoint: Annotated[Path, typer.Argument(help="Gray checkpoint.")],
    data: Annotated[Path, typer.Argument(help="Folder of clean images, e.g. BSD68.")],
    sigma: Annotated[float, typer.Option(help="Noise level, 0 to 255.")] = 25.0,
    rounds: Annotated[int, typer.Option(help="Rounds of timing.")] = 15,
    images: Annotated[int | None, typer.Option(help="Measure quality on so many images.")] = None,
    calibrate: Annotated[Path | None, typer.Option(help="Photographs to calibrate int8.")] = None,
    om: Annotated[Path | None, typer.Option(help="The same model as OM, to compare too.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
) -> None:
    """Compare the backends on one checkpoint."""
    import torch
    from adnet.export.pipeline import Variant, checkpoint_to_onnx  # noqa: PLC0415
    from adnet.export.torch_to_onnx import OnnxShape  # noqa: PLC0415

    torch.set_num_threads(threads or torch.get_num_threads())
    clean = [image / np.float32(255) for image in load_folder(data, 1).values()][:images]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        variants = {
            "fp32": Variant(),
            "fp16": Variant("fp16"),
            "int8": Variant("int8", calibration=calibrate),
        }
        files = {}
        for name, variant in variants.items():
            files[name] = Path(folder, f"{name}.onnx")
            checkpoint_to_onnx(checkpoint, files[name], OnnxShape(), variant=variant)

        def ours(name: str, model: Path, **options: object) -> Row:
            denoiser = stack.enter_context(Denoiser(model, **options))  # type: ignore[arg-type]
            return Row(name, denoiser)

        rows = [
            Row("PyTorch eager, as published", _eager(checkpoint)),
            ours("torch", checkpoint, backend="torch", device="cpu"),
            ours("torch, compiled", checkpoint, backend="torch", device="cpu", compile=True),
            Row("bare ONNX Runtime session", _bare(files["fp32"], threads)),
            *(ours(f"onnx {name}", file, threads=threads) for name, file in files.items()),
        ]
        if om is not None:
            denoiser = stack.enter_context(Denoiser(om))
            simulated = is_simulated(denoiser.describe()[0])
            rows.append(
                Row("om, simulated" if simulated else "om", denoiser, is_timed=not simulated)
            )
        _report(rows, clean, sigma, rounds)


def _report(rows: list[Row], clean: list[Float32], sigma: float, rounds: int) -> None:
    noisy_images = [add_published_noise(image, sigma) for image in clean]
    noisy = next(image for image in noisy_images if image.shape[0] <= image.shape[1])
    timed = [row for row in rows if row.is_timed]
    seconds = interleave(
        {row.name: lambda row=row: row.denoise(noisy) for row in timed},  # type: ignore[misc]
        rounds=rounds,
    )
    height, width = noisy.shape
    typer.echo(f"| | images/s, {height}x{width} | times as fast (95 %) | PSNR | delta | largest "
               "difference |\n| --- | --- | --- | --- | --- | --- |")  # fmt: skip
    reference = rows[0]
    expected = [reference.denoise(image) for image in noisy_images]
    base = _mean_psnr(clean, expected)
    for row in rows:
        got = expected if row is reference else [row.denoise(image) for image in noisy_images]
        quality = _mean_psnr(clean, got)
        largest = max(np.abs(one - other).max() for one, other in zip(got, expected, strict=True))
        rate, times = "-", "-"
        if row.is_timed:
            rate = f"{1 / np.median(seconds[row.name]):.2f}"
            times = str(ratio(seconds[reference.name], seconds[row.name]))
        typer.echo(
            f"| {row.name} | {rate} | {times} | {quality:.4f} | {quality - base:+.4f} | "
            f"{largest:.1e} |"
        )


def _mean_psnr(clean: list[Float32], denoised: list[Float32]) -> float:
    pairs = zip(clean, denoised, strict=True)
    return float(np.mean([psnr(one, np.clip(other, 0, 1)) for one, other in pairs]))


def _eager(checkpoint: Path) -> DenoiseFunction:
    """The way of the published script: the network as it was trained, NCHW, eager."""
    import torch

    from adnet.checkpoint import load_checkpoint  # noqa: PLC0415  (imports torch)

    network = load_checkpoint(checkpoint).network

    def denoise(noisy: Float32) -> Float32:
        with torch.no_grad():
            result: Float32 = network(torch.from_numpy(noisy)[None, None])[0, 0].numpy()
            return result

    return denoise


def _bare(model: Path, threads: int | None) -> DenoiseFunction:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def denoise(noisy: Float32) -> Float32:
        result: Float32 = session.run(None, {"image": noisy[None, None]})[0][0, 0]
        return result

    return denoise


if __name__ == "__main__":
    app()
