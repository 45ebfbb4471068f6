"""ADNet on OpenVINO: Intel's CPUs, GPUs and NPUs, and any other x86 or Arm CPU."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import openvino

from adnet.errors import BackendUnavailable, ModelError, UsageError
from adnet.images.levels import from_levels
from adnet.models.card import ModelCard, precision_of
from adnet.models.files import require_kind
from adnet.runtime.backend import (
    Backend,
    Batch,
    InputSpec,
    RunOptions,
    require_finite,
    share_cores,
    spec_of_onnx,
    to_model_dtype,
)

_DTYPES: dict[str, Literal["float32", "float16", "uint8"]] = {
    "f32": "float32",
    "f16": "float16",
    "u8": "uint8",
}
_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}
"""Our precision -> OpenVINO's INFERENCE_PRECISION_HINT. An int8 file says itself what is in int8;
the hint is for the rest."""


def openvino_core() -> openvino.Core:
    """Return the one Core of this process.

    It is never released. OpenVINO's CPU plugin gives the thread that loads it a signal stack of its
    own and unmaps it when the last Core goes (seen with 2026.4.1): where that happens in another
    thread, the next signal, such as Ctrl-C, ends the process with SIGSEGV.
    """
    return _core_of(os.getpid())  # a forked child cannot use its parent's


@functools.cache
def _core_of(_process: int) -> openvino.Core:
    return openvino.Core()


class OpenVinoBackend(Backend):
    """Runs an ONNX file that adnet-export made.

    Args:
        model: the ONNX file.
        options: device (cpu, gpu, gpu:1, npu: Intel's), precision (None: fp32, or int8 for an int8
            file), threads (of each stream) and streams on a CPU, cache (a folder for compiled
            models; None: nothing is kept).

    Raises:
        ModelError: the file is no ONNX model, or not one of ours.
        UsageError: an option that does not fit the device or the file.
        BackendUnavailable: the device is not there, or lacks the precision.
    """

    name = "openvino"

    def __init__(self, model: Path, options: RunOptions) -> None:
        options.allow(self.name, "threads", "device", "precision", "streams", "cache")
        core = openvino_core()
        full_name = _choose_device(options.device or "cpu", core.available_devices)
        is_cpu = full_name == "CPU"
        if not is_cpu and (options.threads or options.streams):
            raise UsageError(
                f"openvino backend: --threads and --streams belong to the CPU, not to "
                f"{options.device}. Leave them out."
            )
        require_kind(model, "onnx")
        try:
            graph = core.read_model(str(model))
        except RuntimeError as err:
            raise ModelError(
                f"{model}: OpenVINO cannot load it ({_reason(err)}). Is it an ONNX file? "
                "adnet-export makes one from a checkpoint."
            ) from err
        card, spec, in_file = _check_is_adnet(graph, model)
        self._precision = _choose_precision(options.precision, in_file, model)
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[self._precision],
        }
        _require_precision(core, full_name, self._precision)
        self.lanes = options.streams or 1
        if is_cpu:
            settings |= self._cpu_settings(options.threads)
        if options.cache is not None:
            settings["CACHE_DIR"] = options.cache
        try:
            compiled = core.compile_model(graph, full_name, settings)
        except RuntimeError as err:
            raise BackendUnavailable(
                f"openvino backend: {full_name} cannot run {model} ({_reason(err)})."
            ) from err
        self._threads = str(compiled.get_property("INFERENCE_NUM_THREADS")) if is_cpu else ""
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.lanes):
            self._requests.put(compiled.create_infer_request())
        device = "cpu" if is_cpu else full_name.lower().replace(".", ":")
        super().__init__(card, spec, device)

    def _cpu_settings(self, threads: int | None) -> dict[str, Any]:
        threads = share_cores(self.name, self.lanes, threads)
        settings: dict[str, Any] = {"NUM_STREAMS": self.lanes}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads * self.lanes
        return settings

    def _infer(self, batch: Batch) -> Batch:
        given = to_model_dtype(batch, self.spec.dtype)
        request = self._requests.get()
        try:
            (raw,) = request.infer({0: given}).values()
            is_levels = raw.dtype == np.uint8
            # A copy: the request uses its buffer again.
            values: Batch = from_levels(raw) if is_levels else np.array(raw, np.float32)
        finally:
            self._requests.put(request)
        if self._precision in ("fp16", "bf16"):
            require_finite(values, self.name, "Use --precision fp32.", given=batch)
        return values

    def _release(self) -> None:
        self._requests = SimpleQueue()

    def describe(self) -> dict[str, str]:
        """Tell the device, the precision and the version."""
        return {
            "backend": self.name,
            "device": self.device,
            "precision": self._precision,
            "input": self.spec.dtype,
            "streams": str(self.lanes),
            **({"threads": self._threads} if self._threads else {}),
            "openvino": openvino.__version__,
        }


def _choose_device(name: str, there: list[str]) -> str:
    """Turn `gpu:1` into OpenVINO's GPU.1, and make sure that it is there."""
    wanted = name.upper().replace(":", ".")
    # One GPU is listed as GPU, several as GPU.0, GPU.1 ...
    if wanted not in there and f"{wanted}.0" in there:
        wanted = f"{wanted}.0"
    if wanted not in there and wanted.endswith(".0") and wanted[:-2] in there:
        wanted = wanted[:-2]
    if wanted not in there:
        raise BackendUnavailable(
            f"openvino backend: device {name!r} is not there. Available here: "
            f"{', '.join(one.lower().replace('.', ':') for one in there)}. Intel's GPUs and NPUs "
            "need their drivers."
        )
    return wanted


