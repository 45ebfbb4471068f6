"""A result as titled tables of text: for the terminal, as Markdown, and for the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adnet.benchmarks.compare import Change
from adnet.benchmarks.front import points
from adnet.benchmarks.results import Result
from adnet.benchmarks.timing import Interval

_FEWEST_RUNS = 5
"""Resampled medians of fewer runs hold the true one less often than 95 % of the time."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table and what must be known to read it."""

    name: str
    """`candidates`, `speed`, `end_to_end`, `quality`, `front` or `scaling`."""
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def sections(result: Result) -> list[Section]:
    """Return the tables of all that was measured."""
    parts: list[Callable[[Result], Section]] = [
        _candidates, _speed, _end_to_end, _quality, _front, _scaling
    ]  # fmt: skip
    return [one for one in (part(result) for part in parts) if one.rows]


def environment_text(result: Result) -> str:
    """Say where, when and with what the result was made."""
    facts, machine = result.environment, result.machine
    versions = ", ".join(f"{name} {one}" for name, one in facts.versions.items())
    roofs = "" if machine is None else (
        f"; matrix product {machine.gflop_per_s:.0f} GFLOP/s, copy "
        f"{machine.copy_gb_per_s:.1f} GB/s"
    )  # fmt: skip
    return (
        f"{facts.cpu}, {facts.cores} cores, governor {facts.governor}{roofs}. {versions}; "
        f"revision {facts.revision or 'not known'}. {facts.date}."
    )


def remarks(result: Result) -> list[str]:
    """Say what failed, what was left out, and what makes the figures doubtful."""
    lines = [f"{name} failed: {text}" for name, text in result.errors.items()]
    lines += [f"{name} left out: {text}" for name, text in result.left_out.items()]
    load, cores = result.environment.load_at_start, result.environment.cores
    if load is not None and load > 0.75 * cores and (result.speed or result.scaling):
        lines.append(
            f"Other work ran beside this: the load was {load:g} on {cores} cores at the start. "
            "Ratios are still of neighbours in time; other figures are too low."
        )
    if not result.complete:
        lines.append("This run was interrupted or failed; figures are missing.")
    return lines


