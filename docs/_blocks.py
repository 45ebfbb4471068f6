"""The code blocks of a page, and which of them the tests cannot run.

A block after the comment `<!-- not run: WHY -->` is not run. Of the others, lines that `NEEDS`
finds are left out. The site shows both beneath the block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

NEEDS = {
    r"--gpus|--device cuda|--provider (cuda|tensorrt)": "an NVIDIA GPU",
    r"--npus|--device npu( |$)|--backend npu": "an Ascend NPU",
    r"--nodes|--rendezvous": "a second machine",
    r"adnet-data fetch": "the network",
    r"http\.server": "Ctrl-C to end",
}
"""What a line with these options needs; docs/ascend.md runs on a simulated machine."""

_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>[^>]+?) -->\n)?```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    text: str
    end: int
    """Where it ends in the page."""
    why: str | None
    """Why it is not run; None if it is."""

    def needs(self) -> list[str]:
        """Name what some of its lines need."""
        if self.language != "bash" or self.why is not None:
            return []
        return [
            what for option, what in NEEDS.items() if re.search(option, self.text, re.MULTILINE)
        ]

    def runnable(self) -> str:
        """Return its text without the lines that need something."""
        if self.why is not None:
            return ""
        lines = self.text.replace("\\\n", "\\\0").splitlines()
        kept = [line for line in lines if not any(re.search(one, line) for one in NEEDS)]
        return "\n".join(kept).replace("\\\0", "\\\n")


def blocks(page: str) -> Iterator[Block]:
    """Find the fenced blocks of a page that have a language."""
    for found in _FENCE.finditer(page):
        yield Block(found["language"], found["text"], found.end(), found["why"])


def with_reasons(page: str) -> str:
    """Say beneath each block what of it the tests do not run."""
    out, start = [], 0
    for block in blocks(page):
        told = ""
        if block.why is not None:
            told = f"\n\n*Not run by the tests: {block.why}.*\n"
        elif needs := block.needs():
            told = f"\n\n*Not run by the tests: the lines that need {' or '.join(needs)}.*\n"
        out += [page[start : block.end], told]
        start = block.end
    return "".join(out) + page[start:]
