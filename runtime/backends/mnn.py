"""ADNet on MNN: float32 with Winograd's transform, on a CPU."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from adnet.errors import BackendUnavailable, ModelError, UsageError
from adnet.provenance import usable_cores
from adnet.runtime.backend import Backend, Batch, RunOptions, share_cores
from adnet.runtime.backends.ort import inspect_onnx


@contextmanager
def silent_stdout() -> Iterator[None]:
    """Drop what MNN and its converter print, from C++, when they load: a pipe's data goes there."""
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output
        yield
        return
    if sys.stdout is not None:
        sys.stdout.flush()
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        with suppress(OSError, TypeError, AttributeError):  # Windows has no such handle
            ctypes.CDLL(None).fflush(None)  # what C still holds would come out later
        os.dup2(kept, 1)
        os.close(kept)


with silent_stdout():
    # The converter behind the command mnnconvert, which itself calls pip to send usage records.
    from _tools import mnnconvert
    from MNN import expr, nn


class MnnBackend(Backend):
    """Runs a float32 ONNX file that adnet-export made, converted when it is opened.

    Args:
        model: the ONNX file.
        options: device (cpu), precision (fp32), threads (of each stream; None: the cores shared
            among the streams), streams (batches in work at once).

    Raises:
        ModelError: the file is no ONNX model, not one of ours or not in float32, or MNN cannot
            convert it.
        UsageError: another precision is asked for.
        BackendUnavailable: the device is not there.
    """

    name = "mnn"

    def __init__(self, model: Path, options: RunOptions) -> None:
        options.allow(self.name, "threads", "device", "precision", "streams")
        if options.device not in (None, "cpu"):
            raise BackendUnavailable(
                f"mnn backend: device {options.device!r} is not there. Available here: cpu."
            )
        card, spec, precision = inspect_onnx(model)
        if precision != "fp32" or spec.dtype != "float32":
            raise ModelError(
                f"mnn backend: runs float32 models; {model} computes in {precision} and takes "
                f"{spec.dtype}. Give the float32 one, or use --backend onnx."
            )
        if options.precision not in (None, "fp32"):
            raise UsageError(
                f"mnn backend: computes in fp32 alone, got --precision {options.precision}. Leave "
                "the option out or choose another backend."
            )
        self.lanes = options.streams or 1
        self._threads = share_cores(self.name, self.lanes, options.threads) or usable_cores()
        self._modules: SimpleQueue[Any] = SimpleQueue()
        for module in load_modules(model, self._threads, self.lanes):
            self._modules.put(module)
        super().__init__(card, spec, "cpu")

    def _infer(self, batch: Batch) -> Batch:
        module = self._modules.get()
        try:
            return run_module(module, batch)
        finally:
            self._modules.put(module)

    def _release(self) -> None:
        self._modules = SimpleQueue()

    def describe(self) -> dict[str, str]:
        """Tell threads and version."""
        return {
            "backend": self.name,
            "device": self.device,
            "precision": "fp32",
            "input": self.spec.dtype,
            "streams": str(self.lanes),
            "threads": str(self._threads),
            "mnn": version("MNN"),
        }


def load_modules(model: Path, threads: int, count: int = 1, precision: str = "high") -> list[Any]:
    """Convert an ONNX file and load it so many times.

    Args:
        threads: of each; MNN's own number is 4 on every machine.
        precision: MNN's: `high` is float32; `low` is half precision where its build and the
            processor have it, else float32.

    Raises:
        ModelError: MNN cannot convert it.
    """
    with silent_stdout(), tempfile.TemporaryDirectory(prefix="adnet-mnn-") as folder:
        converted = Path(folder, "model.mnn")
        mnnconvert(
            ["mnnconvert", "-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(converted),
             "--bizCode", "adnet"]
        )  # fmt: skip
        if not converted.is_file() or not converted.stat().st_size:
            raise ModelError(
                f"{model}: MNN {version('MNN')} cannot convert it into {folder}. Is that disk "
                "full? TMPDIR names another; --backend onnx needs none."
            )
        settings = {"backend": "CPU", "precision": precision, "numThread": threads}
        return [
            nn.load_module_from_file(
                str(converted), ["image"], ["denoised"],
                runtime_manager=nn.create_runtime_manager((settings,)),
            )
            for _ in range(count)
        ]  # fmt: skip


def run_module(module: Any, batch: Batch) -> Batch:
    """Denoise a batch by what `load_modules` returned; one call at a time for each."""
    image = expr.const(batch, list(batch.shape), expr.NCHW)
    result = expr.convert(module.forward([image])[0], expr.NCHW)
    return np.array(result.read())  # a copy: MNN uses its buffer again
