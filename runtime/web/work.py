"""Carry out an order: the same `Denoiser` and `run_jobs` as adnet-run, file by file."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from adnet.errors import AdnetError, UsageError
from adnet.images.float_range import NOMINAL, Range
from adnet.models.shipped import fast_twin
from adnet.runtime.backend import RunOptions
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import Job
from adnet.runtime.loading import Limits, memory_for_images
from adnet.runtime.progress import Listener
from adnet.runtime.treatment import Treatment
from adnet.runtime.web.facts import Files, judge, measure
from adnet.runtime.web.store import Kept
from adnet.runtime.web.words import on_page

State = Literal["waiting", "running", "done", "cancelled", "failed"]


_HUGE = 1e30
"""Beyond what any setting can be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a visitor may choose; the same words as adnet-run's options.

    Raises:
        UsageError: an unknown name, or a value of the wrong kind.
    """

    model: str | None = None
    """Name of a model that the server offers; None: the one that suits the image."""
    sigma: float | Literal["auto"] | None = None
    strength: float = 1.0
    ensemble: bool = False
    fast: bool = False
    backend: str | None = None
    where: str | None = None
    """Device, or provider of ONNX Runtime."""
    black: float | None = None
    """Of float images; None: 0, where `white` is given."""
    white: float | None = None
    """Of float images; None: 1, where `black` is given."""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Settings:
        """Read what the page sent."""
        kinds: dict[str, tuple[type, ...]] = {
            "model": (str,), "sigma": (int, float, str), "strength": (int, float),
            "ensemble": (bool,), "fast": (bool,), "backend": (str,), "where": (str,),
            "black": (int, float), "white": (int, float),
        }  # fmt: skip
        given = {key: value for key, value in data.items() if value is not None}
        for key, value in given.items():
            wrong = key not in kinds or not isinstance(value, kinds[key])
            if wrong or (isinstance(value, bool) and bool not in kinds[key]):
                raise UsageError(f"{key}: no such setting, or not of its kind; got {value!r}.")
        if isinstance(given.get("sigma"), str) and given["sigma"] != "auto":
            raise UsageError(f"sigma must be a number or auto, got {given['sigma']!r}.")
        for key, value in given.items():
            # Written so that NaN is refused, too; and whole numbers can be beyond any float.
            if isinstance(value, int | float) and not -_HUGE < value < _HUGE:
                raise UsageError(f"{key}: expected a number of usual size.")
        return cls(**given)

    @property
    def value_range(self) -> Range | None:
        """Black and white of float images; None: as they are meant to be."""
        if self.black is None and self.white is None:
            return None
        black, white = NOMINAL
        return (
            black if self.black is None else float(self.black),
            white if self.white is None else float(self.white),
        )

    def open(self, models: Mapping[str, Path]) -> Denoiser:
        """Open the denoiser.

        Args:
            models: what the server offers, by name.

        Raises:
            UsageError: the settings do not go together, or the model is not offered.
            AdnetError: as `Denoiser`.
        """
        model: str | Path | None = self.model
        if self.model is not None and self.model not in models:
            raise UsageError(f"there is no model {self.model!r} here; {', '.join(models)} are.")
        if self.fast:
            twin = None if self.model is None else fast_twin(self.model)
            if twin is None:
                raise UsageError(
                    f"fast: {self.model or 'what suits the image by itself'} has no int8 model "
                    "beside it. Choose another model, or leave fast out."
                )
            model = twin.path
        elif self.model is not None:
            model = models[self.model]
        is_provider = self.backend in (None, "onnx")
        options = RunOptions(
            provider=self.where if is_provider else None,
            device=None if is_provider else self.where,
        )
        treatment = Treatment(strength=float(self.strength), ensemble=self.ensemble)
        return Denoiser(
            model, sigma=self.sigma, backend=self.backend, treatment=treatment, options=options,
            value_range=self.value_range,
        )  # fmt: skip


class CancelledError(AdnetError):
    """The visitor does not want it any more."""


@dataclass(slots=True)
class Result:
    """What became of one file."""

    name: str
    files: Files
    error: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Order:
    """Files to denoise, and how far that is."""

    files: Sequence[Kept]
    settings: Settings
    folder: Path
    reference: Kept | None = None
    """The first file without noise."""
    key: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "waiting"
    error: str | None = None
    fraction: float = 0.0
    results: list[Result] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    has_room: Callable[[], bool] = lambda: True
    """Whether the visitor may have one more result."""
    leftover: Path | None = None
    """What to remove when it is no longer in work: nobody wants it any more."""

    def told(self) -> dict[str, Any]:
        """Return what the page is told; ready for JSON."""
        results = [
            {"name": one.name, "error": one.error, "facts": one.facts} for one in self.results
        ]
        return {
            "state": self.state, "error": self.error, "fraction": round(self.fraction, 4),
            "files": len(self.files), "results": results,
        }  # fmt: skip


def carry_out(order: Order, open_for: Callable[[Settings], Denoiser], max_pixels: int) -> None:
    """Denoise the files of an order one by one; it knows its state at any time.

    Args:
        open_for: returns a denoiser, which stays open.
        max_pixels: of one file.
    """
    order.state = "running"
    try:
        denoiser = open_for(order.settings)
        for number, kept in enumerate(order.files):
            if order.stop.is_set():
                break
            order.results.append(_denoise(order, number, kept, denoiser, max_pixels))
            order.fraction = (number + 1) / len(order.files)
        order.state = "cancelled" if order.stop.is_set() else "done"
    except AdnetError as err:
        order.state, order.error = "failed", on_page(str(err), {})
    except Exception as err:  # noqa: BLE001  (one order must not end the server)
        order.state, order.error = "failed", f"unexpected {type(err).__name__}: {err}"


def _denoise(order: Order, number: int, kept: Kept, denoiser: Denoiser, max_pixels: int) -> Result:
    clean = order.reference.path if number == 0 and order.reference else kept.clean
    target = order.folder / f"{number}{kept.path.suffix}"
    value_range = order.settings.value_range or NOMINAL
    result = Result(kept.name, Files(kept.path, target, clean, value_range))
    if not order.has_room():
        result.error = (
            f"{kept.name}: was not denoised, files and results take all the room that one visitor "
            "has. Give fewer at once, or use adnet-run."
        )
        return result

    def on_pixels(done: int, of_image: int) -> None:
        if order.stop.is_set():
            raise CancelledError("cancelled.")
        order.fraction += done / of_image / len(order.files)

    names = {kept.path: kept.name, target: kept.name}
    if order.reference is not None:
        names[order.reference.path] = order.reference.name
    limits = Limits(
        max_pixels, False, *memory_for_images(denoiser, None), order.settings.value_range
    )
    begin = time.monotonic()
    summary = run_jobs(
        [Job(kept.path, target)], denoiser, overwrite=True, limits=limits,
        listener=Listener(on_pixels=on_pixels),
    )  # fmt: skip
    seconds = time.monotonic() - begin
    if summary.failed:
        result.error = on_page(summary.failed[0][1], names)
        return result
    notes = [on_page(text, names) for _, text in summary.notes]
    (report,) = summary.images
    by_name = {one["name"]: one for one in denoiser.describe()}
    ran = by_name.get(report.model or "", {})
    result.facts = {
        "seconds": round(seconds, 3), "notes": notes, "model": report.model, "why": report.reason,
        "ran": {key: ran[key] for key in ("backend", "device", "precision") if key in ran},
    }  # fmt: skip
    try:
        result.facts |= measure(result.files, max_pixels)
    except AdnetError as err:  # the file is there; only its figures are not
        notes.append(on_page(str(err), names))
    try:
        result.facts |= judge(result.files, max_pixels)
    except AdnetError as err:  # nor need a wrong reference keep the other figures back
        result.files = replace(result.files, clean=None)
        notes.append(on_page(str(err), names))
    return result
