"""What is measured: backends opened on a model, or why not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from adnet.runtime.denoiser import Denoiser
from adnet.runtime.registry import backends

from adnet.errors import AdnetError, UsageError
from adnet.pretrained import resolve_model

if TYPE_CHECKING:
    from adnet.runtime.backend import Backend, RunKeywords


@dataclass(slots=True)
class Subject:
    """One backend with its model, as `adnet-run` would use it."""

    name: str
    model: Path
    denoiser: Denoiser
    backend: Backend
    load_seconds: float
    error: str | None = None
    """Why it was given up; None while it works."""

    @property
    def is_simulated(self) -> bool:
        """Whether a simulated device answers: its times mean nothing."""
        return is_simulated(self.backend.describe())


@dataclass(slots=True)
class Subjects:
    """Those that could be opened, and why the others of `all` could not."""

    opened: list[Subject] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


@contextmanager
def open_subjects(
    names: Sequence[str], models: Sequence[str], options: RunKeywords
) -> Iterator[Subjects]:
    """Open backends, each on the first model that it runs.

    Args:
        names: backends, or `all` for every one that some model and this machine allow.
        models: names of shipped models or paths.
        options: given to every backend that is named; with `all` to those that have them.

    Raises:
        UsageError: an unknown backend, or none of the models runs on it.
    """
    paths = [resolve_model(model) for model in models]
    wanted = list(backends()) if "all" in names else list(dict.fromkeys(names))
    found = Subjects()
    with ExitStack() as stack:
        for name in wanted:
            entry = backends().get(name)
            if entry is None:
                raise UsageError(
                    f"unknown backend {name!r}; there are {', '.join(backends())}, all."
                )
            path = next((one for one in paths if one.suffix.lower() in entry.suffixes), None)
            if path is None:
                if "all" in names:
                    continue
                raise UsageError(
                    f"the {name} backend runs {', '.join(entry.suffixes)} files; given: "
                    f"{', '.join(map(str, paths))}. Add one with --model."
                )
            begin = time.perf_counter()
            try:
                denoiser = stack.enter_context(Denoiser(path, backend=name, **options))
                backend = denoiser.model_for(3)  # a gray model takes colour plane by plane
            except AdnetError as err:
                if "all" not in names:
                    raise
                # `all` means all that can run here; what else was asked of them may not fit.
                found.left_out[name] = str(err)
                continue
            seconds = time.perf_counter() - begin
            found.opened.append(Subject(name, path, denoiser, backend, seconds))
        yield found


def is_simulated(facts: Mapping[str, str]) -> bool:
    """Tell from a backend's description whether the tests' simulated device answers."""
    return "fakes" in facts.get("pyacl", "") + facts.get("torch_npu", "")
