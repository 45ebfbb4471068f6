"""Trace an ADNet to ONNX.

The exporter is pinned to the TorchScript one (`dynamo=False`), although torch 2.9 made another one
the default and calls this one deprecated. The new exporter cannot write an opset below 18 (it
converts down afterwards, which fails for some opsets), needs onnxscript, and older CANN refuses
the extra opset domains that it may add (E16005). The tests prove the written graph node by node,
so a torch release that breaks or removes the exporter is noticed; the supported range of torch
in pyproject.toml ends where that was last checked.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from adnet.errors import ExportError, UsageError
from adnet.export.choices import Dynamic
from adnet.models.card import ModelCard
from adnet.models.network import ADNet, fold_batch_norm, has_norms
from adnet.models.onnx_file import read_onnx, set_metadata
from adnet.models.onnx_network import norms_text

INPUT = "image"
OUTPUT = "denoised"
DEFAULT_OPSET = 13
"""Inside the range (9 to 13) that every CANN since 5 takes."""
OPSETS = range(9, 21)
"""What the pinned exporter writes."""

_AXES: dict[Dynamic, dict[int, str]] = {
    "none": {},
    "batch": {0: "batch"},
    "size": {2: "height", 3: "width"},
    "all": {0: "batch", 2: "height", 3: "width"},
}


@dataclass(frozen=True, slots=True)
class OnnxShape:
    """Shape of the exported input; None means dynamic."""

    batch: int | None = None
    size: tuple[int, int] | None = None
    """(height, width)"""

    @classmethod
    def choose(
        cls, batch: int | None, size: tuple[int, int] | None, dynamic: Dynamic | None
    ) -> OnnxShape:
        """Combine what was asked for; without `dynamic`, everything not given is dynamic.

        Raises:
            UsageError: numbers below 1, or a number for a dynamic axis, or none for a fixed one.
        """
        if (batch is not None and batch < 1) or (size is not None and min(size) < 1):
            raise UsageError(f"batch and size must be at least 1, got {batch} and {size}.")
        if dynamic is None:
            return cls(batch, size)
        if dynamic in ("batch", "all") and batch is not None:
            raise UsageError(f"--dynamic {dynamic} leaves the batch open, but --batch fixes it.")
        if dynamic in ("size", "all") and size is not None:
            raise UsageError(f"--dynamic {dynamic} leaves the size open, but --size fixes it.")
        if dynamic in ("none", "batch") and size is None:
            raise UsageError(f"--dynamic {dynamic} fixes the size: give it with --size H,W.")
        if dynamic in ("none", "size"):
            batch = batch or 1
        return cls(batch, size)

    @property
    def dynamic(self) -> Dynamic:
        """Which axes are dynamic, in one word."""
        if self.batch is None:
            return "all" if self.size is None else "batch"
        return "size" if self.size is None else "none"


def export_onnx(
    network: ADNet, card: ModelCard, path: Path, shape: OnnxShape, opset: int = DEFAULT_OPSET
) -> None:
    """Trace `network` with batch norms folded and write it with its card in metadata_props.

    Args:
        network: in evaluation mode.
        path: file to write; input `image`, output `denoised`, both NCHW float32.

    Raises:
        UsageError: an opset outside `OPSETS`.
        ExportError: torch could not export it.
    """
    if opset not in OPSETS:
        raise UsageError(f"opset must be {OPSETS[0]} to {OPSETS[-1]}, got {opset}.")
    height, width = shape.size or (64, 48)
    example = torch.rand(shape.batch or 2, network.channels, height, width)
    axes = _AXES[shape.dynamic]
    try:
        with warnings.catch_warnings():
            # The deprecation is known; see the module docstring.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                fold_batch_norm(network),
                (example,),
                str(path),
                dynamo=False,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: axes, OUTPUT: axes} if axes else None,
            )
    except (RuntimeError, ValueError, TypeError, torch.onnx.OnnxExporterError) as err:
        raise ExportError(f"{path}: torch {torch.__version__} could not export: {err}") from err
    model = read_onnx(path)
    norms = norms_text(network) if has_norms(network) else None
    set_metadata(model, card.to_metadata(norms=norms))
    onnx.save(model, path)
