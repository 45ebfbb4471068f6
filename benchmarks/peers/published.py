"""The published PyTorch scripts' way: the network as it was trained, NCHW, eager; or compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from adnet.benchmarks.peers.peer import Peer
from adnet.runtime.backend import Batch, RunOptions

from adnet.checkpoint import load_checkpoint
from adnet.errors import BackendUnavailable


class Published(Peer):
    """PyTorch eager with separate batch norms (test_Gray.py and test_Colour.py do this)."""

    name = "published script"

    def __init__(self, model: Path, options: RunOptions) -> None:
        loaded = load_checkpoint(model)
        self._network: Any = loaded.network.eval()
        super().__init__(loaded.card, options)
        torch.set_num_threads(self.threads)

    def _infer(self, batch: Batch) -> Batch:
        with torch.no_grad():
            result: Batch = self._network(torch.from_numpy(batch)).numpy()
            return result

    def describe(self) -> dict[str, str]:
        """Tell threads and version."""
        return self.facts(torch=torch.__version__)


class Compiled(Published):
    """The same network under torch.compile with its defaults."""

    name = "torch.compile"

    def __init__(self, model: Path, options: RunOptions) -> None:
        super().__init__(model, options)
        self._network = torch.compile(self._network)
        try:
            with torch.no_grad():
                self._network(torch.zeros(1, self.card.channels, 64, 80))
        except Exception as err:
            cause = " ".join(str(err).split())[:200]
            raise BackendUnavailable(f"torch.compile failed ({cause}).") from err
