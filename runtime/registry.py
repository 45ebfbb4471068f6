"""The table of backends, and the only place that imports one."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from adnet.runtime.backend import Backend, RunOptions

from adnet.errors import BackendUnavailable, UsageError


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """Where a backend lives and what it needs."""

    target: str
    """`module:class`; the class takes (model path, RunOptions)."""
    suffixes: tuple[str, ...]
    """Model files that it runs."""
    install: str
    """Command that installs what it needs."""


BACKENDS: dict[str, BackendEntry] = {
    "onnx": BackendEntry(
        target="adnet.runtime.ort_backend:OrtBackend",
        suffixes=(".onnx",),
        install="pip install onnxruntime",
    ),
    "om": BackendEntry(
        target="adnet.runtime.om_backend:OmBackend",
        suffixes=(".om",),
        install="install CANN and source its set_env.sh",
    ),
}


def open_backend(
    model: Path, name: str | None = None, options: RunOptions | None = None
) -> Backend:
    """Load a model file on a backend.

    Args:
        name: a key of `BACKENDS`; None chooses by the file's suffix.
        options: threads and device; None leaves all to the backend.

    Raises:
        UsageError: unknown backend, or it does not run this kind of file, or lacks an option.
        BackendUnavailable: the backend's packages are not installed, or the device is not there.
        ModelError: the file is damaged or no ADNet.
    """
    suffix = model.suffix.lower()
    if name is None:
        name = next((key for key, entry in BACKENDS.items() if suffix in entry.suffixes), None)
        if name is None:
            raise UsageError(f"{model}: no backend runs {suffix or 'such'} files. {_table()}")
    entry = BACKENDS.get(name)
    if entry is None:
        raise UsageError(f"unknown backend {name!r}. {_table()}")
    if suffix not in entry.suffixes:
        raise UsageError(
            f"{model}: the {name} backend does not run {suffix or 'such'} files. {_table()}"
        )
    module, _, attribute = entry.target.partition(":")
    try:
        backend_class = getattr(import_module(module), attribute)
    except ImportError as err:
        raise BackendUnavailable(
            f"backend {name!r} cannot be loaded: {err}. Install it: {entry.install}"
        ) from err
    backend: Backend = backend_class(model, options or RunOptions())
    return backend


def _table() -> str:
    parts = [f"{name} ({', '.join(entry.suffixes)})" for name, entry in BACKENDS.items()]
    return (
        f"Backends: {', '.join(parts)}. Checkpoints are converted with "
        "'adnet-export onnx CHECKPOINT -o FILE.onnx'."
    )
