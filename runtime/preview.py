"""What a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from adnet.errors import AdnetError
from adnet.images.image import check_writable
from adnet.images.scan import Found
from adnet.runtime.bands import estimate_in_bands
from adnet.runtime.budget import ByteBudget
from adnet.runtime.jobs import Job, Plan, is_done
from adnet.runtime.loading import band_rows_of, examine, load
from adnet.runtime.request import Request, Session
from adnet.shown import one_line


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of one input."""

    input: Path
    output: Path
    will: Literal["denoise", "skip", "fail"]
    how: str = ""
    """`whole` or `bands`."""
    reason: str = ""
    model: str = ""
    sigma: float | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it for `json.dumps`."""
        return asdict(self)

    def as_text(self) -> str:
        """Say it in one line."""
        if self.will != "denoise":
            return f"would {self.will}: {self.input}: {self.reason}"
        sigma = "" if self.sigma is None else f", estimated sigma {self.sigma:.1f}"
        return f"would denoise: {self.input} -> {self.output} ({self.model}, {self.how}{sigma})"


def preview(request: Request, plan: Plan) -> Iterator[Preview]:
    """Tell for each image what `request.run` would do; opens the model, writes nothing.

    Headers are read, and pixels where the noise is to be estimated: a file that is damaged further
    on may still fail.
    """
    with request.opened() as session:
        for job in plan.jobs:
            yield _tried(session, job)


def _tried(session: Session, job: Job) -> Preview:
    try:
        return _look(session, job)
    except AdnetError as err:
        reason = str(err).removeprefix(f"{job.source}: ")
        return Preview(job.source, job.target, "fail", reason=reason)


def _look(session: Session, job: Job) -> Preview:
    if is_done(job.target) and not session.overwrite:
        return Preview(job.source, job.target, "skip", reason="the output exists")
    denoiser, limits = session.denoiser, session.limits
    memory = ByteBudget(limits.memory).limit
    work = examine(job, limits, memory, band_rows_of(denoiser))
    file = work.file
    sigma = None
    if denoiser.sigma == "auto" and work.heights is not None:
        sigma = estimate_in_bands(work, denoiser, limits)
    elif denoiser.sigma == "auto" or file is None:
        file = load(work, limits)
        sigma = denoiser.estimate(file.pixels) if denoiser.sigma == "auto" else None
    if file is None:
        raise AssertionError("either was read")
    notes = check_writable(replace(file, quality=limits.quality), job.target, job.source)
    name = denoiser.model_for(file.colour_channels, sigma).card.name
    how = "whole" if work.heights is None else "bands"
    return Preview(job.source, job.target, "denoise", how, "", name, sigma, notes)


def as_lines(looked: Sequence[Preview], found: Found) -> Iterator[str]:
    """Say what a run would do, and what the folders hold besides."""
    for one in looked:
        yield one_line(one.as_text())
        for note in one.notes:
            yield one_line(f"note: {one.input}: {note}")
    if found.other_files:
        yield one_line(f"ignored: {found.describe_other_files()}")
    for path, reason in found.left_out:
        yield one_line(f"left out: {path}: {reason}")
