"""Execution providers of ONNX Runtime: what each is called, and options that suit ADNet.

ADNet is 17 convolutions at sizes that vary, so: search algorithms by heuristic, not by trying all
for each new size; keep to float32 unless the model is another. Option names: ONNX Runtime's
documentation of each provider; CANN's were also found in the provider's library (wheel 1.24.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from adnet.errors import BackendUnavailable, UsageError

ProviderOptions = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider."""

    full_name: str
    device: str
    """Kind of device, as in `--device cuda:1`."""
    install: str
    """What brings it."""
    options: Callable[[int], ProviderOptions] = field(default=lambda _index: {})
    """Options for a device number."""
    threads_option: str | None = None
    """Where the provider has threads of its own, the option that sets their number."""
    half: str | None = None
    """Where the provider computes a float32 model in float16 unless told otherwise: what to call
    that."""


def _by_index(index: int) -> ProviderOptions:
    return {"device_id": index}


PROVIDERS: dict[str, Provider] = {
    "cpu": Provider("CPUExecutionProvider", "cpu", "pip install onnxruntime"),
    "cuda": Provider(
        "CUDAExecutionProvider",
        "cuda",
        "pip install onnxruntime-gpu, with the CUDA and cuDNN that it names",
        lambda index: {
            "device_id": index,
            "cudnn_conv_algo_search": "HEURISTIC",
            "use_tf32": 0,
        },
    ),
    "tensorrt": Provider(
        "TensorrtExecutionProvider",
        "cuda",
        "pip install onnxruntime-gpu tensorrt",
        _by_index,
    ),
    "cann": Provider(
        "CANNExecutionProvider",
        "npu",
        "pip install onnxruntime-cann, and source CANN's set_env.sh",
        # One graph for the whole network; CANN compiles it again for each shape.
        # No precision mode: its key is precision_mode or, in newer builds, precision_mode_v2, and
        # an unknown key is refused.
        lambda index: {"device_id": index, "enable_cann_graph": True},
        half="CANN default (fp16)",
    ),
    "openvino": Provider(
        "OpenVINOExecutionProvider",
        "cpu",
        "pip install onnxruntime-openvino in place of onnxruntime",
        lambda _index: {"device_type": "CPU", "precision": "FP32"},
        threads_option="num_of_threads",
    ),
    "directml": Provider(
        "DmlExecutionProvider", "dml", "pip install onnxruntime-directml (Windows)", _by_index
    ),
    "coreml": Provider("CoreMLExecutionProvider", "coreml", "pip install onnxruntime (macOS)"),
    "migraphx": Provider(
        "MIGraphXExecutionProvider",
        "rocm",
        "AMD's build of onnxruntime with MIGraphX",
        _by_index,
    ),
    "rocm": Provider(
        "ROCMExecutionProvider", "rocm", "AMD's build of onnxruntime, up to 1.22", _by_index
    ),
}
"""Short name -> provider; the first of a device's kind is chosen when only the device is given."""


def choose_provider(
    name: str | None, device: str | None, available: list[str]
) -> tuple[str, Provider, str]:
    """Find the provider that was asked for.

    Args:
        name: a key of `PROVIDERS`; None goes by the device, without one the CPU.
        device: such as `cuda:1`; None is the provider's first.
        available: what this build of ONNX Runtime has, full names.

    Returns:
        Short name, provider, and the device with its number where it has one.

    Raises:
        UsageError: there is no such provider, or it does not run on that device.
        BackendUnavailable: this build of ONNX Runtime does not have it.
    """
    kind, _, number = (device or "").partition(":")
    if number and not number.isdigit():
        raise UsageError(f"onnx backend: device {device!r} is no name such as cuda or cuda:1.")
    if name is None:
        name = "cpu" if device is None else next(
            (key for key, one in PROVIDERS.items() if one.device == kind), None
        )  # fmt: skip
        if name is None:
            raise BackendUnavailable(
                f"onnx backend: nothing runs on device {device!r}. {_there(available)}"
            )
    provider = PROVIDERS.get(name.lower())
    if provider is None:
        raise UsageError(
            f"onnx backend: unknown provider {name!r}; there are {', '.join(PROVIDERS)}."
        )
    if kind and kind != provider.device:
        raise UsageError(
            f"onnx backend: provider {name} runs on {provider.device}, got device {device!r}."
        )
    if provider.full_name not in available:
        raise BackendUnavailable(
            f"onnx backend: provider {name} (device {provider.device}) is not in this build of "
            f"ONNX Runtime. {_there(available)} To get it: {provider.install}."
        )
    numbered = provider.device in ("cuda", "npu", "dml", "rocm")
    return (
        name.lower(),
        provider,
        f"{provider.device}:{int(number or 0)}" if numbered else kind or (provider.device),
    )


def available_providers(available: list[str]) -> list[str]:
    """Return the short names of what this build of ONNX Runtime has."""
    return [key for key, one in PROVIDERS.items() if one.full_name in available]


def _there(available: list[str]) -> str:
    return f"Available here: {', '.join(available_providers(available))}."
