"""OpenVINO on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino

from adnet.benchmarks.peers.peer import Peer, PeerModel
from adnet.runtime.backend import Batch


class OpenVino(Peer):
    """One request at a time, float32 (its own choice would be bfloat16 where the CPU has it)."""

    name = "openvino"

    def __init__(self, model: PeerModel, threads: int | None) -> None:
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
        }  # fmt: skip
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        compiled = openvino.Core().compile_model(str(model.path), "CPU", settings)
        self._used = compiled.get_property("INFERENCE_NUM_THREADS")
        self._request = compiled.create_infer_request()
        super().__init__(model, threads)

    def _infer(self, batch: Batch) -> Batch:
        (result,) = self._request.infer({0: batch}).values()
        return np.array(result)  # the request reuses its buffer

    def describe(self) -> dict[str, str]:
        """Tell threads and version."""
        return self.facts(self._used, openvino=openvino.__version__)
