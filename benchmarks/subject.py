"""What is measured: backends and peers opened on models, or why not."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from adnet.benchmarks.peers import PEERS
from adnet.runtime.backend import RunOptions
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.registry import BackendEntry, backends, import_backend
from numpy.typing import NDArray

from adnet.errors import AdnetError, BackendUnavailable, UsageError
from adnet.pretrained import resolve_model

if TYPE_CHECKING:
    from adnet.runtime.backend import Backend, RunKeywords

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to open a subject; can be sent to another process."""

    backend: str
    model: Path
    options: RunKeywords
    is_peer: bool = False

    def open(self, stack: ExitStack, name: str | None = None) -> Subject:
        """Open it; `stack` closes it.

        Raises:
            AdnetError: the backend is not there, or does not run this model.
        """
        begin = time.perf_counter()
        if self.is_peer:
            options = RunOptions(threads=self.options.get("threads"))
            # Of another project: whatever goes wrong there must not end the run.
            try:
                peer = import_backend(self.backend, PEERS[self.backend])(self.model, options)
            except AdnetError:
                raise
            except Exception as err:
                raise BackendUnavailable(f"{self.backend}: {err!r}") from err
            backend: Backend = stack.enter_context(peer)
            denoiser = None
        else:
            denoiser = stack.enter_context(
                Denoiser(self.model, backend=self.backend, **self.options)
            )
            backend = denoiser.model_for(3)  # a gray model takes colour plane by plane
        seconds = time.perf_counter() - begin
        return Subject(name or self.backend, self, backend, denoiser, seconds)


@dataclass(slots=True)
class Subject:
    """One backend with its model, as `adnet-run` would use it; or a peer."""

    name: str
    recipe: Recipe
    backend: Backend
    denoiser: Denoiser | None
    """None for a peer, which denoises images whole."""
    load_seconds: float
    error: str | None = None
    """Why it was given up; None while it works."""

    @property
    def is_simulated(self) -> bool:
        """Whether a simulated device answers: its times mean nothing."""
        return is_simulated(self.backend.describe())

    def denoise(self, noisy: Float32) -> Float32:
        """Denoise (H, W) or (H, W, 3) float32; not clipped."""
        if self.denoiser is not None:
            return self.denoiser(noisy)
        planes = np.ascontiguousarray(np.atleast_3d(noisy).transpose(2, 0, 1)[None])
        result: Float32 = self.backend.infer(planes)[0].transpose(1, 2, 0).reshape(noisy.shape)
        return result

    def facts(self) -> dict[str, Any]:
        """Describe it for a result; JSON types."""
        return {
            **self.backend.describe(),
            "subject": self.name,
            "backend": self.recipe.backend,
            "model": str(self.recipe.model),
            "model_sha256": hashlib.sha256(self.recipe.model.read_bytes()).hexdigest(),
            "weights_sha256": self.backend.card.weights_sha256,
            "channels": self.backend.card.channels,
            "is_peer": self.recipe.is_peer,
            "is_simulated": self.is_simulated,
            "load_s": self.load_seconds,
            "peak_memory_mb": None,
        }


@dataclass(slots=True)
class Subjects:
    """Those that could be opened, and why others could not."""

    opened: list[Subject] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


@contextmanager
def open_subjects(
    names: Sequence[str],
    models: Sequence[str],
    options: RunKeywords,
    peers: Sequence[str] = (),
) -> Iterator[Subjects]:
    """Open every backend on every model that it runs.

    The first model must open; a further one that a backend does not run (int8 on PyTorch), or that
    holds the same weights in the same precision, is left out.

    Args:
        names: backends, or `all` for every one that some model and this machine allow.
        models: names of shipped models or paths.
        options: given to every backend that is named; with `all` to those that have them.
        peers: of `PEERS`, or `all`; they run the first model that they read.

    Raises:
        UsageError: an unknown backend, or none of the models runs on it.
    """
    paths = [resolve_model(model) for model in models]
    is_all = "all" in names
    wanted = list(backends()) if is_all else list(dict.fromkeys(names))
    found = Subjects()
    with ExitStack() as stack:
        for name in wanted:
            entry = _entry(name, backends(), "backend")
            fitting = [one for one in paths if one.suffix.lower() in entry.suffixes]
            if not fitting and not is_all:
                raise UsageError(
                    f"the {name} backend runs {', '.join(entry.suffixes)} files; given: "
                    f"{', '.join(map(str, paths))}. Add one with --model."
                )
            ours: list[Subject] = []
            for path in fitting:
                is_first = path == fitting[0]
                title = f"{name} {path.name}"
                try:
                    subject = Recipe(name, path, options).open(stack, title)
                except AdnetError as err:
                    if is_first and not is_all:
                        raise
                    # `all` means all that can run here; what else was asked may not fit them.
                    found.left_out[title if len(fitting) > 1 else name] = str(err)
                    continue
                if any(_are_alike(subject, other) for other in ours):
                    found.left_out[title] = "the same weights in the same precision as another"
                    continue
                ours.append(subject)
            if len(ours) == 1:
                ours[0].name = name
            found.opened += ours
        for name in list(PEERS) if "all" in peers else list(dict.fromkeys(peers)):
            _open_peer(name, paths, options, found, stack)
        yield found


def _open_peer(
    name: str, paths: Sequence[Path], options: RunKeywords, found: Subjects, stack: ExitStack
) -> None:
    """Open a peer on the first model that it reads; one that cannot run is left out."""
    entry = _entry(name, PEERS, "peer")
    # A shipped model's checkpoint lies beside it in a source checkout.
    nearby = [*paths, *(path.with_suffix(".pth") for path in paths if path.suffix == ".onnx")]
    path = next((p for p in nearby if p.suffix.lower() in entry.suffixes and p.is_file()), None)
    if path is None:
        found.left_out[name] = f"needs a model as {' or '.join(entry.suffixes)}"
        return
    try:
        found.opened.append(Recipe(name, path, options, is_peer=True).open(stack))
    except AdnetError as err:
        found.left_out[name] = str(err)


def _entry(name: str, table: Mapping[str, BackendEntry], what: str) -> BackendEntry:
    if name not in table:
        raise UsageError(f"unknown {what} {name!r}; there are {', '.join(table)}, all.")
    return table[name]


def _are_alike(one: Subject, other: Subject) -> bool:
    return (
        one.backend.card.weights_sha256 == other.backend.card.weights_sha256
        and one.backend.describe() == other.backend.describe()
    )


def is_simulated(facts: Mapping[str, str]) -> bool:
    """Tell from a backend's description whether the tests' simulated device answers."""
    return "fakes" in facts.get("pyacl", "") + facts.get("torch_npu", "")
