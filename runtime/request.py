"""All that a run can be asked for, and how it is carried out: adnet-run and Python alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from adnet.errors import UsageError
from adnet.images.float_range import Range
from adnet.images.image import DEFAULT_MAX_PIXELS
from adnet.models.shipped import loss_of_fast, require_fast_twin
from adnet.runtime.backend import RunOptions
from adnet.runtime.choices import Pad, is_whole
from adnet.runtime.comparing import Comparison
from adnet.runtime.denoiser import Denoiser, Sigma
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import Job, Plan, make_plan
from adnet.runtime.loading import Limits
from adnet.runtime.naming import Naming
from adnet.runtime.progress import Listener
from adnet.runtime.settings import Settings
from adnet.runtime.summary import Summary
from adnet.runtime.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What adnet-run is asked for; the words are those of its options, see there.

    Raises:
        UsageError: two wishes do not go together.
    """

    inputs: Sequence[Path]
    output: Path | None = None
    """None: beside the inputs, where `naming` has a suffix."""
    naming: Naming = field(default_factory=Naming)
    quality: int | None = None
    """1 to 100, of JPEG and lossy WebP; None: a JPEG keeps its own, else 95."""
    model: str | Path | None = None
    fast: bool = False
    sigma: Sigma | None = None
    treatment: Treatment = field(default_factory=Treatment)
    backend: str | None = None
    options: RunOptions = field(default_factory=RunOptions)
    tile: int | None = None
    batch: int | None = None
    pad: Pad | None = None
    overwrite: bool = False
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_memory: str | int | None = None
    """Such as 2G, of the whole program."""
    value_range: Range | None = None
    strip_metadata: bool = False
    compare: Path | None = None
    """Folder for pictures of each image before and after."""
    reference: Path | None = None
    """Folder of clean images, by the names of the inputs."""

    def __post_init__(self) -> None:
        if self.fast and self.sigma is not None:
            raise UsageError("--fast takes the twin of --model, so --sigma cannot choose one.")
        if not is_whole(self.quality, 1, 100):
            raise UsageError(f"quality must be a whole number from 1 to 100, got {self.quality!r}.")
        if self.max_pixels is None or not is_whole(self.max_pixels, 1):
            raise UsageError(
                f"max_pixels must be a whole number of at least 1, got {self.max_pixels!r}."
            )
        if self.reference is not None and self.compare is None:
            raise UsageError("--reference is for the pictures of --compare DIR; give that, too.")
        if self.reference is not None and not self.reference.is_dir():
            raise UsageError(f"{self.reference}: no such folder.")

    def plan(self, *, may_be_empty: bool = False) -> Plan:
        """Find the images; see `make_plan` and `Comparison.check`."""
        plan = make_plan(self.inputs, self.output, self.naming, may_be_empty=may_be_empty)
        if (comparison := self._comparison()) is not None:
            comparison.check(plan.jobs)
        return plan

    def remarks(self) -> list[str]:
        """What is to be known of the choices."""
        if not self.fast:
            return []
        twin = require_fast_twin(None if self.model is None else str(self.model))
        return [f"--fast: {twin.name} computes in int8, {loss_of_fast(twin)}."]

    @contextmanager
    def opened(self) -> Iterator[Session]:
        """Open the model.

        Raises:
            UsageError, ModelError: see `Denoiser`.
        """
        settings, measured = Settings.of(self).settled()
        with settings.open_denoiser() as denoiser:
            limits = settings.limits(denoiser)
            yield Session(denoiser, limits, self.overwrite, self._comparison(), measured)

    def _comparison(self) -> Comparison | None:
        if self.compare is None:
            return None
        return Comparison(
            self.compare, self.reference, tuple(self.inputs), self.value_range, self.overwrite
        )


@dataclass(frozen=True, slots=True)
class Session:
    """An opened model, and what is to be done with each image."""

    denoiser: Denoiser
    limits: Limits
    overwrite: bool
    comparison: Comparison | None
    measured: str = ""
    """Why this backend, where it was chosen by measuring."""

    def run(self, jobs: Sequence[Job], listener: Listener, summary: Summary) -> None:
        """Denoise images; see `run_jobs`."""
        try:
            run_jobs(
                jobs,
                self.denoiser,
                overwrite=self.overwrite,
                limits=self.limits,
                listener=listener,
                summary=summary,
                comparison=self.comparison,
            )
        finally:
            self.tell(summary)

    def tell(self, summary: Summary) -> None:
        """Note what ran, and why so."""
        summary.models = self.denoiser.describe()
        for note in filter(None, (self.measured, self.denoiser.tiles_note)):
            summary.remark(note)


def run(request: Request, plan: Plan, listener: Listener, summary: Summary) -> Summary:
    """Carry out a request.

    Args:
        plan: as `Request.plan` makes it.
        listener: hears of progress.
        summary: filled in and returned, so that it can be told how far a run came that ended with
            an exception.

    Raises:
        UsageError, ModelError: nothing was begun.
        DeviceLostError: the device failed for good; images finished before are written.
    """
    summary.remarks += request.remarks()
    summary.found = plan.found
    summary.failed += plan.found.unreadable
    with request.opened() as session:
        session.run(plan.jobs, listener, summary)
    return summary
