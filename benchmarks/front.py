"""The front of speed against quality: what nothing else beats in both."""

from __future__ import annotations

from dataclasses import dataclass

from adnet.benchmarks.results import Result

_TIE_DB = 0.0005
"""PSNR this close is the same: what is left is rounding, by which none should win."""


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate's speed and quality."""

    candidate: str
    is_peer: bool
    images_per_s: float
    psnr: float
    """In dB."""
    delta_psnr: float
    """To the reference of the quality table."""
    at_front: bool
    """No other one is faster and as good, or better and as fast."""


def points(result: Result) -> list[Point]:
    """Return the candidates with both figures, the fastest first.

    Speed is that of the run's first batch and size.
    """
    if not result.speed or not result.quality:
        return []
    cell = result.speed[0].batch, result.speed[0].size
    speed = {one.candidate: one for one in result.speed if (one.batch, one.size) == cell}
    both = [(speed[one.candidate], one) for one in result.quality if one.candidate in speed]
    found = []
    for fast, good in both:
        rate = fast.images_per_s.value
        beaten = any(
            (other.images_per_s.value > rate and like.psnr > good.psnr - _TIE_DB)
            or (other.images_per_s.value == rate and like.psnr > good.psnr + _TIE_DB)
            for other, like in both
            if other is not fast
        )
        found.append(
            Point(
                good.candidate, fast.is_peer, rate, good.psnr, good.delta_psnr, at_front=not beaten
            )
        )
    return sorted(found, key=lambda one: -one.images_per_s)
