"""What is measured: backends and peers opened on models, or why not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adnet.benchmarks.peers import PEERS
from adnet.benchmarks.peers.peer import PeerModel
from adnet.benchmarks.results import CandidateRecord
from adnet.errors import AdnetError, BackendUnavailable, ModelError, UsageError
from adnet.models.shipped import resolve_model
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.registry import BackendEntry, backends, import_backend

if TYPE_CHECKING:
    from adnet.runtime.backend import Backend, RunOptions

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CandidateSource:
    """What a candidate is opened from; can be sent to another process."""

    backend: str
    model: Path
    options: RunOptions
    peer_model: PeerModel | None = None
    """What a peer reads; None for a backend of ours."""

    def open(self, stack: ExitStack, name: str | None = None) -> Candidate:
        """Open it; `stack` closes it.

        Raises:
            AdnetError: the backend is not there, or does not run this model.
        """
        if self.peer_model is None:
            denoiser = stack.enter_context(
                Denoiser(self.model, backend=self.backend, options=self.options)
            )
            # For colour: a gray model takes it plane by plane.
            return Candidate(name or self.backend, self, denoiser.model_for(3), denoiser)
        try:
            kind = import_backend(self.backend, PEERS[self.backend])
            peer: Backend = kind(self.peer_model, self.options.threads)
        except AdnetError:
            raise
        except Exception as err:  # of another project: it must not end the run
            raise BackendUnavailable(f"{self.backend}: {err!r}") from err
        return Candidate(name or self.backend, self, stack.enter_context(peer), None)


@dataclass
class Candidate:
    """One backend with its model, as `adnet-run` would use it; or a peer."""

    name: str
    source: CandidateSource
    backend: Backend
    denoiser: Denoiser | None
    """None for a peer, which denoises images whole."""
    error: str | None = None
    """Why it was given up; None while it works."""

    @property
    def is_peer(self) -> bool:
        """Whether it stands for what others would use."""
        return self.denoiser is None

    @property
    def precision(self) -> str:
        """Of its arithmetic."""
        return self.backend.describe().get("precision", "fp32")

    @property
    def is_simulated(self) -> bool:
        """Whether a simulated device answers: its times mean nothing."""
        return self.backend.describe().get("simulated") == "yes"

    @cached_property
    def model_sha256(self) -> str:
        """Digest of the model file."""
        return hashlib.sha256(self.source.model.read_bytes()).hexdigest()

    def denoise(self, noisy: Float32) -> Float32:
        """Denoise (H, W) or (H, W, 3) float32; not clipped."""
        if self.denoiser is not None:
            return self.denoiser(noisy)
        planes = np.ascontiguousarray(np.atleast_3d(noisy).transpose(2, 0, 1)[None])
        result: Float32 = self.backend.infer(planes)[0].transpose(1, 2, 0).reshape(noisy.shape)
        return result

    def record(self) -> CandidateRecord:
        """Describe it for a result."""
        facts = {key: str(value) for key, value in self.backend.describe().items()}
        return CandidateRecord(
            name=self.name,
            backend=self.source.backend,
            model=str(self.source.model),
            model_sha256=self.model_sha256,
            weights_sha256=self.backend.card.weights_sha256,
            channels=self.backend.card.channels,
            device=facts.get("device", "unknown"),
            precision=self.precision,
            is_peer=self.is_peer,
            is_simulated=self.is_simulated,
            facts=facts,
        )


@dataclass(slots=True)
class Candidates:
    """Those that could be opened, and why others could not."""

    opened: list[Candidate] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Peers that were asked for by name and could not be opened."""


@contextmanager
def open_candidates(
    names: Sequence[str],
    models: Sequence[str],
    options: RunOptions,
    peers: Sequence[str] = (),
) -> Iterator[Candidates]:
    """Open every backend on every model that it runs.

    A model that only some of the backends run (int8 is not for PyTorch) is left out of the others.

    Args:
        names: backends, or `all` for every one that some model and this machine allow.
        models: names of shipped models or paths.
        options: given to every backend that is named; with `all` to those that have them.
        peers: of `PEERS`, or `all` for those that are installed; they run the first model that they
            read.

    Raises:
        UsageError: an unknown backend, or one that none of the models runs on, or a model that none
            of the backends runs; an unknown peer, or one that no model is for.
        AdnetError: a backend or model that was named cannot be opened. (A peer that cannot does not
            end the run.)
    """
    titles = _titles([resolve_model(model) for model in models])
    found = Candidates()
    with ExitStack() as stack:
        problems: dict[Path, AdnetError] = {}
        is_named = "all" not in names
        for name in list(dict.fromkeys(names)) if is_named else list(backends()):
            _open_backend(name, titles, options, found, stack, problems, is_named=is_named)
        used = {candidate.source.model for candidate in found.opened}
        for path in titles:
            if path not in used and is_named:
                told = ", ".join(dict.fromkeys(one.source.backend for one in found.opened))
                raise problems.get(path) or UsageError(f"{path}: none of {told} runs such a file.")
        for name in list(PEERS) if "all" in peers else list(dict.fromkeys(peers)):
            _open_peer(name, list(titles), options, found, stack, is_named="all" not in peers)
        yield found


