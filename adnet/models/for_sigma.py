"""Which of the shipped models suits a noise level."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

from adnet.errors import UsageError
from adnet.models.card import ModelCard
from adnet.models.shipped import FAST_SUFFIX, PretrainedModel, default_model, pretrained_models

_NEAR = (0.96, 1.06)
"""Around its level, as a share of it, a model of a single level beats the blind one; measured on
held-out training images, see docs/run.md. Above it more is lost than is gained below: noise is
left."""
_NEAR_STRONG = (0.98, 1.06)
"""The same for levels above `_STRONG`."""
_STRONG = 30.0

_CLIPPED = {1: 255.0, 3: 30.0}
"""Planes -> the level above which the blind model is taken all the same: noise of integer pixels
is clipped at black and white, of which the single-level models saw nothing. For 8-bit colour images
that costs more than they gain from about here, see docs/run.md."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model for a noise level."""

    model: PretrainedModel
    reason: str
    """A sentence for the user."""


def model_for_sigma(sigma: float, channels: int) -> Choice:
    """Choose the shipped model for a noise level.

    A model of a single level where it was measured to be better than the blind one, else the
    blind one.

    Args:
        sigma: on the 0-255 scale.
        channels: colour planes of the image, 1 or 3.

    Raises:
        UsageError: that is no noise level.
    """
    require_sigma(sigma)
    blind = default_model(channels)
    single = [
        one for one in pretrained_models()
        if one.card.channels == blind.card.channels and one.card.is_blind is False
        and not one.name.endswith(FAST_SUFFIX) and is_near(one.card, sigma)
        and one_level(one.card) <= _CLIPPED[blind.card.channels]
    ]  # fmt: skip
    if single:
        best = min(single, key=lambda one: abs(one.card.noise_range()[0] - sigma))
        level = one_level(best.card)
        return Choice(best, f"sigma {sigma:.3g} is near {level:g}, so {best.name} was used")
    reason = f"sigma {sigma:.3g}: {blind.name} was used"
    return Choice(blind, reason + beyond(blind.card, sigma))


def require_sigma(sigma: float) -> float:
    """Return a noise level that is one.

    Raises:
        UsageError: it is not from 0 to 255.
    """
    given: Any = sigma  # from Python, anything may come
    if not (isinstance(given, Real) and 0 <= float(given) <= 255):
        raise UsageError(
            f"sigma must be from 0 to 255, on the scale of 8-bit pixels, got {sigma!r}."
        )
    return sigma


def is_near(card: ModelCard, sigma: float) -> bool:
    """Tell whether a level is so near to that of a model of a single level that it is the better.

    One of a range of levels is near all that it was trained for.
    """
    if card.is_blind is not False:
        return card.covers(sigma)
    level = one_level(card)
    low, high = _NEAR if level <= _STRONG else _NEAR_STRONG
    return low * level <= sigma <= high * level


def one_level(card: ModelCard) -> float:
    """Return the level of a model of a single level."""
    return card.noise_range()[0]


def beyond(card: ModelCard, sigma: float) -> str:
    """Say that a model was not trained for a level; empty where it was."""
    if is_near(card, sigma):
        return ""
    return f", which was trained for {card.describe_sigma()}"
