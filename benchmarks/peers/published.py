"""The published PyTorch scripts' way: the network as it was trained, NCHW, eager; or compiled."""

from __future__ import annotations

from typing import Any

import torch

from adnet.benchmarks.peers.peer import Peer, PeerModel
from adnet.checkpoint import load_checkpoint
from adnet.errors import BackendUnavailable
from adnet.runtime.backend import Batch
from adnet.runtime.torch_backend import cpu_threads


class Published(Peer):
    """PyTorch eager with separate batch norms (test_Gray.py and test_Colour.py do this)."""

    name = "published-script"

    def __init__(self, model: PeerModel, threads: int | None) -> None:
        self._network: Any = load_checkpoint(model.path).network.eval()
        self._threads = threads or torch.get_num_threads()
        super().__init__(model, threads)

    def _infer(self, batch: Batch) -> Batch:
        with torch.no_grad(), cpu_threads(self._threads):
            result: Batch = self._network(torch.from_numpy(batch)).numpy()
            return result

    def describe(self) -> dict[str, str]:
        """Tell threads and version."""
        return self.facts(self._threads, torch=torch.__version__)


class Compiled(Published):
    """The same network under torch.compile with its defaults."""

    name = "torch-compile"

    def __init__(self, model: PeerModel, threads: int | None) -> None:
        super().__init__(model, threads)
        self._network = torch.compile(self._network)
        try:
            with torch.no_grad():
                self._network(torch.zeros(1, self.card.channels, 64, 80))
        except Exception as err:
            cause = " ".join(str(err).split())[:200]
            raise BackendUnavailable(f"torch.compile failed ({cause}).") from err