def rate(interval: Interval, runs: int, digits: int = 2) -> str:
    """Show a figure with its 95 % interval, which under five runs do not give."""
    value, low, high = (
        f"{one:.{digits}f}" for one in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({low} to {high})" if runs >= _FEWEST_RUNS else value


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


def _candidates(result: Result) -> Section:
    rows = [
        [
            one.name + (" (peer)" if one.is_peer else ""),
            _file_name(one.model),
            one.device,
            one.precision,
            _lanes(one.facts),
            _number(one.load_s, 2),
            _number(one.peak_memory_mb, 0),
        ]
        for one in result.candidates
    ]
    head = ["candidate", "model", "device", "precision", "threads", "load, s", "peak memory, MB"]
    note = (
        "Peak memory: of a process that loads the candidate and denoises one image of the first "
        "size."
    )
    return Section("candidates", "What was measured", head, rows, note)


def _speed(result: Result) -> Section:
    rows = []
    first = result.candidates[0].name if result.candidates else ""
    for one in result.speed:
        latency, times, share = one.latency_ms, one.times_as_fast, one.share_of_peak
        calls = one.calls
        beside = rate(times, calls) if times else "1" if one.candidate == first else "-"
        rows.append(
            [
                one.candidate,
                f"{one.batch}x{one.size[0]}x{one.size[1]}",
                str(calls),
                f"{latency.p50:.1f} / {latency.p90:.1f} / {latency.p99:.1f}",
                rate(one.images_per_s, calls),
                _number(one.device_only_images_per_s, 2),
                f"{one.mpix_per_s:.2f}",
                f"{one.gflop_per_s:.0f}" + ("" if share is None else f" ({100 * share:.0f} %)"),
                beside,
            ]
        )
    head = ["candidate", "batch, size", "calls", "ms p50 / p90 / p99", "images/s (95 %)",
            "device only", "MPix/s", "GFLOP/s (of roof)",
            f"times as fast as {first} (95 %)"]  # fmt: skip
    if len(result.candidates) == 1:
        head, rows = head[:-1], [row[:-1] for row in rows]
    note = (
        "Calls of `infer`, copies to and from the device included; device only is the execution "
        "alone, as ais_bench defines it. p99 of under 100 calls is close to the slowest. Roof: a "
        "float32 matrix product on all cores in the same rounds; the operations counted are those "
        "of direct convolution, so an engine that needs fewer (Winograd) may exceed it."
    )
    return Section("speed", "Speed", head, rows, note)


def _end_to_end(result: Result) -> Section:
    rows = [
        [
            name,
            str(one.images),
            rate(one.images_per_s, len(one.seconds)),
            f"{one.mpix_per_s:.2f}",
        ]
        for name, one in result.end_to_end.items()
    ]
    head = ["candidate", "images", "images/s (95 %)", "MPix/s"]
    note = (
        "PNG files read, denoised and written as adnet-run does; images of the data set where one "
        "is given, so compare the MPix/s with the table above. Peers take no part."
    )
    return Section("end_to_end", "End to end", head, rows, note)


def _quality(result: Result) -> Section:
    rows = []
    for one in result.quality:
        similar, paper = one.ssim, one.paper_psnr
        rows.append(
            [
                one.candidate + (", simulated" if one.is_simulated else ""),
                f"{one.dataset} ({one.images}) sigma {one.sigma:g}",
                f"{one.psnr:.4f}",
                f"{one.psnr_8_bit:.4f}",
                "-" if similar is None else f"{similar:.4f}",
                "-" if paper is None else f"{paper:.2f}",
                f"{one.delta_psnr:+.4f}",
                "-" if one.largest_difference is None else f"{one.largest_difference:.1e}",
            ]
        )
    reference = result.quality[0].reference if result.quality else ""
    head = ["candidate", "data", "PSNR", "as saved", "SSIM", "paper", f"delta to {reference}",
            "largest difference"]  # fmt: skip
    return Section("quality", "Quality", head, rows, f"Protocol: {result.protocol}.")


def _front(result: Result) -> Section:
    rows = [
        [
            one.candidate + (" (peer)" if one.is_peer else ""),
            f"{one.images_per_s:.2f}",
            f"{one.psnr:.4f}",
            f"{one.delta_psnr:+.4f}",
            "yes" if one.at_front else "",
        ]
        for one in points(result)
    ]
    reference = result.quality[0].reference if result.quality else ""
    head = ["candidate", "images/s", "PSNR", f"delta to {reference}", "at the front"]
    note = "At the front: none of the others is faster without being worse."
    return Section("front", "Speed against quality", head, rows if len(rows) > 1 else [], note)


def _scaling(result: Result) -> Section:
    units = {"size": "MPix", "batch": "images", "threads": "threads", "streams": "streams"}
    rows = [
        [
            one.axis,
            f"{one.x:g} {units[one.axis]}",
            rate(one.mpix_per_s, one.runs, 3),
            str(one.runs),
            _number(one.peak_memory_mb, 0),
        ]
        for one in sorted(result.scaling, key=lambda one: (one.axis, one.x))
    ]
    head = ["axis", "at", "MPix/s (95 %)", "runs", "peak memory, MB"]
    note = (
        "Sizes through `Denoiser`, in tiles; the rest through `infer`. Peak memory holds "
        "the image and its result."
    )
    return Section("scaling", "Scaling", head, rows, note)


def _lanes(facts: dict[str, str]) -> str:
    threads = facts.get("threads", "-")
    streams = facts.get("streams", "1")
    return threads if streams == "1" else f"{threads} x {streams} streams"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
