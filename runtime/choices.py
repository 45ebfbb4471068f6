"""What options may be: of a few words one, or whole numbers.

Here, and not where they are used, since adnet-run's help needs no NumPy.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""Of the arithmetic, on a backend that leaves a choice; int8 is a file's, and asks for no other."""

Pad = Literal["reflect"]
"""What to do with an image smaller than the smallest of a model's fixed sizes."""

ColorMode = Literal["planes", "luma"]
"""How a colour image goes through a gray model."""

FileFormat = Literal["png", "jpg", "tiff", "webp", "bmp", "gif"]
"""What a result may be written as."""

AUTO = "auto"
"""What stands for the fastest backend, see `fastest`."""


def is_whole(value: Any, least: int, most: int | None = None) -> bool:
    """Tell whether a number from Python, where anything may come, is left out or a whole one."""
    if value is None:
        return True
    is_in = isinstance(value, Integral) and not isinstance(value, bool)
    return is_in and least <= int(value) and (most is None or int(value) <= most)
