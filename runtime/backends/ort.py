"""ADNet on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import onnxruntime as ort

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
from adnet.runtime.backends.acl import is_initialised
from adnet.runtime.backends.ort_providers import PROVIDERS, Provider, choose_provider

_DTYPES: dict[str, Literal["float32", "float16", "uint8"]] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
}


class OrtBackend(Backend):
    """Runs an ONNX file that adnet-export made.

    Args:
        model: the ONNX file.
        options: provider (see `ort_providers`; None: by the device, else the CPU),
            device, threads (intra-op, of each stream; None: the cores shared among the streams),
            streams (batches in work at once, each with its own threads).

    Raises:
        ModelError: the file is no ONNX model, or not one of ours.
        BackendUnavailable: the provider or device is not there, or leaves work to another one.
    """

    name = "onnx"

    def __init__(self, model: Path, options: RunOptions) -> None:
        options.allow(self.name, "threads", "device", "provider", "streams")
        self._provider, provider, device = choose_provider(
            options.provider, options.device, ort.get_available_providers()
        )
        if provider.device != "cpu" and (options.threads or options.streams):
            raise UsageError(
                f"onnx backend: --threads and --streams belong to the CPU, not to provider "
                f"{self._provider}. Leave them out."
            )
        self.lanes = options.streams or 1
        threads = share_cores(self.name, self.lanes, options.threads)
        require_kind(model, "onnx")
        sessions = [_open(model, provider, device, threads) for _ in range(self.lanes)]
        card, spec = _check_is_adnet(sessions[0], model)
        precision = precision_of(sessions[0].get_modelmeta().custom_metadata_map)
        self._is_half = precision == "fp16" or provider.half is not None
        self._precision = (provider.half if precision == "fp32" else None) or precision
        self._half_remedy = (
            "Use a model exported with --precision fp32."
            if provider.half is None
            else f"{provider.full_name} computes in float16; use another provider."
        )
        self._version: str = ort.__version__
        self._threads = "one per core" if threads is None else str(threads)
        self._input = sessions[0].get_inputs()[0].name
        self._sessions: SimpleQueue[Any] = SimpleQueue()
        for session in sessions:
            self._sessions.put(session)
        super().__init__(card, spec, device)

    def _infer(self, batch: Batch) -> Batch:
        session = self._sessions.get()
        try:
            (result,) = session.run(None, {self._input: to_model_dtype(batch, self.spec.dtype)})
        finally:
            self._sessions.put(session)
        is_levels = result.dtype == np.uint8
        values: Batch = from_levels(result) if is_levels else np.asarray(result, np.float32)
        if self._is_half:
            require_finite(values, self.name, self._half_remedy, given=batch)
        return values

    def _release(self) -> None:
        self._sessions = SimpleQueue()

    def describe(self) -> dict[str, str]:
        """Tell the provider and versions."""
        return {
            "backend": self.name,
            "device": self.device,
            "provider": self._provider,
            "precision": self._precision,
            "input": self.spec.dtype,
            "streams": str(self.lanes),
            "threads": self._threads,
            "onnxruntime": self._version,
        }


def _open(model: Path, provider: Provider, device: str, threads: int | None) -> Any:
    """Open a session and make sure that the provider really runs all of it."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads or 0
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    index = int(device.partition(":")[2] or 0)
    own_options = provider.options(index)
    if threads is not None and provider.threads_option is not None:
        own_options[provider.threads_option] = str(threads)
    wanted: Any = (provider.full_name, own_options)
    is_cpu = provider.full_name == "CPUExecutionProvider"
    if not is_cpu:
        # Without this, layers that the provider lacks would quietly run on the CPU.
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(str(model), settings, providers=[wanted])
    except Exception as err:  # onnxruntime's exception classes share no public base
        first_line = str(err).strip().splitlines()[0]
        if is_cpu:
            raise ModelError(
                f"{model}: ONNX Runtime cannot load it ({first_line}). "
                "Is it an ONNX file? adnet-export makes one from a checkpoint."
            ) from err
        # The provider initialises ACL itself and takes "initialised already" for a failure.
        own_process = (
            " Another backend uses ACL in this process: run the two in processes of their own."
            if provider.device == "npu" and is_initialised()
            else ""
        )
        raise BackendUnavailable(
            f"onnx backend: {provider.full_name} cannot run {model} ({first_line}). Needed: "
            f"{provider.install}.{own_process}"
        ) from err
    running = session.get_providers()[0]
    if running != provider.full_name:
        raise BackendUnavailable(
            f"onnx backend: asked for {provider.full_name}, but ONNX Runtime fell back to "
            f"{running}. Needed: {provider.install}."
        )
    return session


def inspect_onnx(model: Path) -> tuple[ModelCard, InputSpec, str]:
    """Read what an ONNX file of ours says of itself, for an engine that drops metadata.

    Returns:
        Its card, its input, and the precision that it computes in.

    Raises:
        ModelError: the file is no ONNX model, or not one of ours.
    """
    require_kind(model, "onnx")
    session = _open(model, PROVIDERS["cpu"], "cpu", 1)
    card, spec = _check_is_adnet(session, model)
    return card, spec, precision_of(session.get_modelmeta().custom_metadata_map)


def _check_is_adnet(session: Any, model: Path) -> tuple[ModelCard, InputSpec]:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    found = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in inputs)
    metadata = session.get_modelmeta().custom_metadata_map
    card = ModelCard.from_metadata(metadata, str(model), f"Its inputs: {found}.")
    found = ", ".join(f"{tensor.name} {tensor.type} {tensor.shape}" for tensor in inputs)
    spec = spec_of_onnx(
        model,
        card,
        [dim if isinstance(dim, int) else None for dim in inputs[0].shape],
        _DTYPES.get(inputs[0].type),
        is_single=len(inputs) == len(outputs) == 1,
        found=found,
    )
    return card, spec
