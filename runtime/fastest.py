"""Which backend is the fastest here, by measuring: `adnet-run --backend auto`.

What is installed and runs the model is measured for about two seconds, in turns, in a process of
its own: that takes the memory of all of them with it. The answer is kept for this processor, these
versions, this model and these options in `fastest.json` in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adnet.atomic import write_atomically
from adnet.errors import AdnetError, UsageError
from adnet.models.shipped import default_model, resolve_model
from adnet.provenance import versions
from adnet.runtime.backend import Backend, RunOptions
from adnet.runtime.host import describe_cpu
from adnet.runtime.planning import shape_like
from adnet.runtime.registry import backends, open_backend

_SECONDS = 2.0
"""Of all measurements together, at least two rounds."""
_SIDE = 256
"""Of the tile that is measured: the speed per pixel of larger ones is the same."""
_CLEARLY = 1.03
"""So much faster than the default another backend must be; less is noise."""
_TIMEOUT = 300.0
_MOST_KEPT = 100
_PACKAGES = ("onnxruntime", "openvino", "MNN", "torch", "torch-npu", "numpy")

Open = Callable[[Path, str, RunOptions], Backend]
Rates = dict[str, float]
"""Backend -> megapixels per second; the default comes first."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend to take, and why."""

    backend: str
    remark: str


def choose_backend(
    model: str | Path | None, options: RunOptions, tile: int | None = None
) -> Choice:
    """Choose the fastest backend for a model: by an earlier answer, or by measuring now.

    Args:
        model: as for `Denoiser`; None: the shipped gray one stands for both.
        options: what is asked of the backend: one that cannot obey is no candidate.
        tile: largest side in pixels, where one was asked for.

    Raises:
        UsageError: nothing that is installed runs the model with these options.
    """
    path = default_model(1).path if model is None else resolve_model(model)
    names = candidates(path)
    side = min(tile or _SIDE, _SIDE)
    key = _key(path, names, options, side)
    known = _read_cache().get(key)
    rates, errors = (known, {}) if known else _measure_apart(path, names, options, side)
    if not rates:
        told = "; ".join(errors.values()) or f"no backend runs {path.suffix or 'such'} files"
        raise UsageError(f"--backend auto: nothing runs {path.name} as asked: {told}")
    if not known:
        _keep(key, rates)
    return _choice(rates, "measured before" if known else "measured now")


def candidates(model: Path) -> list[str]:
    """Return the backends that run such files, the default first."""
    suffix = model.suffix.lower()
    return [name for name, entry in backends().items() if suffix in entry.suffixes]


def measure(
    model: Path,
    names: Sequence[str],
    options: RunOptions,
    side: int = _SIDE,
    seconds: float = _SECONDS,
    opening: Open = open_backend,
) -> tuple[Rates, dict[str, str]]:
    """Measure backends in turns, so that whatever else runs here disturbs all alike.

    Returns:
        Megapixels per second of the best round of each, and why the others cannot.
    """
    batches: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
    with ExitStack() as stack:
        opened: dict[str, Backend] = {}

        def add(name: str) -> str:
            try:
                backend = stack.enter_context(opening(model, name, options))
                count, size = shape_like(backend.spec, (side, side))
                batch = np.full((count, backend.spec.channels, *size), 0.5, np.float32)
                backend.infer(batch)  # the first call may compile
            except (AdnetError, RuntimeError, MemoryError) as err:
                return str(err) or type(err).__name__
            opened[name], batches[name] = backend, batch
            return ""

        errors = {name: told for name in names if (told := add(name))}
        best = dict.fromkeys(opened, float("inf"))
        end, rounds = time.perf_counter() + seconds, 0
        while opened and (rounds < 2 or time.perf_counter() < end):
            rounds += 1
            for name, backend in opened.items():
                begin = time.perf_counter()
                backend.infer(batches[name])
                best[name] = min(best[name], time.perf_counter() - begin)
    return {
        name: batches[name].size / batches[name].shape[1] / 1e6 / max(took, 1e-9)
        for name, took in best.items()
    }, errors


def cache_file() -> Path:
    """Return where answers are kept."""
    folder = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says to ignore what is no absolute path.
    root = Path(folder) if Path(folder).is_absolute() else Path("~/.cache").expanduser()
    return root / "adnet" / "fastest.json"


def _choice(rates: Rates, when: str) -> Choice:
    default = next(iter(rates))
    best = max(rates, key=lambda name: rates[name])
    if rates[best] < _CLEARLY * rates[default]:
        best = default
    told = ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
    how = (
        "the default is the fastest"
        if best == default
        else f"{rates[best] / rates[default]:.2f} times as fast as {default}, the default"
    )
    return Choice(best, f"--backend auto: {best}, {how} (MPix/s, {when}: {told}).")


def _measure_apart(
    model: Path, names: Sequence[str], options: RunOptions, side: int
) -> tuple[Rates, dict[str, str]]:
    """Measure in a process of its own; one that crashes is told as such."""
    asked = json.dumps([str(model), list(names), asdict(options), side, _SECONDS])
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, asked],
            capture_output=True, timeout=_TIMEOUT, check=True,
        )  # fmt: skip
        rates, errors = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {}, dict.fromkeys(names, f"no answer after {_TIMEOUT:.0f} seconds")
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as err:
        return {}, {names[0]: f"measuring failed ({err})"} if names else {}
    return rates, errors


def _key(model: Path, names: Sequence[str], options: RunOptions, side: int) -> str:
    """Tell apart what may have different answers."""
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    told = {**versions(*_PACKAGES), "cpu": describe_cpu(), "model": digest, "tile": side,
            "backends": list(names), "options": replace(options, cache=None).given()}  # fmt: skip
    return json.dumps(told, sort_keys=True)


def _read_cache() -> dict[str, Rates]:
    """Return all answers; none where the file is missing or damaged."""
    try:
        found = json.loads(cache_file().read_text(encoding="utf-8"))
        return {
            str(key): {str(name): float(rate) for name, rate in rates.items()}
            for key, rates in found.items()
            if rates and all(float(rate) > 0 for rate in rates.values())
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _keep(key: str, rates: Rates) -> None:
    """Add an answer; where nothing can be written, the next run measures again."""
    known = list((_read_cache() | {key: rates}).items())[-_MOST_KEPT:]
    with suppress(OSError):
        cache_file().parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache_file(), json.dumps(dict(known), indent=1).encode())


if __name__ == "__main__":
    path_, names_, options_, side_, seconds_ = json.loads(sys.argv[1])
    print(  # noqa: T201
        json.dumps(measure(Path(path_), names_, RunOptions(**options_), side_, seconds_))
    )
