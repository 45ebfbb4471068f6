"""A bare ONNX Runtime session, as in its own examples."""

from __future__ import annotations

import onnxruntime as ort

from adnet.benchmarks.peers.peer import Peer, PeerModel
from adnet.runtime.backend import Batch


class BareSession(Peer):
    """InferenceSession with default options, or a number of threads where one is asked for."""

    name = "bare-onnxruntime"

    def __init__(self, model: PeerModel, threads: int | None) -> None:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads or 0
        self._session = ort.InferenceSession(
            str(model.path), settings, providers=["CPUExecutionProvider"]
        )
        super().__init__(model, threads)

    def _infer(self, batch: Batch) -> Batch:
        result: Batch = self._session.run(None, {"image": batch})[0]
        return result

    def describe(self) -> dict[str, str]:
        """Tell threads and version."""
        return self.facts(self.threads or "one per core", onnxruntime=ort.__version__)
