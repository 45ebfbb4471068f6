"""Plots of a result as SVG text, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adnet.atomic import atomic_path
from adnet.benchmarks.front import points
from adnet.benchmarks.machine import flop_per_byte
from adnet.benchmarks.results import Result, SpeedRecord
from adnet.errors import UsageError
from adnet.models.architecture import flops

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: sharp, small, can be searched
    "svg.hashsalt": "adnet",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
}
_WIDTH = 9.0  # inches


def plots(result: Result) -> dict[str, str]:
    """Draw what the result has figures for.

    Returns:
        Name -> SVG element: throughput, latency, roofline, psnr, front, scaling.
    """
    import matplotlib as mpl  # noqa: PLC0415  (only a report needs it)

    drawn: dict[str, str] = {}
    with mpl.rc_context(_STYLE):
        if result.speed:
            drawn |= {"throughput": _throughput(result), "latency": _latency(result)}
            if any(one.share_of_peak is not None for one in result.speed):
                drawn["roofline"] = _roofline(result)
        if result.quality:
            drawn["psnr"] = _psnr(result)
        if len(points(result)) > 1:
            drawn["front"] = _svg(_front(result))
        if result.scaling:
            drawn["scaling"] = _scaling(result)
    return drawn


def write_front(result: Result, path: Path) -> None:
    """Draw speed against quality alone, as a PNG or SVG file.

    Raises:
        UsageError: the result has not both of at least two candidates.
    """
    import matplotlib as mpl  # noqa: PLC0415

    if len(points(result)) < 2:
        raise UsageError(
            f"{path}: speed against quality needs both of at least two candidates. Run adnet-bench "
            "with --data and several backends, models or peers."
        )
    with mpl.rc_context(_STYLE), atomic_path(path) as temporary:
        kind = path.suffix.lower()[1:]
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        _front(result).savefig(temporary, format=kind, dpi=110, metadata=metadata)


def _new(height: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(_WIDTH, height))
    return figure, figure.subplots(1, columns, **options)


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return text[text.index("<svg") :]  # without the XML prologue: it stands inside a page


def _colours(result: Result) -> dict[str, str]:
    import matplotlib as mpl  # noqa: PLC0415

    names = [one.name for one in result.candidates]
    palette = mpl.colormaps["tab10" if len(names) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    return {name: palette[index % len(palette)] for index, name in enumerate(names)}


def _cell_name(one: SpeedRecord) -> str:
    return f"{one.candidate}, {one.batch}x{one.size[0]}x{one.size[1]}"


def _rows_of(result: Result, draw: Callable[[Axes, int, SpeedRecord, str], None]) -> Figure:
    """Lay out one row for each candidate, batch and size, the first on top."""
    cells, colours = result.speed, _colours(result)
    figure, axes = _new(1.1 + 0.3 * len(cells))
    for row, one in enumerate(cells):
        draw(axes, row, one, colours[one.candidate])
    axes.set_yticks(range(len(cells)), [_cell_name(one) for one in cells])
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    return figure


def _plain_ticks(axis: Any) -> None:
    """Give a logarithmic axis ticks at 1, 2 and 5 of each decade, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter  # noqa: PLC0415

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _throughput(result: Result) -> str:
    def draw(axes: Axes, row: int, one: SpeedRecord, colour: str) -> None:
        rate = one.images_per_s
        error = [[rate.value - rate.low], [rate.high - rate.value]]
        axes.barh(row, rate.value, 0.6, color=colour, xerr=error, ecolor="#444444", capsize=2)

    figure = _rows_of(result, draw)
    axes = figure.axes[0]
    axes.set_xlabel("images/s (whiskers: 95 % interval)")
    values = axes.secondary_yaxis("right")
    values.set_yticks(
        range(len(result.speed)),
        [f"{one.images_per_s.value:.2f}" for one in result.speed],
    )
    return _svg(figure)


def _latency(result: Result) -> str:
    jitter = np.random.default_rng(0)

    def draw(axes: Axes, row: int, one: SpeedRecord, colour: str) -> None:
        calls = 1e3 * np.asarray(one.seconds)
        offsets = row + jitter.uniform(-0.18, 0.18, len(calls))
        axes.plot(calls, offsets, "o", color=colour, markersize=3.5, alpha=0.6)
        latency = one.latency_ms
        for milliseconds, size in ((latency.p50, 16), (latency.p90, 10), (latency.p99, 5)):
            axes.plot(milliseconds, row, "|", color="#222222", markersize=size)

    figure = _rows_of(result, draw)
    axes = figure.axes[0]
    every = [seconds for one in result.speed for seconds in one.seconds]
    if max(every) > 8 * min(every):
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
    axes.set_xlabel("milliseconds a call (dots: calls; marks, ever shorter: p50, p90, p99)")
    return _svg(figure)


