"""Pictures of each image before and after, written beside a run's results."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from adnet.atomic import write_atomically
from adnet.errors import AdnetError, UsageError
from adnet.images.compare import draw, likeness
from adnet.images.float_range import NOMINAL, Range
from adnet.images.formats.kinds import FORMATS
from adnet.images.image import ImageFile, read_image
from adnet.runtime.jobs import Job, how_to_make, identity, is_suffix_of_file, refuse_within


@dataclass(frozen=True, slots=True)
class Comparison:
    """Draws `folder`/NAME.png for each image; NAME.jpg.png for NAME.jpg.

    Args:
        inputs: what was given; a picture lies where its image lies in such a folder.
    """

    folder: Path
    reference: Path | None = None
    inputs: Sequence[Path] = ()
    value_range: Range | None = None
    overwrite: bool = False
    """Draw again what is there."""

    def check(self, jobs: Sequence[Job]) -> None:
        """Make sure that no picture replaces anything but an older picture of the same image.

        Raises:
            UsageError: naming what would be replaced, or the folder that cannot be.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder}: --compare needs a folder, and this is a file.")
        if not self.folder.exists() and is_suffix_of_file(self.folder.suffix.lower()):
            raise UsageError(
                f"{self.folder}: --compare needs a folder, and this is named like a file. "
                f"{how_to_make(self.folder)}"
            )
        for given in self.inputs:
            if given.is_dir():
                refuse_within(self.folder, given, "pictures")
        taken = {identity(job.source): "an input" for job in jobs}
        taken |= {identity(job.target): "a result" for job in jobs}
        if self.reference is not None and _overlap(self.folder, self.reference):
            taken |= {identity(one): "a reference"
                      for job in jobs for one in self._references(job.source)}  # fmt: skip
        drawn: dict[str, Path] = {}
        for job in jobs:
            picture = self.picture(job.source)
            key = identity(picture)
            if key in taken:
                raise UsageError(
                    f"{picture}: the picture of {job.source} would replace {taken[key]}. "
                    "Choose another folder for --compare."
                )
            other = drawn.setdefault(key, job.source)
            if other is not job.source and identity(other) != identity(job.source):
                raise UsageError(
                    f"the pictures of {other} and {job.source} would both be {picture}. "
                    "Compare them in different runs."
                )

    def write(
        self, job: Job, file: ImageFile, denoised: Sequence[NDArray[Any]] | None
    ) -> dict[str, Any]:
        """Draw the first frame or page of an image; never fails.

        Args:
            denoised: None for one that was denoised in bands, which is not drawn.

        Returns:
            `picture`, and with a reference `before` and `after`, each with `psnr` and `ssim`;
            `note` where something is missing.
        """
        if denoised is None:
            return {"note": "too large to be drawn"}
        if not self.overwrite and self.picture(job.source).exists():
            return {"note": "the picture exists; --overwrite draws it again"}
        try:
            return self._write(job, file.pixels, denoised[0])
        except (AdnetError, OSError, ValueError, MemoryError) as err:
            return {"note": f"no picture was drawn: {err}"}

    def picture(self, source: Path) -> Path:
        """Return where the picture of an input goes."""
        place = self._place(source)
        name = place.name if place.suffix.lower() == ".png" else f"{place.name}.png"
        return self.folder / place.with_name(name)

    def _place(self, source: Path) -> Path:
        for given in self.inputs:
            if source != given and source.is_relative_to(given):
                return source.relative_to(given)
        return Path(source.name)

    def _write(self, job: Job, before: NDArray[Any], after: NDArray[Any]) -> dict[str, Any]:
        values = self.value_range or NOMINAL
        told: dict[str, Any] = {"picture": self.picture(job.source)}
        labels, panels = ["before", "after"], [before, after]
        if self.reference is not None:
            clean = self._clean(job.source)
            if clean is None:
                told["note"] = "there is no reference of that name"
            else:
                found = [likeness(one, clean, values) for one in panels]
                if found[0] is None or found[1] is None:
                    told["note"] = "the reference has another size or other colours"
                else:
                    for label, one in zip(("before", "after"), found, strict=True):
                        told[label] = asdict(one)  # type: ignore[arg-type]
                    labels = [f"{label} {one.told()}"
                              for label, one in zip(labels, found, strict=True) if one]  # fmt: skip
                    labels, panels = [*labels, "reference"], [*panels, clean]
        picture = draw(list(zip(labels, panels, strict=True)), values)
        told["picture"].parent.mkdir(parents=True, exist_ok=True)
        data = io.BytesIO()
        picture.save(data, "PNG")
        write_atomically(told["picture"], data.getvalue())
        return told

    def _clean(self, source: Path) -> NDArray[Any] | None:
        return next(
            (read_image(one).pixels for one in self._references(source) if one.is_file()), None
        )

    def _references(self, source: Path) -> list[Path]:
        """Where a reference may be: of the same name, or of its stem with an image's suffix."""
        if self.reference is None:
            return []
        place = self.reference / self._place(source)
        return [place, *(place.with_suffix(suffix) for suffix in FORMATS)]


def _overlap(one: Path, other: Path) -> bool:
    first, second = Path(identity(one)), Path(identity(other))
    return first.is_relative_to(second) or second.is_relative_to(first)
