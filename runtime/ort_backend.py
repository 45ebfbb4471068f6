"""ADNet on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
from adnet.runtime.backend import Backend, Batch, InputSpec, RunOptions

from adnet.card import METADATA_KEY, ModelCard
from adnet.errors import BackendUnavailable, ModelError


class OrtBackend(Backend):
    """Runs an ONNX file that adnet-export made, on the CPU.

    Args:
        model: the ONNX file.
        options: threads (intra-op; None: one per physical core); the device can only be `cpu`.

    Raises:
        ModelError: the file is no ONNX model, or not one of ours.
        BackendUnavailable: another device than the CPU is asked for.
    """

    name = "onnx"

    def __init__(self, model: Path, options: RunOptions) -> None:
        options.allow(self.name, "threads", "device")
        if options.device not in (None, "cpu"):
            raise BackendUnavailable(
                f"onnx backend: device {options.device!r} is not available; there is: cpu."
            )
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads or 0
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        try:
            session = ort.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
        except Exception as err:  # onnxruntime's exception classes share no public base
            first_line = str(err).strip().splitlines()[0]
            raise ModelError(
                f"{model}: ONNX Runtime cannot load it ({first_line}). "
                "Is it an ONNX file? adnet-export makes one from a checkpoint."
            ) from err
        card, spec = _check_is_adnet(session, model)
        self._session: ort.InferenceSession | None = session
        self._input = session.get_inputs()[0].name
        super().__init__(card, spec, "cpu")

    def _infer(self, batch: Batch) -> Batch:
        assert self._session is not None  # infer() refuses after close()
        (result,) = self._session.run(None, {self._input: batch})
        return np.asarray(result, np.float32)

    def _release(self) -> None:
        self._session = None

    def describe(self) -> dict[str, str]:
        """Tell the provider and versions."""
        return {
            "backend": self.name,
            "device": self.device,
            "provider": "CPUExecutionProvider",
            "precision": "fp32",
            "onnxruntime": ort.__version__,
        }


def _check_is_adnet(session: ort.InferenceSession, model: Path) -> tuple[ModelCard, InputSpec]:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    card_text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if card_text is None:
        found = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in inputs)
        raise ModelError(
            f"{model}: an ONNX model, but not made by adnet-export: it has no model card "
            f"(its inputs: {found}). Export the checkpoint with 'adnet-export onnx'."
        )
    card = ModelCard.from_json(card_text, str(model))
    shape = inputs[0].shape
    if (
        len(inputs) != 1
        or len(outputs) != 1
        or inputs[0].type != "tensor(float)"
        or len(shape) != 4
        or shape[1] != card.channels
    ):
        found = ", ".join(f"{tensor.name} {tensor.type} {tensor.shape}" for tensor in inputs)
        raise ModelError(
            f"{model}: expected one float input (N, {card.channels}, H, W), got {found}. "
            "Export the checkpoint again with 'adnet-export onnx'."
        )
    return card, _spec(card.channels, shape)


def _spec(channels: Literal[1, 3], shape: list[int | str | None]) -> InputSpec:
    count, height, width = (dim if isinstance(dim, int) else None for dim in shape[:1] + shape[2:])
    return InputSpec(channels, ((count, height, width),))
