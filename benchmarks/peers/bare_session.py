"""A bare ONNX Runtime session, as in its own examples."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
from adnet.benchmarks.peers.peer import Peer, card_of
from adnet.runtime.backend import Batch, RunOptions


class BareSession(Peer):
    """InferenceSession with default options, or a number of threads where one is asked for."""

    name = "bare onnxruntime"

    def __init__(self, model: Path, options: RunOptions) -> None:
        super().__init__(card_of(model), options)
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads or 0
        providers = ["CPUExecutionProvider"]
        self._session = ort.InferenceSession(str(model), settings, providers=providers)

    def _infer(self, batch: Batch) -> Batch:
        result: Batch = self._session.run(None, {"image": batch})[0]
        return result

    def describe(self) -> dict[str, str]:
        """Tell threads and version."""
        return self.facts(onnxruntime=ort.__version__)
