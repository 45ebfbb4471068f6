"""Results of adnet-bench as Markdown, which is also what the terminal shows."""

from __future__ import annotations

from collections.abc import Sequence

from adnet.benchmarks.compare import Change
from adnet.benchmarks.results import Result
from adnet.benchmarks.sections import environment_text, remarks, sections


def markdown(result: Result) -> str:
    """Show a result: where it ran, what was measured, what failed."""
    lines = [environment_text(result), f"`{result.environment.command}`"]
    for section in sections(result):
        lines += ["", *table(section.head, section.rows)]
        if section.note:
            lines += ["", section.note]
    for remark in remarks(result):
        lines += ["", remark]
    return "\n".join(lines)


def markdown_changes(changes: Sequence[Change]) -> str:
    """Show a comparison."""
    rows = [
        [
            change.what,
            f"{change.before:.4g}" if change.ratio else f"{change.before:.4f}",
            f"{change.after:.4g}" if change.ratio else f"{change.after:.4f}",
            str(change.ratio) if change.ratio else f"{change.after - change.before:+.4f} dB",
            "regression" if change.is_regression else "",
        ]
        for change in changes
    ]
    return "\n".join(table(["", "before", "after", "after / before (95 %)", ""], rows))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, columns aligned for the terminal."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [head, *rows]
    ]
    lines.insert(1, "| " + " | ".join("-" * max(3, width) for width in widths) + " |")
    return lines
