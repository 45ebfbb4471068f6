"""A curve as SVG, without matplotlib, in the page's own colours."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

_WIDTH, _HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _FOOT = 64, 12, 10, 26
_MOST_POINTS = 1500


def curve(
    title: str, points: Sequence[tuple[float, float]], *, logarithmic: bool = False, digits: int = 2
) -> str:
    """Draw y over x.

    Args:
        title: what y is, plain text.
        points: (x, y) by rising x; what is not finite, or not positive on a logarithmic axis, is
            left out.
        logarithmic: the y axis.
        digits: behind the point, of the labels, at least; significant ones on a logarithmic axis.

    Returns:
        An SVG element; empty where fewer than two points are left.
    """
    good = [(x, math.log10(y) if logarithmic else y) for x, y in points
            if math.isfinite(y) and (y > 0 or not logarithmic)]  # fmt: skip
    if len(good) < 2:
        return ""
    step = math.ceil(len(good) / _MOST_POINTS)
    drawn = [*good[::step], good[-1]]
    low, high = min(y for _, y in good), max(y for _, y in good)
    high = high if high > low else low + 1
    first, last = good[0][0], good[-1][0]
    if not logarithmic:  # as many as tell the lines apart
        digits = max(digits, 1 - math.floor(math.log10((high - low) / 4)))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / ((last - first) or 1)
        up = (y - low) / (high - low)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _FOOT - up * (_HEIGHT - _TOP - _FOOT),
        )

    def told(y: float) -> str:
        return f"{10**y:.{digits}g}" if logarithmic else f"{y:.{digits}f}"

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in drawn))
    parts = [
        (
            f'<svg class="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            f'aria-label="{html.escape(title)}: from {told(good[0][1])} to {told(good[-1][1])}">'
        )
    ]
    for part in range(5):
        y = low + (high - low) * part / 4
        _, at = place(first, y)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{told(y)}</text>'
        )
    for x, anchor in ((first, "start"), ((first + last) / 2, "middle"), (last, "end")):
        across, _ = place(x, low)
        parts.append(
            f'<text x="{across:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{x:,.0f}</text>'
        )
    parts.append(f'<polyline points="{line}"/></svg>')
    return "".join(parts)
