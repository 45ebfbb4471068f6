"""Turn a device's name into a torch.device that really works, or say why not."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from adnet.cann import has_float32_cube
from adnet.errors import BackendUnavailable
from adnet.npu_versions import explain_import_error, remedy


def resolve_device(name: str) -> torch.device:
    """Return the device after checking that it is there.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, `npu`, `npu:0`, `mps`, `xpu`.

    Raises:
        BackendUnavailable: there is no such device, or its driver or package is missing.
    """
    kind, _, number = name.partition(":")
    if kind == "npu":
        _import_torch_npu()
    if kind == "cpu" and number not in ("", "0"):
        raise BackendUnavailable(
            f"device {name!r} cannot be used: there is one cpu. Available here: "
            f"{', '.join(available_devices())}."
        )
    try:
        device = torch.device(name)
        set_in_this_thread(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as err:
        first_line = str(err).splitlines()[0]
        raise BackendUnavailable(
            f"device {name!r} cannot be used: {first_line.rstrip('.')}. "
            f"Available here: {', '.join(available_devices())}."
        ) from err
    return device


def set_in_this_thread(device: torch.device) -> None:
    """Make an NPU the calling thread's device: without one, all work on it fails (107002).

    Other devices need nothing. `npu` without a number is the thread's own device, or the first.
    """
    if device.type != "npu":
        return
    npu: Any = torch.npu  # type: ignore[attr-defined]
    if ":" in str(device):
        npu.set_device(device)
        return
    try:
        npu.set_device(npu.current_device())
    except RuntimeError:  # the thread has none yet
        npu.set_device(0)


def count_devices(kind: str) -> int:
    """Count the devices of a kind without opening one (a launcher must leave them to its workers).

    Args:
        kind: `cuda`, `npu`, `xpu`.

    Raises:
        BackendUnavailable: there is none, or its driver or package is missing.
    """
    if kind == "npu":
        _import_torch_npu()
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None or accelerator.type != kind:
        raise BackendUnavailable(
            f"device {kind!r} cannot be used: there is none. Available here: "
            f"{', '.join(available_devices())}."
        )
    return torch.accelerator.device_count()


def computes_in_half(device: torch.device) -> bool:
    """Whether the device multiplies in float16 whatever it is asked for, and may saturate.

    A 310P and the first 910 have no float32 in their matrix unit; torch_npu then allows float16
    (allow_fp32_to_fp16).
    """
    chip = _chip_name(device)
    return chip is not None and not has_float32_cube(chip)


def require_precision(device: torch.device, precision: str) -> None:
    """Make sure that the device has a precision: fp32, fp16 or bf16.

    torch itself only warns, and continues in float32.

    Raises:
        BackendUnavailable: bf16 on a chip without it.
    """
    if precision == "bf16" and computes_in_half(device):
        raise BackendUnavailable(
            f"--precision bf16: {_chip_name(device)} has no bfloat16 (Ascend310B, Ascend910B1 and "
            "newer have). Use fp16 or fp32."
        )


def compile_backend(device: torch.device) -> Any:
    """Return what torch.compile compiles with: TorchAir on NPUs, torch's own elsewhere.

    Raises:
        BackendUnavailable: TorchAir, which comes with torch_npu, is not there or does not load.
    """
    if device.type != "npu":
        return "inductor"
    try:
        return import_module("torchair").get_npu_backend()
    except Exception as err:
        # Torch_npu hands out a stand-in that fails in ways of its own when TorchAir is broken.
        cause = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise BackendUnavailable(
            f"--compile: on an NPU it needs TorchAir, which cannot be loaded ({cause}). It comes "
            "with the torch-npu of PyPI, and needs CANN's environment. Leave out --compile to go "
            "on without."
        ) from err


def best_device() -> str:
    """Name the accelerator that torch finds, else `cpu`."""
    return available_devices()[:2][-1]


def available_devices() -> list[str]:
    """Names of the devices that torch can use here, `cpu` first."""
    names = ["cpu"]
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        count = torch.accelerator.device_count()
        names += [f"{accelerator.type}:{index}" for index in range(count)]
    return names


def _chip_name(device: torch.device) -> str | None:
    """Name an NPU's chip, such as Ascend910B3; None for other devices, or where it is unknown."""
    if device.type != "npu":
        return None
    try:
        return str(import_module("torch_npu").npu.get_device_name(device))
    except (AttributeError, RuntimeError):
        return None


def _import_torch_npu() -> None:
    try:
        import torch_npu  # noqa: F401, PLC0415  (registers the device)
    except (ImportError, RuntimeError, OSError) as err:
        if isinstance(err, ModuleNotFoundError) and err.name == "torch_npu":
            answer = f"{err}. {remedy()}"
        else:
            answer = explain_import_error(err) or f"{err}."
        raise BackendUnavailable(f"device 'npu': torch_npu cannot be loaded: {answer}") from err
