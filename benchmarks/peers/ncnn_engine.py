"""ncnn on the CPU."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from adnet.benchmarks.peers.peer import Peer, PeerModel
from adnet.errors import BackendUnavailable
from adnet.runtime.backend import Batch


class Ncnn(Peer):
    """The model converted by pnnx, in float32; ncnn knows no batches, so images go one by one."""

    name = "ncnn"

    def __init__(self, model: PeerModel, threads: int | None) -> None:
        self._net: Any = ncnn.Net()
        settings = self._net.opt
        if threads is not None:
            settings.num_threads = threads
        settings.use_vulkan_compute = False
        settings.use_fp16_packed = settings.use_fp16_storage = False
        settings.use_fp16_arithmetic = settings.use_bf16_storage = False
        with tempfile.TemporaryDirectory() as folder:
            parameters, weights = _convert(model.path, Path(folder), model.card.channels)
            _check(self._net.load_param(str(parameters)), "loading the network")
            _check(self._net.load_model(str(weights)), "loading the weights")
        super().__init__(model, threads)

    def _infer(self, batch: Batch) -> Batch:
        return np.stack([self._denoise(image) for image in batch])

    def _denoise(self, image: Batch) -> Batch:
        extractor = self._net.create_extractor()
        # A copy, whose planes are aligned as ncnn's layers expect: NumPy's are not.
        _check(extractor.input("in0", ncnn.Mat(image).clone()), "the input")
        status, result = extractor.extract("out0")
        _check(status, "extracting the result")
        return np.array(result)

    def describe(self) -> dict[str, str]:
        """Tell threads and version."""
        return self.facts(self._net.opt.num_threads, ncnn=version("ncnn"))


def _check(status: int, what: str) -> None:
    if status != 0:
        raise BackendUnavailable(f"ncnn: {what} failed with status {status}.")


def _convert(model: Path, folder: Path, channels: int) -> tuple[Path, Path]:
    # Two shapes make height and width dynamic. pnnx writes its files beside the model. Found, not
    # imported: its package imports torch, the program does not.
    spec = find_spec("pnnx")
    program = spec and spec.origin and shutil.which("pnnx", path=str(Path(spec.origin).parent))
    if not program:
        raise BackendUnavailable("ncnn: its converter is missing. Install it: pip install pnnx.")
    copy = Path(shutil.copy(model, folder / "model.onnx"))
    shapes = [f"inputshape=[1,{channels},64,80]", f"inputshape2=[1,{channels},96,72]"]
    done = subprocess.run(
        [program, str(copy), *shapes], cwd=folder, capture_output=True, text=True, check=False
    )
    files = folder / "model.ncnn.param", folder / "model.ncnn.bin"
    if done.returncode != 0 or not all(file.is_file() for file in files):
        raise BackendUnavailable(f"ncnn: pnnx failed ({(done.stderr or done.stdout)[-200:]}).")
    return files
