"""The table of backends, and the only place that imports one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from adnet.errors import AdnetError, BackendUnavailable, UsageError
from adnet.npu_versions import PAIRS, explain_import_error
from adnet.runtime.backend import Backend, RunOptions

ENTRY_POINT_GROUP = "adnet.backends"
"""Another package adds a backend by an entry point of this group: NAME = "module:ENTRY", ENTRY
being a `BackendEntry`."""


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """Where a backend lives and what it needs."""

    target: str
    """`module:class`; the class takes (model path, RunOptions)."""
    suffixes: tuple[str, ...]
    """Model files that it runs."""
    install: str
    """What to install, and what else to do before it runs."""


BACKENDS: dict[str, BackendEntry] = {
    "onnx": BackendEntry(
        target="adnet.runtime.backends.ort:OrtBackend",
        suffixes=(".onnx",),
        install="pip install onnxruntime",
    ),
    "torch": BackendEntry(
        target="adnet.runtime.backends.pytorch:TorchBackend",
        suffixes=(".pth", ".pt", ".onnx"),
        install="pip install torch onnx",
    ),
    "npu": BackendEntry(
        target="adnet.runtime.backends.pytorch:NpuBackend",
        suffixes=(".pth", ".pt", ".onnx"),
        install=f"{PAIRS[0].install()} onnx (for CANN {PAIRS[0].cann}; docs/ascend.md has the "
        "others), and source CANN's set_env.sh",
    ),
    "openvino": BackendEntry(
        target="adnet.runtime.backends.ov:OpenVinoBackend",
        suffixes=(".onnx",),
        install="pip install openvino",
    ),
    "mnn": BackendEntry(
        target="adnet.runtime.backends.mnn:MnnBackend",
        suffixes=(".onnx",),
        install="pip install MNN",
    ),
    "om": BackendEntry(
        target="adnet.runtime.backends.om:OmBackend",
        suffixes=(".om",),
        install="install CANN and source its set_env.sh",
    ),
}
"""The first that runs a kind of file is the default for it."""


def backends() -> dict[str, BackendEntry]:
    """Return all backends: the table, then what other packages add (they replace none of ours)."""
    return BACKENDS | {name: one for name, one in _added().items() if name not in BACKENDS}


@cache
def _added() -> dict[str, BackendEntry]:
    """Load what other packages add; one that is broken stands in the table as such."""
    found = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry = point.load()
            if not isinstance(entry, BackendEntry):
                raise TypeError(f"{point.value} is no BackendEntry")
        except Exception as err:  # noqa: BLE001  (another package's fault must not stop ours)
            package = point.dist.name if point.dist is not None else point.value
            entry = BackendEntry("", (), f"repair or uninstall {package} ({err!r})")
        found[point.name] = entry
    return found


def open_backend(
    model: Path, name: str | None = None, options: RunOptions | None = None
) -> Backend:
    """Load a model file on a backend.

    Args:
        name: a key of `backends()`; None chooses by the file's suffix.
        options: threads, device and so on; None leaves all to the backend.

    Raises:
        UsageError: unknown backend, or it does not run this kind of file, or lacks an option.
        BackendUnavailable: the backend's packages are not installed, or the device is not there.
        ModelError: the file is damaged or no ADNet.
    """
    name, backend_class = find_backend(model, name)
    try:
        backend: Backend = backend_class(model, options or RunOptions())
    except AdnetError:
        raise
    except Exception as err:
        if name in BACKENDS:
            raise
        remedy = backends()[name].install
        raise BackendUnavailable(
            f"backend {name!r}, of another package, failed: {err!r}. Remedy: {remedy}."
        ) from err
    return backend


def find_backend(model: Path, name: str | None = None) -> tuple[str, Any]:
    """Find what would run a model file, and load nothing of the model.

    Args:
        name: as for `open_backend`.

    Returns:
        Its name and its class.

    Raises:
        UsageError: unknown backend, or it does not run this kind of file.
        BackendUnavailable: the backend's packages are not installed.
    """
    suffix = model.suffix.lower()
    if name is None:
        name = next((key for key, entry in backends().items() if suffix in entry.suffixes), None)
        if name is None:
            raise UsageError(f"{model}: no backend runs {suffix or 'such'} files. {_table()}")
    entry = backends().get(name)
    if entry is None:
        raise UsageError(f"unknown backend {name!r}. {_table()}")
    if entry.target and suffix not in entry.suffixes:
        raise UsageError(
            f"{model}: the {name} backend does not run {suffix or 'such'} files. {_table()}"
        )
    return name, import_backend(name, entry)


def import_backend(name: str, entry: BackendEntry) -> Any:
    """Import the class of a backend.

    Raises:
        BackendUnavailable: naming what is missing and how to get it.
    """
    module, _, attribute = entry.target.partition(":")
    if not module:
        raise BackendUnavailable(f"backend {name!r} cannot be loaded: {entry.install}.")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, RuntimeError, OSError) as err:
        first_line = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
        answer = explain_import_error(err) or f"{first_line} Remedy: {entry.install}."
        raise BackendUnavailable(f"backend {name!r} cannot be loaded: {answer}") from err


def _table() -> str:
    parts = [f"{name} ({', '.join(entry.suffixes)})" for name, entry in backends().items()]
    return (
        f"Backends: {', '.join(parts)}. Checkpoints are converted with "
        "'adnet-export onnx CHECKPOINT -o FILE.onnx'."
    )
