"""Results of adnet-bench as Markdown, which is also what the terminal shows."""

from __future__ import annotations

from collections.abc import Sequence

from adnet.benchmarks.compare import Change
from adnet.benchmarks.results import Result


def markdown(result: Result) -> str:
    """Show a result: where it ran, speed, quality, what failed."""
    lines = [_environment(result)]
    if result["speed"]:
        lines += ["", *_speed(result)]
    if result["end_to_end"]:
        lines += ["", *_end_to_end(result)]
    if result["quality"]:
        lines += ["", *_quality(result)]
    lines += [f"\n{name} failed: {text}" for name, text in result["errors"].items()]
    lines += [f"\n{name} left out: {text}" for name, text in result["left_out"].items()]
    if not result["complete"]:
        lines.append("\nThis run was interrupted or failed; figures are missing.")
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


def _environment(result: Result) -> str:
    facts = result["environment"]
    versions = ", ".join(f"{name} {one}" for name, one in facts["versions"].items())
    peak = result["peak_gflop_per_s"]
    measured = "" if peak is None else f"; matrix product {peak:.0f} GFLOP/s"
    return f"{facts['cpu']}, {facts['cores']} cores{measured}. {versions}.\n`{facts['command']}`"


def _speed(result: Result) -> list[str]:
    rows = []
    for one in result["speed"]:
        latency, rate = one["latency_ms"], one["images_per_s"]
        alone = one["device_only_images_per_s"]
        rows.append(
            [
                one["backend"],
                f"{one['batch']}x{one['size'][0]}x{one['size'][1]}",
                f"{latency['p50']:.1f} / {latency['p90']:.1f} / {latency['p99']:.1f}",
                f"{rate['value']:.2f} ({rate['low']:.2f} to {rate['high']:.2f})",
                "-" if alone is None else f"{alone:.2f}",
                f"{one['mpix_per_s']:.2f}",
                f"{one['gflop_per_s']:.0f} ({100 * one['share_of_peak']:.0f} %)",
            ]
        )
    head = ["backend", "batch, size", "ms p50 / p90 / p99", "images/s (95 %)",
            "device only", "MPix/s", "GFLOP/s (of a matrix product)"]  # fmt: skip
    return table(head, rows)


def _end_to_end(result: Result) -> list[str]:
    rows = [
        [name, f"{one['images_per_s']:.2f} ({one['low']:.2f} to {one['high']:.2f})"]
        for name, one in result["end_to_end"].items()
    ]
    return table(["read, denoise, write", "images/s (95 %)"], rows)


def _quality(result: Result) -> list[str]:
    rows = []
    for one in result["quality"]:
        similar, paper = one["ssim"], one["paper_psnr"]
        rows.append(
            [
                one["backend"] + (", simulated" if one["is_simulated"] else ""),
                f"{one['dataset']} ({one['images']}) sigma {one['sigma']:g}",
                f"{one['psnr']:.4f}",
                f"{one['psnr_8_bit']:.4f}",
                "-" if similar is None else f"{similar:.4f}",
                f"{one['delta_psnr']:+.4f} ({one['reference']})",
                "-" if paper is None else f"{paper:.2f}",
            ]
        )
    head = ["backend", "data", "PSNR", "as saved", "SSIM", "delta to", "paper"]
    return [*table(head, rows), "", f"Protocol: {result['protocol']}."]
