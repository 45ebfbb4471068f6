"""OpenVINO on the CPU: in float32, in bfloat16, and in int8 as its own quantiser makes it."""

from __future__ import annotations

import dataclasses
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from adnet.benchmarks.peers.peer import Peer, PeerModel
from adnet.errors import BackendUnavailable
from adnet.export.calibration import load_pairs
from adnet.runtime.backend import Batch
from adnet.runtime.backends.ov import openvino_core


class OpenVino(Peer):
    """One request at a time, float32 (its own choice would be bfloat16 where the CPU has it)."""

    name = "openvino-fp32"
    hint = "f32"

    def __init__(self, model: PeerModel, threads: int | None) -> None:
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self.hint,
        }  # fmt: skip
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        compiled = openvino_core().compile_model(str(model.path), "CPU", settings)
        self._used = compiled.get_property("INFERENCE_NUM_THREADS")
        self._request = compiled.create_infer_request()
        super().__init__(model, threads)

    def _infer(self, batch: Batch) -> Batch:
        (result,) = self._request.infer({0: batch}).values()
        return np.array(result)  # the request reuses its buffer

    def describe(self) -> dict[str, str]:
        """Tell threads and version."""
        return self.facts(self._used, openvino=openvino.__version__)


class OpenVinoBf16(OpenVino):
    """The same, as OpenVINO itself would run it on a CPU that has bfloat16."""

    name = "openvino-bf16"
    hint = precision = "bf16"

    def __init__(self, model: PeerModel, threads: int | None) -> None:
        if "BF16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise BackendUnavailable(f"{self.name}: this CPU does not compute in bfloat16.")
        super().__init__(model, threads)


class OpenVinoInt8(OpenVino):
    """Quantised after training by NNCF, calibrated with rendered images.

    By default NNCF quantises the attention as well, and the result then is the noisy image. What
    it loses least with is given here: the first and the last convolution, and what comes after the
    features, stay in float.
    """

    name = "openvino-nncf-int8"
    precision = "int8"

    @classmethod
    def prepare(cls, model: PeerModel, folder: Path) -> PeerModel:
        """Quantise; that is no part of loading."""
        # Below, as telemetry and its log lines are set up when it is imported.
        import nncf  # noqa: PLC0415

        nncf.set_log_level(logging.ERROR)  # it writes to our standard output
        network = openvino_core().read_model(str(model.path))
        convolutions = [
            one.get_friendly_name()
            for one in network.get_ordered_ops()
            if one.get_type_name() == "Convolution"
        ]
        calibrating, _ = load_pairs(model.card, None)
        quantised = nncf.quantize(
            network,
            nncf.Dataset([noisy for _, noisy in calibrating]),
            subset_size=len(calibrating),
            ignored_scope=nncf.IgnoredScope(
                names=[convolutions[0], convolutions[-1]], types=["Tanh", "Multiply", "Concat"]
            ),
        )
        path = folder / "int8.xml"
        openvino.save_model(quantised, str(path), compress_to_fp16=False)
        return dataclasses.replace(model, path=path)

    def describe(self) -> dict[str, str]:
        """Tell threads and versions."""
        return super().describe() | {"nncf": version("nncf")}