def _choose_precision(asked: str | None, in_file: str, model: Path) -> str:
    if in_file == "int8":
        if asked not in (None, "int8"):
            raise UsageError(
                f"openvino backend: {model} is an int8 model; --precision {asked} needs the "
                "float32 one that it was made from."
            )
        return "int8"
    if asked == "int8":
        raise UsageError(
            f"openvino backend: {model} is a {in_file} model. Make an int8 one with 'adnet-export "
            "onnx --precision int8', or leave out --precision."
        )
    # What a file keeps its weights in need not be what is computed in.
    return asked or in_file


def _require_precision(core: Any, device: str, precision: str) -> None:
    """Refuse what the device would quietly compute in float32."""
    if precision in ("fp32", "int8"):
        return
    can = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if precision.upper() not in can:
        raise BackendUnavailable(
            f"openvino backend: {device} does not compute in {precision} (it can: "
            f"{', '.join(one for one in ('FP32', 'FP16', 'BF16', 'INT8') if one in can).lower()}). "
            "Use --precision fp32."
        )


def _check_is_adnet(graph: Any, model: Path) -> tuple[ModelCard, InputSpec, str]:
    keys = graph.get_rt_info()["framework"] if graph.has_rt_info("framework") else {}
    metadata = {key: str(graph.get_rt_info(["framework", key]).value) for key in keys}
    found = ", ".join(f"{one.any_name} {one.partial_shape}" for one in graph.inputs)
    card = ModelCard.from_metadata(metadata, str(model), f"Its inputs: {found}.")
    kind = graph.inputs[0].element_type.get_type_name()
    spec = spec_of_onnx(
        model,
        card,
        [dim.get_length() if dim.is_static else None for dim in graph.inputs[0].partial_shape],
        _DTYPES.get(kind),
        is_single=len(graph.inputs) == len(graph.outputs) == 1,
        found=f"{found} of {kind}",
    )
    return card, spec, precision_of(metadata)


def _reason(err: Exception) -> str:
    """Return the line of an OpenVINO error that says something."""
    lines = [line for line in str(err).splitlines() if line and "Exception from" not in line]
    return (lines or [type(err).__name__])[0].strip()
