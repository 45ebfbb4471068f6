"""A result as one HTML page that needs nothing beside it: tables, plots, before and after."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from string import Template
from typing import Any

from adnet.atomic import atomic_path
from adnet.benchmarks.plots import plots
from adnet.benchmarks.results import Example, Result
from adnet.benchmarks.results_json import to_json
from adnet.benchmarks.sections import Section, environment_text, remarks, sections

_TEMPLATE = Path(__file__).with_name("report.html")

_CODE = re.compile(r"`([^`]*)`")

_PLOTS = {
    "speed": ("throughput", "latency", "roofline"),
    "quality": ("psnr",),
    "front": ("front",),
    "scaling": ("scaling",),
}
"""Section -> the plots below its table."""


def write_report(result: Result, path: Path) -> None:
    """Write the page; it appears whole or the old one stays.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    text = report_html(result)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def report_html(result: Result) -> str:
    """Make the page. Plots, pictures and all figures are inside; it loads nothing."""
    drawn = plots(result)
    parts = []
    for section in sections(result):
        parts.append(_table(section))
        names = [name for name in _PLOTS.get(section.name, ()) if name in drawn]
        parts += [f"<figure>{drawn[name]}</figure>" for name in names]
        if section.name == "quality":
            parts.append(_examples(result.examples))
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        environment=html.escape(environment_text(result)),
        command=html.escape(result.environment.command),
        remarks="\n".join(f'<p class="remark">{html.escape(one)}</p>' for one in remarks(result)),
        sections="\n".join(parts),
        # Within a script element only "</" could end it early.
        json=json.dumps(to_json(result)).replace("</", "<\\/"),
    )


def _table(section: Section) -> str:
    def row(tag: str, cells: Any) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(row("td", cells) for cells in section.rows)
    note = _CODE.sub(r"<code>\1</code>", html.escape(section.note))
    return (
        f'<h2 id="{section.name}">{html.escape(section.title)}</h2>\n'
        f'<div class="wide"><table><thead>{row("th", section.head)}</thead>'
        f"<tbody>{body}</tbody></table></div>\n"
        f'<p class="note">{note}</p>'
    )


def _examples(examples: list[Example]) -> str:
    """Noisy and denoised under a slider, the clean detail beside."""
    figures = []
    for one in examples:
        name = html.escape(one.image)
        noisy, denoised, clean = (
            f"data:image/png;base64,{png}" for png in (one.noisy, one.denoised, one.clean)
        )
        figures.append(
            f'<div class="pair"><figure><div class="compare">'
            f'<img src="{denoised}" alt="{name}, denoised">'
            f'<img class="before" src="{noisy}" alt="{name}, noisy">'
            f'<input type="range" min="0" max="100" value="50" aria-label="{name}: noisy to the '
            f'left, denoised to the right"></div><figcaption>{name}: noisy (sigma '
            f"{one.sigma:g}) | denoised by {html.escape(one.candidate)}; drag</figcaption>"
            f'</figure><figure><img class="clean" src="{clean}" alt="{name}, clean">'
            "<figcaption>clean</figcaption></figure></div>"
        )
    title = "<h3>Before and after: images of lowest, middle and highest PSNR</h3>"
    return f'{title}\n<div class="examples">{"".join(figures)}</div>' if figures else ""
