"""MNN on the CPU, as its own users call it."""

from __future__ import annotations

from importlib.metadata import version

from adnet.benchmarks.peers.peer import Peer, PeerModel
from adnet.provenance import usable_cores
from adnet.runtime.backend import Batch
from adnet.runtime.backends.mnn import load_modules, run_module


class Mnn(Peer):
    """Precision `high`: float32. One thread per core; MNN's own number is 4 on every machine."""

    name = "mnn-fp32"
    setting = "high"

    def __init__(self, model: PeerModel, threads: int | None) -> None:
        self._used = threads or usable_cores()
        (self._module,) = load_modules(model.path, self._used, precision=self.setting)
        super().__init__(model, threads)

    def _infer(self, batch: Batch) -> Batch:
        return run_module(self._module, batch)

    def describe(self) -> dict[str, str]:
        """Tell threads and version."""
        return self.facts(self._used, mnn=version("MNN"))


class MnnLow(Mnn):
    """MNN's precision `low`: half precision where its build and the CPU have it, else float32.

    Its int8 is not measured: mnnquant of the wheel (3.6.1) aborts on this model, dynamic sizes or
    not, and 8-bit weights alone (mnnconvert --weightQuantBits 8) lose 0.06 dB and gain no time.
    """

    name = "mnn-low"
    setting = precision = "low"