def _roofline(result: Result) -> str:
    figure, axes = _new(4.2)
    assert result.machine is not None  # shares of it are told
    peak, copy = result.machine.gflop_per_s, result.machine.copy_gb_per_s
    here = flop_per_byte(result.candidates[0].channels)
    intensity = np.logspace(np.log10(0.25), np.log10(4 * here), 200)
    axes.plot(intensity, np.minimum(peak, copy * intensity), color="#222222", linewidth=1.5)
    axes.annotate(f"matrix product, {peak:.0f} GFLOP/s", (0.9 * peak / copy, peak), ha="right")
    axes.annotate(f"copy, {copy:.1f} GB/s", (0.5, 0.5 * copy), xytext=(8, -8),
                  textcoords="offset points")  # fmt: skip
    colours = _colours(result)
    best: dict[str, float] = {}
    for one in result.speed:
        if one.share_of_peak is not None:
            best[one.candidate] = max(best.get(one.candidate, 0.0), one.gflop_per_s)
    for name, rate in sorted(best.items(), key=lambda each: -each[1]):
        axes.plot(here, rate, "o", color=colours[name], label=f"{name}, {rate:.0f}", alpha=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)
    axes.set_xlabel("FLOP a byte; ADNet layer by layer in float32")
    axes.set_ylabel("GFLOP/s, best batch")
    axes.legend(loc="lower right", frameon=False)
    return _svg(figure)


def _psnr(result: Result) -> str:
    entries, colours = result.quality, _colours(result)
    reference = next(one for one in entries if one.candidate == one.reference)
    images = sorted(reference.per_image, key=reference.per_image.__getitem__)
    figure, (left, right) = _new(4.0, 2)
    for one, size in zip(entries, np.linspace(7, 2, len(entries)), strict=True):
        values = np.array([one.per_image[image] for image in images])
        base = np.array([reference.per_image[image] for image in images])
        # Ever smaller dots: those of candidates that agree lie upon each other.
        style = {"color": colours[one.candidate], "markersize": size, "label": one.candidate}
        left.plot(values, "o", **style)
        right.plot(values - base, "o", **style)
    left.set_xlabel(f"image, by PSNR of {reference.candidate}")
    left.set_ylabel("PSNR, dB")
    right.set_xlabel("image, in the same order")
    right.set_ylabel(f"difference to {reference.candidate}, dB")
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    return _svg(figure)


def _front(result: Result) -> Figure:
    """PSNR against images/s; a line through what none of the others beats."""
    found, colours = points(result), _colours(result)
    figure, axes = _new(4.6)
    front = sorted((one for one in found if one.at_front), key=lambda one: one.images_per_s)
    axes.step(
        [one.images_per_s for one in front], [one.psnr for one in front],
        where="pre", color="#222222", linewidth=1, linestyle="--", label="the front",
    )  # fmt: skip
    for one in found:
        axes.plot(
            one.images_per_s, one.psnr, "s" if one.is_peer else "o", markersize=8,
            color=colours[one.candidate], markerfacecolor="none" if one.is_peer else None,
            markeredgewidth=1.6, linestyle="none",
            label=f"{one.candidate}, {one.images_per_s:.2f} images/s, {one.delta_psnr:+.3f} dB",
        )  # fmt: skip
    unit = result.quality[0]
    axes.set_xlabel("images/s (filled: ours; hollow: peers)")
    axes.set_ylabel(f"PSNR, dB ({unit.dataset}, sigma {unit.sigma:g})")
    axes.set_xlim(left=0)
    axes.yaxis.get_major_formatter().set_useOffset(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _scaling(result: Result) -> str:
    axes_names = {"size": "MPix of the image", "batch": "batch", "threads": "CPU threads",
                  "streams": "streams"}  # fmt: skip
    found = [name for name in axes_names if any(one.axis == name for one in result.scaling)]
    figure, panels = _new(3.4, len(found), squeeze=False, sharey=True)
    channels = result.candidates[0].channels
    machine = result.machine
    roof = machine and machine.gflop_per_s * 1e9 / flops(1000, 1000, channels)
    for axes, name in zip(panels[0], found, strict=True):
        entries = sorted((one for one in result.scaling if one.axis == name), key=lambda one: one.x)
        places = [one.x for one in entries]
        rates = [one.mpix_per_s for one in entries]
        values, lows, highs = np.array([(one.value, one.low, one.high) for one in rates]).T
        axes.errorbar(places, values, (values - lows, highs - values), marker="o", capsize=2)
        if roof:
            axes.axhline(roof, color="#222222", linewidth=1, linestyle="--")
        axes.set_xlabel(axes_names[name])
        if name == "size":
            axes.set_xscale("log")
            _plain_ticks(axes.xaxis)
        elif name == "batch":
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
        else:
            axes.set_xticks(places)
    panels[0][0].set_ylabel("MPix/s" + (" (dashed: matrix product, all cores)" if roof else ""))
    panels[0][0].set_ylim(bottom=0)
    return _svg(figure)
