"""Tell a lack of memory from other errors, whoever reports it, and say what helps."""

from __future__ import annotations

import re

_SIGNS = re.compile(
    r"out of memory|not enough memory|can(?:'t|not) allocate|failed to allocate|unable to allocate"
    r"|bad_?alloc|smaller than requested bytes|storage size calculation overflowed"
    r"|array is too big|maximum allowed dimension|overflow when unpacking long",
    re.IGNORECASE,
)
"""torch on a CPU, CUDA and NPUs, ONNX Runtime with its arena, C++ and NumPy, in their own words;
the last four say that not even the size can be counted."""

_PLACE = re.compile(r"^\[enforce fail at [^\]]*\]\s*(?:err == 0\.)?\s*")
"""Where in torch's source it happened, which helps no user."""

_MOST_CHARACTERS = 160

MEMORY_ERRORS = (MemoryError, RuntimeError, ValueError, TypeError)
"""What a lack of memory is raised as, though most errors of these classes are others."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, of the machine or of a device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, MEMORY_ERRORS) and bool(_SIGNS.search(str(error)))


def explain_memory_error(error: BaseException, smaller: str) -> str | None:
    """Say in one line that memory was too little, for what, and what to do.

    Args:
        error: what was raised.
        smaller: options that take less when they are smaller, such as `--tile or --batch`.

    Returns:
        None when the error is another.
    """
    if not is_out_of_memory(error):
        return None
    text = _PLACE.sub("", " ".join(str(error).split()))
    told = " ".join(re.split(r"(?<=\.)\s+", text)[:2])[:_MOST_CHARACTERS].rstrip(". ")
    found = f" ({told})" if told else ""
    less = f"A smaller {smaller} takes less; or use" if smaller else "Use"
    return f"not enough memory{found}. {less} a machine or device that has more free."
