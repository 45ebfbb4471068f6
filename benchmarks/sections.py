"""A result as titled tables of text, for the terminal and for the report alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adnet.benchmarks.results import Result


@dataclass(frozen=True, slots=True)
class Section:
    """One table and what must be known to read it."""

    name: str
    """`subjects`, `speed`, `end_to_end`, `quality` or `scaling`."""
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def sections(result: Result) -> list[Section]:
    """Return the tables of all that was measured."""
    parts: list[Callable[[Result], Section]] = [
        _subjects, _speed, _end_to_end, _quality, _scaling
    ]  # fmt: skip
    return [one for one in (part(result) for part in parts) if one.rows]


def environment_text(result: Result) -> str:
    """Say where and how the result was made, in one line."""
    facts, machine = result["environment"], result["machine"]
    versions = ", ".join(f"{name} {one}" for name, one in facts["versions"].items())
    roofs = "" if machine is None else (
        f"; matrix product {machine['gflop_per_s']:.0f} GFLOP/s, copy "
        f"{machine['copy_gb_per_s']:.1f} GB/s"
    )  # fmt: skip
    return f"{facts['cpu']}, {facts['cores']} cores{roofs}. {versions}."


def remarks(result: Result) -> list[str]:
    """Say what failed, what was left out, and whether figures are missing."""
    lines = [f"{name} failed: {text}" for name, text in result["errors"].items()]
    lines += [f"{name} left out: {text}" for name, text in result["left_out"].items()]
    if not result["complete"]:
        lines.append("This run was interrupted or failed; figures are missing.")
    return lines


def rate(interval: dict[str, float], digits: int = 2) -> str:
    """Show a figure with its 95 % interval."""
    value, low, high = (f"{interval[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _subjects(result: Result) -> Section:
    rows = [
        [
            one["subject"] + (" (peer)" if one["is_peer"] else ""),
            _file_name(one["model"]),
            one["device"],
            one.get("precision", "fp32"),
            _lanes(one),
            f"{one['load_s']:.2f}",
            "-" if one["peak_memory_mb"] is None else f"{one['peak_memory_mb']:.0f}",
        ]
        for one in result["subjects"]
    ]
    head = ["subject", "model", "device", "precision", "threads", "load, s", "peak memory, MB"]
    note = (
        "Peak memory: of a process that loads the subject and denoises one image of the first size."
    )
    return Section("subjects", "Subjects", head, rows, note)


def _speed(result: Result) -> Section:
    rows = []
    compared = [one["times_as_fast"] for one in result["speed"] if one["times_as_fast"]]
    for one in result["speed"]:
        latency, alone = one["latency_ms"], one["device_only_images_per_s"]
        times = one["times_as_fast"]
        row = [
            one["subject"],
            f"{one['batch']}x{one['size'][0]}x{one['size'][1]}",
            f"{latency['p50']:.1f} / {latency['p90']:.1f} / {latency['p99']:.1f}",
            rate(one["images_per_s"]),
            "-" if alone is None else f"{alone:.2f}",
            f"{one['mpix_per_s']:.2f}",
            f"{one['gflop_per_s']:.0f} ({100 * one['share_of_peak']:.0f} %)",
        ]
        rows.append(row + ([rate(times) if times else "1"] if compared else []))
    head = ["subject", "batch, size", "ms p50 / p90 / p99", "images/s (95 %)", "device only",
            "MPix/s", "GFLOP/s (of roof)"]  # fmt: skip
    if compared:
        head.append(f"times as fast as {compared[0]['as']} (95 %)")
    note = (
        "Calls of `infer`, copies to and from the device included; device only is the execution "
        "alone, as ais_bench defines it. Roof: a float32 matrix product in the same rounds."
    )
    return Section("speed", "Speed", head, rows, note)


def _end_to_end(result: Result) -> Section:
    rows = [
        [name, f"{one['images_per_s']:.2f} ({one['low']:.2f} to {one['high']:.2f})"]
        for name, one in result["end_to_end"].items()
    ]
    return Section("end_to_end", "End to end", ["read, denoise, write", "images/s (95 %)"], rows)


def _quality(result: Result) -> Section:
    rows = []
    for one in result["quality"]:
        similar, paper = one["ssim"], one["paper_psnr"]
        rows.append(
            [
                one["subject"] + (", simulated" if one["is_simulated"] else ""),
                f"{one['dataset']} ({one['images']}) sigma {one['sigma']:g}",
                f"{one['psnr']:.4f}",
                f"{one['psnr_8_bit']:.4f}",
                "-" if similar is None else f"{similar:.4f}",
                "-" if paper is None else f"{paper:.2f}",
                f"{one['delta_psnr']:+.4f}",
                f"{one['largest_difference']:.1e}",
            ]
        )
    reference = result["quality"][0]["reference"] if result["quality"] else ""
    head = ["subject", "data", "PSNR", "as saved", "SSIM", "paper", f"delta to {reference}",
            "largest difference"]  # fmt: skip
    return Section("quality", "Quality", head, rows, f"Protocol: {result['protocol']}.")


def _scaling(result: Result) -> Section:
    units = {"size": "MPix", "batch": "images", "threads": "threads", "streams": "streams"}
    rows = [
        [
            one["axis"],
            f"{one['x']:g} {units[one['axis']]}",
            rate(one["mpix_per_s"], 3),
            str(one["runs"]),
            "-" if one["peak_memory_mb"] is None else f"{one['peak_memory_mb']:.0f}",
        ]
        for one in sorted(result["scaling"], key=lambda one: (one["axis"], one["x"]))
    ]
    head = ["axis", "at", "MPix/s (95 %)", "runs", "peak memory, MB"]
    note = (
        "Sizes through `Denoiser`, in tiles; the rest with an image of 321x481. Peak memory holds "
        "the image and its result."
    )
    return Section("scaling", "Scaling", head, rows, note)


def _lanes(facts: dict[str, Any]) -> str:
    threads = str(facts.get("threads", "-"))
    streams = facts.get("streams", "1")
    return threads if streams == "1" else f"{threads} x {streams} streams"


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
