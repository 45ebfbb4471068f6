"""ADNet on PyTorch: CPU, CUDA, Ascend NPU (torch_npu), MPS, XPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from adnet.cann import is_simulated
from adnet.device import (
    best_device,
    compile_backend,
    computes_in_half,
    require_precision,
    resolve_device,
    set_in_this_thread,
)
from adnet.errors import BackendUnavailable, UsageError
from adnet.models.card import ModelCard
from adnet.models.checkpoint import load_checkpoint
from adnet.models.files import kind_of_file
from adnet.models.network import ADNet, fold_batch_norm
from adnet.models.onnx_network import load_onnx_network
from adnet.runtime.backend import Backend, Batch, InputSpec, RunOptions, require_finite
from adnet.runtime.fork import forked_with_torch

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

_CUDA_LANES = 2
"""Calls at once on a GPU, each on its own stream: copies of one overlap the work of another."""


class TorchBackend(Backend):
    """Runs a checkpoint, or the weights of an ONNX file that adnet-export made.

    Batch norms are folded into the convolutions and the memory format is channels_last; not on
    NPUs, where torch_npu refuses it: they have formats of their own behind contiguous tensors.

    Args:
        model: .pth, .pt or .onnx file.
        options: device (None: the accelerator that torch finds, else the CPU), precision (fp32,
            fp16 or bf16), compile (torch.compile, one graph for all shapes), threads (CPU; one in a
            process forked from one that had loaded torch).

    Raises:
        ModelError: the file is damaged or no ADNet.
        BackendUnavailable: the device is not there, or torch.compile has no compiler.
    """

    name = "torch"

    def __init__(self, model: Path, options: RunOptions) -> None:
        options.allow(self.name, "threads", "device", "precision", "compile")
        self._precision = options.precision or "fp32"
        if self._precision not in PRECISIONS:
            raise UsageError(
                f"{self.name} backend: precision must be {', '.join(PRECISIONS)}, got "
                f"{self._precision!r}."
            )
        if forked_with_torch():
            _stay_on_one_thread(self.name, options.threads)
        device = resolve_device(options.device or best_device())
        require_precision(device, self._precision)
        network, card = _load(model)
        self._threads = options.threads or torch.get_num_threads()
        _forbid_rounding(device)
        self._dtype = PRECISIONS[self._precision]
        self._is_half = self._precision != "fp32" or computes_in_half(device)
        self._device = device
        self._memory_format = (
            torch.contiguous_format if device.type == "npu" else torch.channels_last
        )
        placed: Any = network.to(device, self._dtype)
        self._network: Any = placed.to(memory_format=self._memory_format)
        self._compiled = bool(options.compile)
        self._streams: SimpleQueue[Any] | None = None
        if self._compiled:
            self._network = self._compile(card.channels)
        elif device.type == "cuda":
            self.lanes = _CUDA_LANES
            self._streams = SimpleQueue()
            for _ in range(_CUDA_LANES):
                self._streams.put(torch.Stream(device))
        super().__init__(card, InputSpec(card.channels), str(device))

    def _infer(self, batch: Batch) -> Batch:
        with torch.inference_mode(), self._stream(), cpu_threads(self._threads):
            set_in_this_thread(self._device)
            image = torch.from_numpy(batch)
            if self._device.type == "cuda":
                image = image.pin_memory()  # from a cache of torch's; needed to copy beside work
            image = image.to(self._device, self._dtype, non_blocking=True)
            result: Tensor = self._network(image.to(memory_format=self._memory_format))
            host = result.float().contiguous().cpu().numpy()
        if self._is_half:
            remedy = (
                "Run it on another device."
                if self._precision == "fp32"
                else "Run it with --precision fp32."
            )
            require_finite(host, self.name, remedy, given=batch)
        return host

    def _release(self) -> None:
        self._network = None
        self._streams = None

    def describe(self) -> dict[str, str]:
        """Tell device, precision and version."""
        facts = {
            "backend": self.name,
            "device": self.device,
            "precision": self._precision,
            "compiled": "torch.compile" if self._compiled else "no",
            "torch": torch.__version__,
        }
        if self._device.type == "cuda":
            facts["device_name"] = torch.cuda.get_device_name(self._device)
        if self._device.type == "npu":
            torch_npu = sys.modules.get("torch_npu")
            facts["torch_npu"] = str(getattr(torch_npu, "__file__", ""))
            if is_simulated(torch_npu):
                facts["simulated"] = "yes"
            if self._precision == "fp32" and self._is_half:
                facts["precision"] = "fp32 (products in fp16)"
        if self._device.type == "cpu":
            facts["threads"] = str(self._threads)
        return facts

    @contextmanager
    def _stream(self) -> Iterator[None]:
        """Give the calling thread a stream of its own, where there are any."""
        streams = self._streams
        if streams is None:
            yield
            return
        stream = streams.get()
        try:
            with stream:
                yield
        finally:
            streams.put(stream)

    def _compile(self, channels: int) -> Any:
        """Compile for any shape, and try it: without a C++ compiler it fails only when it runs."""
        compiler = compile_backend(self._device)
        compiled: Any = torch.compile(self._network, dynamic=True, backend=compiler)
        try:
            with torch.inference_mode():
                for size in (64, 96):
                    image = torch.zeros(1, channels, size, size + 16, device=self._device)
                    compiled(image.to(self._dtype).to(memory_format=self._memory_format))
        except Exception as err:
            cause = " ".join(str(err).split())[:200]
            raise BackendUnavailable(
                f"{self.name} backend: torch.compile failed ({cause}). It needs a C++ compiler "
                "on the CPU, Triton on a GPU and TorchAir on an NPU; leave out --compile to run "
                "without."
            ) from err
        return compiled


class NpuBackend(TorchBackend):
    """The torch backend on Ascend NPUs, npu:0 unless another is asked for."""

    name = "npu"

    def __init__(self, model: Path, options: RunOptions) -> None:
        device = options.device or "npu:0"
        if device.partition(":")[0] != "npu":
            raise UsageError(f"npu backend: runs on npu:N, got device {device!r}.")
        super().__init__(model, options.on(device))


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use so many CPU threads inside the block: it has one number for the process."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _stay_on_one_thread(backend: str, threads: int | None) -> None:
    """Have torch compute on the calling thread: OpenMP waits for ever for those left behind.

    Raises:
        UsageError: more threads are asked for.
    """
    if threads not in (None, 1):
        raise UsageError(
            f"{backend} backend: this process was forked from one that had loaded torch, whose "
            f"threads do not survive that; expected 1 thread, got {threads}. Leave it out, or "
            "start worker processes with the 'spawn' method."
        )
    torch.set_num_threads(1)


def _load(path: Path) -> tuple[ADNet, ModelCard]:
    """Load a network with folded batch norms."""
    if kind_of_file(path) == "onnx":
        return load_onnx_network(path)
    loaded = load_checkpoint(path)
    return fold_batch_norm(loaded.network), loaded.card


def _forbid_rounding(device: torch.device) -> None:
    """Make float32 mean float32: no TF32 on NVIDIA, no HF32 on Ascend, and no recompiling there."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    elif device.type == "npu":
        npu: Any = torch.npu  # type: ignore[attr-defined]
        npu.conv.allow_hf32 = False
        npu.matmul.allow_hf32 = False
        npu.set_compile_mode(jit_compile=False)  # the default compiles again for each shape
