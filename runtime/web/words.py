"""The messages of adnet-run in the words of the page, which has no command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_PAGE: tuple[tuple[str, str], ...] = (
    (r"If you trust the file, (raise|pass) --max-pixels( \d+)?\.", "adnet-run takes larger ones."),
    (r"with --range BLACK,WHITE, such as --range (\S+?)(?=[;.](?:\s|$))",
     r"under “Black, white”, such as \1"),
    (r"with --range 0,1 they", "with 0 and 1 they"),
    (r"--range BLACK,WHITE", "“Black, white”"),
    (r"Raise --max-memory by [^,]*, or convert", "Convert"),
    (r"Raise --max-memory by [^,]*, or run", "Run"),
    (r"use --backend (\w+)", r"let it run on \1"),
    # What is left is named without its dashes. Not in a path: our keys can begin with them.
    (r"(?<![\w/\\-])--([a-z]+)", r"\1"),
)  # fmt: skip


def on_page(text: str, names: Mapping[Path, str]) -> str:
    """Return a message as the page shows it.

    Args:
        names: of files, to be told instead of where they lie here.
    """
    for pattern, words in _PAGE:
        text = re.sub(pattern, words, text)
    for path, name in names.items():
        text = text.replace(str(path), name)
    return text
