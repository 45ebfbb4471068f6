"""The published PyTorch scripts' way: the network as it was trained, NCHW, eager; or compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from adnet.benchmarks.peers.peer import Peer, PeerModel
from adnet.errors import BackendUnavailable
from adnet.models.checkpoint import load_checkpoint
from adnet.runtime.backend import Batch
from adnet.runtime.backends.pytorch import cpu_threads


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
        self._prepare_network()
        self._network = torch.compile(self._network)
        try:
            self._infer(np.zeros((1, self.card.channels, 64, 80), np.float32))
        except Exception as err:
            cause = " ".join(str(err).split())[:200]
            raise BackendUnavailable(f"torch.compile failed ({cause}).") from err

    def _prepare_network(self) -> None:
        """Do what must be done before compiling."""


class CompiledBf16(Compiled):
    """Compiled in bfloat16 and channels_last, as PyTorch's guide for CPUs has it."""

    name = "torch-compile-bf16"
    precision = "bf16"

    def _prepare_network(self) -> None:
        self._network.to(memory_format=torch.channels_last)

    def _infer(self, batch: Batch) -> Batch:
        image = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), cpu_threads(self._threads), torch.autocast("cpu", torch.bfloat16):
            result: Batch = self._network(image).float().contiguous().numpy()
            return result
