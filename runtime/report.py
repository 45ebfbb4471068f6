"""Say what a run of adnet-run did, for people and for programs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from adnet.images.formats.kinds import UNSUPPORTED
from adnet.runtime.jobs import RESULT
from adnet.runtime.summary import Summary
from adnet.shown import one_line

_LINES = 10
"""Of what was left out, in the text; the JSON has all."""


def as_json(summary: Summary, stopped_by: BaseException | None = None) -> dict[str, Any]:
    """Build what --json prints.

    Args:
        stopped_by: the KeyboardInterrupt or error that ended the run early.
    """
    interrupted = isinstance(stopped_by, KeyboardInterrupt)
    found = summary.found
    return {
        "written": summary.written,
        "skipped": summary.skipped,
        "failed": [{"input": path, "error": text} for path, text in summary.failed],
        "images": [one.as_json() for one in summary.images],
        "not_taken": {
            "by_suffix": dict(sorted(found.other_files.items())),
            "left_out": [{"path": path, "reason": reason} for path, reason in found.left_out],
        },
        "interrupted": interrupted,
        "error": None if interrupted or stopped_by is None else str(stopped_by),
        "megapixels": summary.pixels / 1e6,
        "seconds": summary.seconds,
        "models": summary.models,
        "notes": _remarks(summary),
        "kept_differently": [{"input": path, "note": text} for path, text in summary.notes],
    }


def as_text(summary: Summary, *, only_notes: bool = False) -> str:
    """Build the lines that a finished run ends with."""
    rate = summary.pixels / 1e6 / summary.seconds if summary.seconds else 0.0
    found = summary.found
    again = "; --overwrite makes them again" if summary.skipped else ""
    done = (
        f"{len(summary.written)} denoised, {summary.skipped} skipped (output exists{again}), "
        f"{len(summary.failed)} failed; {summary.pixels / 1e6:.2f} MPix in "
        f"{summary.seconds:.1f} s, {rate:.2f} MPix/s"
    )
    lines = [] if only_notes else [done]
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
    left_out = [one for one in found.left_out if one[1] != RESULT]
    lines += [f"left out: {path}: {reason}" for path, reason in left_out[:_LINES]]
    if results := len(found.left_out) - len(left_out):
        lines.append(f"left out: {results} files named like results")
    if (more := len(left_out) - _LINES) > 0:
        lines.append(f"left out: {more} more, which --json lists")
    return "\n".join(map(one_line, lines))


def _remarks(summary: Summary) -> list[str]:
    told = [_gray_note(summary), _sigma_note(summary), *_compare_notes(summary)]
    return [*summary.remarks, *filter(None, told)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _gray_note(summary: Summary) -> str:
    if not summary.colour_with_gray:
        return ""
    were = "was" if summary.colour_with_gray == 1 else "were"
    images = _count(summary.colour_with_gray, "colour image")
    return f"{images} {were} denoised by the gray model, plane by plane."


def _sigma_note(summary: Summary) -> str:
    """Say what was estimated, and which models that led to."""
    levels = sorted(one.sigma for one in summary.images if one.sigma is not None)
    if not levels:
        return ""
    models = Counter(one.model for one in summary.images if one.sigma is not None)
    told = ", ".join(f"{name} for {count}" for name, count in models.most_common())
    span = f"{levels[0]:.1f}" if len(levels) == 1 else f"{levels[0]:.1f} to {levels[-1]:.1f}"
    return f"estimated noise: sigma {span}; {told}."


def _compare_notes(summary: Summary) -> list[str]:
    """Say how near the results are to the references, and what could not be compared."""
    compared = [(one.input, one.compared) for one in summary.images if one.compared]
    found = [one for _, one in compared if "after" in one]
    told = []
    if found:
        before, after = (
            sum(one[key]["psnr"] for one in found) / len(found) for key in ("before", "after")
        )
        references = _count(len(found), "reference")
        told.append(f"against {references}: {before:.2f} -> {after:.2f} dB, mean PSNR.")
    missing = [(path, one["note"]) for path, one in compared if "note" in one]
    told += [f"{path}: {note}." for path, note in missing[:_LINES]]
    if (more := len(missing) - _LINES) > 0:
        told.append(f"{more} more could not be compared, which --json lists.")
    return told
