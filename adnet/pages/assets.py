"""Style sheet and scripts of all pages."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "assets"

STYLE = "page.css"
COMPARE = "compare.js"
"""Before and after under a slider, zoomed down to pixels."""
NOISE = "noise.js"
"""What was removed, as a picture and a histogram."""
SHARED = (STYLE, COMPARE, NOISE)


def asset_path(name: str) -> Path:
    """Return where one of `SHARED` lies."""
    return _FOLDER / name


def read_asset(name: str) -> str:
    """Read one of `SHARED`."""
    return asset_path(name).read_text(encoding="utf-8")


def compare_script() -> str:
    """Return a module script that makes every `figure.compare` of a page work."""
    start = 'for (const one of document.querySelectorAll("figure.compare")) new Compare(one);'
    return f"{read_asset(COMPARE)}\n{start}\n"
