"""Words that a caller from Python gives: known, or told with those that are like them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import Any

from adnet.errors import UsageError
from adnet.storage import is_address

OF_DENOISER = frozenset(
    {"sigma", "backend", "tile", "batch", "pad", "value_range", "treatment", "options"}
)
"""Words of `Denoiser`, beside the fields of `Treatment` and `RunOptions`."""

_NESTED = {"naming", "treatment", "options", "inputs", "output"}
"""Not to be asked for by these words: their fields are, and the first two arguments."""


def require_words(
    asked: Mapping[str, Any], known: Iterable[str], nested: Iterable[str] = ()
) -> None:
    """Refuse a word that is no option.

    Args:
        nested: further words to name; they were taken out of `asked` before.

    Raises:
        TypeError: naming those that are like it.
    """
    known = set(known)
    listed = sorted((known | set(nested)) - _NESTED)
    for word in asked:
        if word not in known:
            close = difflib.get_close_matches(word, listed, n=3)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise TypeError(f"there is no option {word!r}.{hint} Options: {', '.join(listed)}.")


def require_path(place: object) -> None:
    """Refuse what names no file or folder here; an empty text would mean the folder one is in.

    Raises:
        TypeError: it is neither text nor a path.
        UsageError: it is empty, an address, or holds a NUL character.
    """
    if not isinstance(place, str | PathLike):
        raise TypeError(f"expected a path as str or Path, got {type(place).__name__}.")
    if isinstance(place, str) and is_address(place):
        raise UsageError(f"{place}: addresses are for the program: adnet-run {place} ...")
    text = fspath(place)
    if not text or "\0" in str(text):
        raise UsageError(f"{text!r}: expected a path; it is empty, or holds a NUL character.")
