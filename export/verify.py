"""Parity: the exported model computes what the PyTorch network computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from adnet.errors import ParityError
from adnet.export.calibration import Pair
from adnet.export.torch_to_onnx import INPUT, OnnxShape
from adnet.images.levels import from_levels, to_levels
from adnet.images.metrics import psnr
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.card import ModelCard
from adnet.models.network import ADNet

TOLERANCE = 1e-4
"""Largest allowed absolute difference, on images whose white is 1."""

TRAINED = "trained int8"
"""The kind of an int8 file made from an int8 checkpoint, which it must equal."""

LARGEST_LOSS = {"fp32": 0.001, "fp16": 0.02, "int8": 1.0, TRAINED: 0.01}
"""Loss of PSNR in dB above which a variant counts as broken, not as coarse.

Calibrated int8 scales lose 0.03 dB (gray-blind) to 0.33 dB (color-blind) on photographs.
"""

_SIZES = ((48, 64), (53, 37), (1, 7))
_BATCHES = (1, 3)


@dataclass(frozen=True, slots=True)
class ParityCase:
    """One comparison."""

    shape: tuple[int, int, int, int]
    max_abs_error: float
    delta_psnr: float
    """PSNR of the exported model minus that of the network, in dB."""


def verify_onnx(
    path: Path,
    network: ADNet,
    card: ModelCard,
    shape: OnnxShape,
    tolerance: float = TOLERANCE,
) -> list[ParityCase]:
    """Run both on rendered images with noise, at every batch and size that `shape` allows.

    Args:
        network: the original, batch norms not folded, in evaluation mode.
        tolerance: largest allowed absolute difference.

    Returns:
        All comparisons.

    Raises:
        ParityError: a difference above the tolerance, or values that are not finite.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    low, high = card.noise_range()
    batches = _BATCHES if shape.batch is None else (shape.batch,)
    sizes = _SIZES if shape.size is None else (shape.size,)
    cases = []
    for batch in batches:
        for height, width in sizes:
            clean = _clean_batch(batch, network.channels, height, width)
            noisy = add_published_noise(clean, (low + high) / 2)
            with torch.inference_mode():
                expected = network(torch.from_numpy(noisy)).numpy()
            (got,) = session.run(None, {INPUT: noisy})
            error = float(np.max(np.abs(got - expected)))
            delta = psnr(clean, np.clip(got, 0, 1)) - psnr(clean, np.clip(expected, 0, 1))
            case = ParityCase((batch, network.channels, height, width), error, delta)
            if not error <= tolerance:  # also catches nan
                raise ParityError(
                    f"the exported model differs from PyTorch by {error:.3g} at shape "
                    f"{case.shape} (tolerance {tolerance:g}, PSNR {delta:+.4f} dB). No file was "
                    "written."
                )
            cases.append(case)
    return cases


def verify_variant(path: Path, network: ADNet, pairs: Sequence[Pair], precision: str) -> ParityCase:
    """Compare a variant (float16, int8, 8-bit input) with the network, image by image.

    Args:
        pairs: clean and noisy images that the variant was not calibrated with.
        precision: fp32, fp16, int8 or `TRAINED`; chooses the loss of PSNR that is still taken for
            a success.

    Returns:
        The largest error and the mean loss over all images.

    Raises:
        ParityError: the loss is too large, or a value is not finite.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    kind = image.type
    errors, losses = [], []
    for pair in pairs:
        clean, noisy = (_fit(one, image.shape) for one in pair)
        given: NDArray[Any] = noisy
        seen = noisy
        if kind == "tensor(uint8)":
            given = to_levels(noisy)
            seen = from_levels(given)
        elif kind == "tensor(float16)":
            given = noisy.astype(np.float16)
        (raw,) = session.run(None, {INPUT: given})
        got = from_levels(raw) if raw.dtype == np.uint8 else raw.astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(seen)).numpy()
        if raw.dtype == np.uint8:
            expected = from_levels(to_levels(expected))
        errors.append(float(np.abs(got - expected).max()))
        losses.append(psnr(clean, np.clip(got, 0, 1)) - psnr(clean, np.clip(expected, 0, 1)))
    case = ParityCase(noisy.shape, max(errors), float(np.mean(losses)))
    if not (case.delta_psnr >= -LARGEST_LOSS[precision] and np.isfinite(case.max_abs_error)):
        raise ParityError(
            f"the {precision} model loses {-case.delta_psnr:.3f} dB against PyTorch, allowed are "
            f"{LARGEST_LOSS[precision]} dB (largest error {case.max_abs_error:.3g}). No file was "
            "written. Export with --precision fp32."
        )
    return case


def _fit(batch: NDArray[np.float32], shape: Sequence[int | str | None]) -> NDArray[np.float32]:
    """Cut or repeat a batch to the axes of `shape` that are numbers: those of a fixed model."""
    for axis, size in enumerate(shape):
        if isinstance(size, int):
            batch = np.take(batch, np.arange(size) % batch.shape[axis], axis)
    return batch


def _clean_batch(batch: int, channels: int, height: int, width: int) -> NDArray[np.float32]:
    images = [np.atleast_3d(render(height, width, channels, seed)) for seed in range(batch)]
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
