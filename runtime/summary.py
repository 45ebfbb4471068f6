"""What a run did: image by image, and as a whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from adnet.images.scan import Found


@dataclass(slots=True)
class ImageReport:
    """What became of one input."""

    input: Path
    output: Path
    status: Literal["written", "skipped", "failed"]
    reason: str | None = None
    """Why it was skipped or failed; with sigma given or estimated, why this model was taken."""
    model: str | None = None
    sigma: float | None = None
    """The estimate of its noise on the 0-255 scale, where one was asked for."""
    seconds: float | None = None
    """Of denoising; reading and writing go on beside it."""
    notes: list[str] = field(default_factory=list)
    """What could not be kept as it was, and what its decoder complained about."""
    compared: dict[str, Any] | None = None
    """The picture of --compare, and PSNR and SSIM by --reference."""

    def as_json(self) -> dict[str, Any]:
        """Return it for `json.dumps`."""
        return asdict(self)


@dataclass(slots=True)
class Summary:
    """What a run did."""

    written: list[Path] = field(default_factory=list)
    skipped: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    pixels: int = 0
    seconds: float = 0.0
    colour_with_gray: int = 0
    """Colour images that the gray model denoised plane by plane."""
    remarks: list[str] = field(default_factory=list)
    """On the run as a whole: sentences."""
    notes: list[tuple[Path, str]] = field(default_factory=list)
    """What could not be kept as it was: the input, and a sentence."""
    images: list[ImageReport] = field(default_factory=list)
    """Every input that was taken, in the order in which they were finished."""
    found: Found = field(default_factory=Found)
    """What the input folders hold beside images."""
    models: list[dict[str, str]] = field(default_factory=list)
    """What ran, as `Denoiser.describe` tells."""

    def remark(self, text: str) -> None:
        """Add a remark, once."""
        if text not in self.remarks:
            self.remarks.append(text)
