"""Turn a device's name into a torch.device that really works, or say why not."""

from __future__ import annotations

import torch

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
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as err:
        first_line = str(err).splitlines()[0]
        raise BackendUnavailable(
            f"device {name!r} cannot be used: {first_line.rstrip('.')}. "
            f"Available here: {', '.join(available_devices())}."
        ) from err
    return device


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


def _import_torch_npu() -> None:
    try:
        import torch_npu  # noqa: F401, PLC0415  (registers the device)
    except (ImportError, RuntimeError, OSError) as err:
        if isinstance(err, ModuleNotFoundError) and err.name == "torch_npu":
            answer = f"{err}. {remedy()}"
        else:
            answer = explain_import_error(err) or f"{err}."
        raise BackendUnavailable(f"device 'npu': torch_npu cannot be loaded: {answer}") from err
