"""Say what a run of adnet-run did, for people and for programs."""

from __future__ import annotations

from typing import Any

from adnet.images.formats.kinds import UNSUPPORTED
from adnet.images.scan import Found
from adnet.runtime.folder import Summary

_LINES = 10
"""Of what was left out, in the text; the JSON has all."""


def as_json(
    summary: Summary,
    found: Found,
    models: list[dict[str, str]],
    stopped_by: BaseException | None = None,
) -> dict[str, Any]:
    """Build what --json prints.

    Args:
        models: as `Denoiser.describe` gives them.
        stopped_by: the KeyboardInterrupt or error that ended the run early.
    """
    interrupted = isinstance(stopped_by, KeyboardInterrupt)
    return {
        "written": summary.written,
        "skipped": summary.skipped,
        "failed": [{"input": path, "error": text} for path, text in summary.failed],
        "not_taken": {
            "by_suffix": dict(sorted(found.other_files.items())),
            "left_out": [{"path": path, "reason": reason} for path, reason in found.left_out],
        },
        "interrupted": interrupted,
        "error": None if interrupted or stopped_by is None else str(stopped_by),
        "megapixels": summary.pixels / 1e6,
        "seconds": summary.seconds,
        "models": models,
        "notes": _remarks(summary),
        "kept_differently": [{"input": path, "note": text} for path, text in summary.notes],
    }


def as_text(summary: Summary, found: Found) -> str:
    """Build the lines that a finished run ends with."""
    rate = summary.pixels / 1e6 / summary.seconds if summary.seconds else 0.0
    done = (
        f"{len(summary.written)} denoised, {summary.skipped} skipped (output exists), "
        f"{len(summary.failed)} failed; {summary.pixels / 1e6:.2f} MPix in "
        f"{summary.seconds:.1f} s, {rate:.2f} MPix/s"
    )
    lines = [done]
    lines += [f"note: {remark}" for remark in _remarks(summary)]
    lines += [f"note: {path}: {text}" for path, text in summary.notes[:_LINES]]
    if (more := len(summary.notes) - _LINES) > 0:
        lines.append(f"note: {more} more, which --json lists")
    if found.other_files:
        lines.append(f"ignored: {found.describe_other_files()}")
    lines += [
        f"ignored: {suffix}: {UNSUPPORTED[suffix]}"
        for suffix in sorted(found.other_files)
        if suffix in UNSUPPORTED
    ]
    lines += [f"left out: {path}: {reason}" for path, reason in found.left_out[:_LINES]]
    if (more := len(found.left_out) - _LINES) > 0:
        lines.append(f"left out: {more} more, which --json lists")
    return "\n".join(lines)


def _remarks(summary: Summary) -> list[str]:
    gray = _gray_note(summary)
    return [*summary.remarks, *([gray] if gray else [])]


def _gray_note(summary: Summary) -> str:
    if not summary.colour_with_gray:
        return ""
    return (
        f"{summary.colour_with_gray} colour images were denoised by the gray model, plane by plane."
    )
