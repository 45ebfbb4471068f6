"""Text for a terminal: names of files may hold what would move its cursor or clear it."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(text: str) -> str:
    r"""Write control characters but the line feed and the tab as \x1b and so on."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def one_line(text: str) -> str:
    r"""Write all control characters so, and a line feed as \n."""
    return shown(text.replace("\n", "\\n").replace("\t", "\\t"))
