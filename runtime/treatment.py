"""How much of a result is taken, and how it is made: choices beside the model's own."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, get_args

from adnet.errors import UsageError
from adnet.runtime.choices import ColorMode


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done with an image besides sending it through the model.

    Raises:
        UsageError: out of range.
    """

    strength: float = 1.0
    """0 to 1: the result is (1 - strength) * input + strength * denoised, before it is rounded."""
    ensemble: bool = False
    """Take the mean over the eight orientations of the image: four turns, each mirrored, too.
    Eight times the work."""
    color_mode: ColorMode | None = None
    """How a colour image goes through a gray model: `planes`, each on its own, or `luma`, only the
    luma of ITU-R BT.601 (JPEG's Y), the chroma kept. None: planes where the model is gray."""

    def __post_init__(self) -> None:
        strength: Any = self.strength  # from Python, anything may come
        if not (isinstance(strength, Real) and 0 <= float(strength) <= 1):
            raise UsageError(f"strength must be from 0 to 1, got {self.strength!r}.")
        if self.color_mode not in (None, *get_args(ColorMode)):
            raise UsageError(
                f"color_mode must be {' or '.join(get_args(ColorMode))}, got {self.color_mode!r}."
            )
