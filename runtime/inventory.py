"""What can run here: every backend, provider and device, and why not where it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from adnet.cann import soc_name
from adnet.errors import AdnetError, BackendUnavailable
from adnet.runtime.registry import BACKENDS, backends, import_backend

_REMEDIES = {
    "cuda": "an NVIDIA GPU with its driver, and a CUDA build of torch",
    "mps": "a Mac with Apple silicon",
    "xpu": "an Intel GPU, and an XPU build of torch",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One way to run a model."""

    backend: str
    where: str
    """Device, or execution provider."""
    available: bool
    version: str
    note: str
    """Why not and what to do, where it is not available."""


def list_backends() -> list[Row]:
    """Look at everything; imports torch and pyACL where they are installed (takes seconds)."""
    return [row for name in backends() for row in rows_of(name)]


def rows_of(backend: str) -> list[Row]:
    """Look at one backend, a key of `backends()`; at least one row."""
    own = {
        "onnx": _onnx,
        "torch": _torch,
        "npu": _npu,
        "openvino": _openvino,
        "mnn": _mnn,
        "om": _om,
    }
    if backend in own:
        return own[backend]()
    try:
        import_backend(backend, backends()[backend])
    except BackendUnavailable as err:
        return [Row(backend, "-", False, "", str(err))]
    return [Row(backend, "installed", True, "", "")]


def _onnx() -> list[Row]:
    from adnet.runtime.backends.ort_providers import PROVIDERS  # noqa: PLC0415

    try:
        import_backend("onnx", BACKENDS["onnx"])
    except BackendUnavailable as err:
        return [Row("onnx", "cpu", False, "", str(err))]
    ort = import_module("onnxruntime")
    there = ort.get_available_providers()
    return [
        Row("onnx", key, one.full_name in there, ort.__version__,
            "" if one.full_name in there else f"not in this build of ONNX Runtime; {one.install}")
        for key, one in PROVIDERS.items()
    ]  # fmt: skip


def _torch() -> list[Row]:
    try:
        import_backend("torch", BACKENDS["torch"])
    except BackendUnavailable as err:
        return [Row("torch", "cpu", False, _version("torch"), str(err))]
    from adnet.device import available_devices  # noqa: PLC0415  (imports torch)

    there = available_devices()
    rows = [Row("torch", name, True, _version("torch"), "") for name in there
            if not name.startswith("npu")]  # fmt: skip
    found = {row.where.partition(":")[0] for row in rows}
    return rows + [
        Row("torch", kind, False, _version("torch"), f"needs {remedy}")
        for kind, remedy in _REMEDIES.items()
        if kind not in found
    ]


def _npu() -> list[Row]:
    try:
        import_backend("npu", BACKENDS["npu"])
        from adnet.device import count_devices  # noqa: PLC0415  (imports torch)

        count = count_devices("npu")
    except AdnetError as err:
        return [Row("npu", "npu", False, _version("torch-npu"), str(err))]
    return [Row("npu", f"npu:{index}", True, _version("torch-npu"), "") for index in range(count)]


def _openvino() -> list[Row]:
    try:
        import_backend("openvino", BACKENDS["openvino"])
    except BackendUnavailable as err:
        return [Row("openvino", "cpu", False, _version("openvino"), str(err))]
    from adnet.runtime.backends.ov import openvino_core  # noqa: PLC0415

    there = openvino_core().available_devices
    rows = [Row("openvino", one.lower().replace(".", ":"), True, _version("openvino"), "")
            for one in there]  # fmt: skip
    found = {row.where.partition(":")[0] for row in rows}
    return rows + [
        Row("openvino", kind, False, _version("openvino"), f"needs {remedy}")
        for kind, remedy in (("gpu", "an Intel GPU with its driver"),
                             ("npu", "an Intel NPU with its driver"))
        if kind not in found
    ]  # fmt: skip


def _mnn() -> list[Row]:
    try:
        import_backend("mnn", BACKENDS["mnn"])
    except BackendUnavailable as err:
        return [Row("mnn", "cpu", False, _version("MNN"), str(err))]
    return [Row("mnn", "cpu", True, _version("MNN"), "")]


def _om() -> list[Row]:
    try:
        import_backend("om", BACKENDS["om"])
        from adnet.runtime.backends.acl import load_acl  # noqa: PLC0415

        acl = load_acl()
        count = acl.get("rt.get_device_count")
        soc = soc_name(acl.module) or ""
    except AdnetError as err:
        return [Row("om", "npu", False, "", str(err))]
    if not count:
        return [Row("om", "npu", False, soc, "no device is visible; see npu-smi info")]
    return [Row("om", f"npu:{index}", True, soc, "") for index in range(count)]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
