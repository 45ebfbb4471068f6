"""MNN on the CPU."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

# The converter behind the command mnnconvert, which itself would call pip to send usage records.
from _tools import mnnconvert
from MNN import expr, nn

from adnet.benchmarks.peers.peer import Peer, PeerModel
from adnet.errors import BackendUnavailable
from adnet.provenance import usable_cores
from adnet.runtime.backend import Batch


class Mnn(Peer):
    """The converted model through MNN's module interface, precision `high` (float32).

    MNN's own number of threads is 4 on every machine, so it gets one per core.
    """

    name = "mnn"
    setting = "high"

    def __init__(self, model: PeerModel, threads: int | None) -> None:
        self._used = threads or usable_cores()
        with _stdout_to_stderr():
            self._module = self._load(model.path)
        super().__init__(model, threads)

    def _load(self, model: Path) -> Any:
        settings = {"backend": "CPU", "precision": self.setting, "numThread": self._used}
        runtime = nn.create_runtime_manager((settings,))
        with tempfile.TemporaryDirectory() as folder:
            converted = Path(folder, "model.mnn")
            mnnconvert(
                ["mnnconvert", "-f", "ONNX", "--modelFile", str(model), "--MNNModel",
                 str(converted), "--bizCode", "adnet"]
            )  # fmt: skip
            if not converted.is_file():
                raise BackendUnavailable("mnn: its converter made no file of the ONNX model.")
            return nn.load_module_from_file(
                str(converted), ["image"], ["denoised"], runtime_manager=runtime
            )

    def _infer(self, batch: Batch) -> Batch:
        image = expr.const(batch, list(batch.shape), expr.NCHW)
        result = expr.convert(self._module.forward([image])[0], expr.NCHW)
        return np.array(result.read())

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


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Keep what MNN and its converter print, from C++, out of our own output."""

    def flush() -> None:
        sys.stdout.flush()
        with suppress(OSError, TypeError, AttributeError):  # Windows has no such handle
            ctypes.CDLL(None).fflush(None)

    flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        flush()
        os.dup2(kept, 1)
        os.close(kept)