def _open_backend(
    name: str,
    titles: Mapping[Path, str],
    options: RunOptions,
    found: Candidates,
    stack: ExitStack,
    problems: dict[Path, AdnetError],
    *,
    is_named: bool,
) -> None:
    """Open one backend on the models; `problems` gets the errors of those that it does not run."""
    entry = _entry(name, backends(), "backend")
    fitting = [path for path in titles if path.suffix.lower() in entry.suffixes]
    if not fitting and is_named:
        raise UsageError(
            f"the {name} backend runs {', '.join(entry.suffixes)} files; given: "
            f"{', '.join(map(str, titles))}. Add one with --model."
        )
    ours: list[Candidate] = []
    for path in fitting:
        title = name if len(fitting) == 1 else f"{name} {titles[path]}"
        try:
            candidate = CandidateSource(name, path, options).open(stack, title)
        except AdnetError as err:
            # `all` means all that can run here; and of several models some may be for others.
            if is_named and not (isinstance(err, ModelError) and len(fitting) > 1):
                raise
            found.left_out[title] = str(err)
            problems[path] = err
            continue
        alike = [one for one in ours if one.model_sha256 == candidate.model_sha256]
        if alike:
            raise UsageError(
                f"{path}: holds the same as {alike[0].source.model}. Give each model once."
            )
        ours.append(candidate)
    if len(ours) == 1:
        ours[0].name = name
    found.opened += ours


def _open_peer(
    name: str,
    paths: Sequence[Path],
    options: RunOptions,
    found: Candidates,
    stack: ExitStack,
    *,
    is_named: bool,
) -> None:
    try:
        found.opened.append(_peer(name, paths, options, stack).open(stack))
    except AdnetError as err:
        if is_named and isinstance(err, UsageError) and not isinstance(err, BackendUnavailable):
            raise
        (found.failed if is_named else found.left_out)[name] = str(err)


def _peer(
    name: str, paths: Sequence[Path], options: RunOptions, stack: ExitStack
) -> CandidateSource:
    entry = _entry(name, PEERS, "peer")
    refused = [f"--{key}" for key in options.given() if key not in ("threads", "streams")]
    if refused and options.device != "cpu":
        raise UsageError(
            f"{name}: peers run on the CPU, in the precision that their name tells. Leave out "
            f"{', '.join(refused)}, or them."
        )
    path = next((one for one in paths if one.suffix.lower() in entry.suffixes), None)
    if path is None:
        raise UsageError(f"{name}: needs a model as {' or '.join(entry.suffixes)}; add one.")
    model = PeerModel.read(path)
    kind = import_backend(name, entry)
    folder = stack.enter_context(TemporaryDirectory(prefix="adnet-peer-"))
    try:
        return CandidateSource(name, path, options, kind.prepare(model, Path(folder)))
    except Exception as err:  # of another project: it must not end the run
        raise BackendUnavailable(f"{name}: {err!r}") from err


def _titles(paths: Sequence[Path]) -> dict[Path, str]:
    """Name each path by as much of its end as tells it apart: every run has its best.pth."""
    every = list(dict.fromkeys(paths))
    titles = {}
    for path in every:
        for count in range(1, len(path.absolute().parts) + 1):
            end = path.absolute().parts[-count:]
            if sum(other.absolute().parts[-count:] == end for other in every) == 1:
                break
        titles[path] = "/".join(end)
    return titles


def _entry(name: str, table: Mapping[str, BackendEntry], what: str) -> BackendEntry:
    if name not in table:
        raise UsageError(f"unknown {what} {name!r}; there are {', '.join(table)}, all.")
    return table[name]
