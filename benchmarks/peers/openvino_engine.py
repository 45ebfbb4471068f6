"""OpenVINO on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
from adnet.benchmarks.peers.peer import Peer, card_of
from adnet.runtime.backend import Batch, RunOptions


class OpenVino(Peer):
    """One request at a time, float32 (its own choice would be bfloat16 where the CPU has it)."""

    name = "openvino"

    def __init__(self, model: Path, options: RunOptions) -> None:
        super().__init__(card_of(model), options)
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self.threads,
        }
        compiled = openvino.Core().compile_model(str(model), "CPU", settings)
        self._request = compiled.create_infer_request()

    def _infer(self, batch: Batch) -> Batch:
        (result,) = self._request.infer({0: batch}).values()
        return np.array(result)  # the request reuses its buffer

    def describe(self) -> dict[str, str]:
        """Tell threads and version."""
        return self.facts(openvino=openvino.__version__)
