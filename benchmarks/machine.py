"""The machine's roofs: what its cores reach in float32, and its memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np

from adnet.benchmarks.results import CandidateRecord, Machine
from adnet.models.architecture import CONVOLUTIONS, FEATURES, flops

_MATRIX = 1536
"""Side of the matrices whose product measures the arithmetic."""

_COPIED = 256 * 2**20
"""Bytes of the array whose copy measures the memory: more than the caches that a core can use."""

MARK = "machine: "
"""What the names of these actions begin with."""


def roof_actions() -> dict[str, Callable[[], object]]:
    """Return what to time beside the models: matrix products and copies in float32.

    By NumPy (whose copy uses one core) and, where installed, PyTorch; the fastest counts.
    """
    matrix = np.random.default_rng(0).random((_MATRIX, _MATRIX), np.float32)
    source = np.ones(_COPIED // 4, np.float32)
    target = np.zeros_like(source)
    actions: dict[str, Callable[[], object]] = {
        f"{MARK}product, numpy": lambda: matrix @ matrix,
        f"{MARK}copy, numpy": lambda: np.copyto(target, source),
    }
    with suppress(ImportError, RuntimeError):  # RuntimeError: torch-npu without CANN
        import torch

        tensor = torch.from_numpy(matrix)
        one, other = torch.from_numpy(source), torch.from_numpy(target)
        actions[f"{MARK}product, torch"] = lambda: tensor @ tensor
        actions[f"{MARK}copy, torch"] = lambda: other.copy_(one)
    return actions


def roofs(seconds: Mapping[str, Sequence[float]]) -> Machine | None:
    """Turn the times of `roof_actions`, which may have others beside them, into the roofs.

    Returns:
        None before the first round.
    """

    def fastest(kind: str) -> float | None:
        times = [t for name, each in seconds.items() if name.startswith(MARK + kind) for t in each]
        return min(times, default=None)

    product, copy = fastest("product"), fastest("copy")
    if product is None or copy is None:
        return None
    return Machine(
        gflop_per_s=2 * _MATRIX**3 / product / 1e9, copy_gb_per_s=2 * _COPIED / copy / 1e9
    )


def is_under_roof(candidate: CandidateRecord, threads: int | None) -> bool:
    """Tell whether the roofs hold for a candidate: float32, on all cores of the CPU.

    Args:
        threads: as asked for.
    """
    return candidate.device == "cpu" and candidate.precision == "fp32" and threads is None


def flop_per_byte(channels: int) -> float:
    """Arithmetic intensity of ADNet run layer by layer: float32 activations read and written once.

    Weights (2 MB) stay in the cache. Fusing layers only raises it.
    """
    hidden = 2 * FEATURES * (CONVOLUTIONS - 3)  # in and out of conv1_2 .. conv1_15
    ends = 2 * (channels + FEATURES)  # conv1_1, conv1_16
    attention = 4 * channels  # image, noise and attention read, result written
    return flops(1, 1, channels) / (4 * (hidden + ends + attention))
