"""Static int8 quantisation for Ascend's AMCT: some convolutions and ReLUs in 8 bits.

ONNX files for other runtimes are made by `qdq.py`. Chosen by measurement on held-out training
images (published sigma-25 weights, ONNX Runtime on two cores with AVX-512 VNNI; loss of PSNR and
speed relative to float32):

    all layers, min-max                                   -0.082 dB  3.1x
    the same, weights in 7 bits                           -0.127 dB  3.0x
    all but conv1_1 .. conv1_4, min-max                   -0.048 dB  2.0x
    the same, 99.999th percentile                         -0.044 dB  2.2x
    the same without conv1_16 and conv3, too              -0.040 dB  2.1x
    the same, weights in 7 bits                           -0.067 dB  1.9x
    all but conv1_1 .. conv1_7, 16 and conv3, 7 bits      -0.045 dB  2.1x   <- this one
    one more layer in float                               -0.028 dB  1.4x

The first layers matter most: their errors pass through all the others. Weights have 7 bits because
x86 processors without VNNI add two products in 16 bits, which 8-bit weights can overflow: the
result would be another, and worse, on those. Weights are quantised per channel.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from adnet.errors import ExportError
from adnet.models.card import ModelCard
from adnet.models.onnx_file import metadata_of, read_onnx, set_metadata

FLOAT_LAYERS = (1, 2, 3, 4, 5, 6, 7, 16, 17)
"""Convolutions that stay in float32, counted from 1 in the order of the network (17 is conv3)."""

PERCENTILE = 99.999
"""Share of the activations, in percent, that the 8-bit range covers."""

_LEAST_OPSET = 13  # per-channel QuantizeLinear


def quantize_onnx(
    source: Path,
    target: Path,
    calibration: Sequence[NDArray[np.float32]],
) -> None:
    """Quantise a float32 ADNet into another file.

    Weights stay in float32 behind a QuantizeLinear and DequantizeLinear, and biases in float32, as
    AMCT wants it.

    Args:
        calibration: noisy batches (N, C, H, W) like those that the model will see.

    Raises:
        ExportError: the opset is too old, or ONNX Runtime could not quantise the model.
    """
    # onnxruntime.quantization imports onnx and logs through the root logger
    from onnxruntime.quantization import (  # noqa: PLC0415
        CalibrationMethod,
        QuantFormat,
        quantize_static,
    )

    model = read_onnx(source)
    opset = model.opset_import[0].version
    if opset < _LEAST_OPSET:
        raise ExportError(f"int8 needs opset {_LEAST_OPSET} or newer, this model has {opset}.")
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    try:
        with _quiet():
            quantize_static(
                str(source),
                str(target),
                _Reader(model.graph.input[0].name, calibration),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=False,  # only x86 processors want 7 bits
                op_types_to_quantize=["Conv", "Relu"],
                nodes_to_exclude=[convolutions[index - 1] for index in FLOAT_LAYERS],
                calibrate_method=CalibrationMethod.Percentile,
                # One image at a time: all activations of all of them would take gigabytes.
                extra_options={
                    "CalibPercentile": PERCENTILE,
                    "CalibStridedMinMax": 1,
                    "AddQDQPairToWeight": True,
                    "QuantizeBias": False,
                },
            )
    except (RuntimeError, ValueError) as err:
        raise ExportError(f"ONNX Runtime could not quantise the model: {err}") from err
    quantized = read_onnx(target)
    # The quantiser adds a domain for operators of its own, which QDQ does not use.
    kept = [entry for entry in quantized.opset_import if entry.domain in ("", "ai.onnx")]
    del quantized.opset_import[:]
    quantized.opset_import.extend(kept)
    card = ModelCard.from_metadata(metadata_of(model), str(source))
    set_metadata(quantized, card.to_metadata(precision="int8"))
    onnx.save(quantized, str(target))


class _Reader:
    """Hands the calibration batches to the quantiser, in ranges as it asks for them."""

    def __init__(self, name: str, batches: Sequence[NDArray[np.float32]]) -> None:
        self._feeds = [{name: batch} for batch in batches]
        self._next = iter(self._feeds)

    def __len__(self) -> int:
        return len(self._feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._next = iter(self._feeds[start_index:end_index])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._next, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's progress off the caller's stdout, and its hints off the log."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logger.setLevel(level)
