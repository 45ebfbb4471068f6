"""How images are to be denoised, as plain values that can be sent to another process."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from adnet.images.float_range import Range
from adnet.images.image import DEFAULT_MAX_PIXELS
from adnet.models.shipped import require_fast_twin
from adnet.runtime.backend import RunOptions
from adnet.runtime.choices import AUTO, Pad
from adnet.runtime.denoiser import Denoiser, Sigma
from adnet.runtime.fastest import choose_backend
from adnet.runtime.loading import Limits, memory_for_images
from adnet.runtime.treatment import Treatment

if TYPE_CHECKING:
    from adnet.runtime.request import Request


@dataclass(frozen=True, slots=True)
class Settings:
    """What adnet-run is told about models and images; see `Denoiser` and `Limits`."""

    model: str | None = None
    backend: str | None = None
    tile: int | None = None
    batch: int | None = None
    pad: Pad | None = None
    value_range: Range | None = None
    options: RunOptions = field(default_factory=RunOptions)
    max_pixels: int = DEFAULT_MAX_PIXELS
    strip_metadata: bool = False
    max_memory: str | int | None = None
    """Of each process that denoises, such as 2G."""
    sigma: Sigma | None = None
    treatment: Treatment = field(default_factory=Treatment)
    quality: int | None = None
    """Of lossy formats."""

    @classmethod
    def of(cls, request: Request) -> Settings:
        """Take over what a request says of models and images."""
        model = None if request.model is None else str(request.model)
        return cls(
            require_fast_twin(model).name if request.fast else model,
            request.backend,
            request.tile,
            request.batch,
            request.pad,
            request.value_range,
            request.options,
            request.max_pixels,
            request.strip_metadata,
            request.max_memory,
            request.sigma,
            request.treatment,
            request.quality,
        )

    def settled(self) -> tuple[Settings, str]:
        """Choose the backend that was left to measuring (`AUTO`), for the machine this runs on.

        Returns:
            The same with the backend's name, and why that one; an empty text where none was chosen.

        Raises:
            UsageError: see `choose_backend`.
        """
        if self.backend != AUTO:
            return self, ""
        choice = choose_backend(self.model, self.options, self.tile)
        return replace(self, backend=choice.backend), choice.remark

    def open_denoiser(self) -> Denoiser:
        """Open the model.

        Raises:
            UsageError, ModelError, BackendUnavailable: see `Denoiser`.
        """
        return Denoiser(
            self.model,
            sigma=self.sigma,
            backend=self.settled()[0].backend,
            tile=self.tile,
            batch=self.batch,
            pad=self.pad,
            value_range=self.value_range,
            treatment=self.treatment,
            options=self.options,
        )

    def limits(self, denoiser: Denoiser, sharers: int = 1) -> Limits:
        """Return the limits of a run.

        Args:
            sharers: processes like this one that share the machine's memory.
        """
        memory, most = memory_for_images(denoiser, self.max_memory)
        if self.max_memory is None:
            memory, most = memory // sharers, most // sharers
        return Limits(
            self.max_pixels, self.strip_metadata, memory, most, self.value_range, self.quality
        )

    def with_threads(self, threads: int) -> Settings:
        """Return the same settings with CPU threads, unless they are chosen already."""
        if self.options.threads is not None:
            return self
        return replace(self, options=replace(self.options, threads=threads))

    def with_model(self, model: str) -> Settings:
        """Return the same settings with another model."""
        return replace(self, model=model)

    def for_result(self) -> dict[str, Any]:
        """Return what the pixels depend on."""
        options = self.options
        chosen = {
            "sigma": self.sigma,
            "treatment": None if self.treatment == Treatment() else asdict(self.treatment),
            "backend": self.backend,
            "tile": self.tile,
            "batch": self.batch,
            "pad": self.pad,
            "range": None if self.value_range is None else list(self.value_range),
            "precision": options.precision,
            "provider": options.provider,
            "compile": options.compile,
            "strip_metadata": self.strip_metadata or None,
        }
        return {name: value for name, value in chosen.items() if value is not None}
