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
from adnet.pages.document import compare_figure, document

_TEMPLATE = Path(__file__).with_name("report.html")

_CODE = re.compile(r"`([^`]*)`")

_PLOTS = {
    "speed": ("throughput", "latency", "roofline"),
    "quality": ("psnr",),
    "front": ("front",),
    "scaling": ("scaling",),
}
"""Section -> the plots below its table."""

# Plots are drawn for a white page; a detail is as large as its clean twin beside it.
_STYLE = """
.plot { background: #fff; border-radius: 4px; }
.plot svg { width: 100%; height: auto; display: block; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; }
.clean { width: 100%; display: block; image-rendering: pixelated; }
.pairs { grid-template-columns: repeat(auto-fill, minmax(min(34rem, 100%), 1fr)); }
"""

_SCRIPT = """
const text = document.getElementById("result").textContent;
const file = new Blob([text], {type: "application/json"});
document.getElementById("download").href = URL.createObjectURL(file);
"""


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
        parts += [f'<figure class="plot">{drawn[name]}</figure>' for name in names]
        if section.name == "quality":
            parts.append(_examples(result.examples))
    body = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        environment=html.escape(environment_text(result)),
        command=html.escape(result.environment.command),
        remarks="\n".join(f'<p class="remark">{html.escape(one)}</p>' for one in remarks(result)),
        sections="\n".join(parts),
        # Within a script element only "</" could end it early.
        json=json.dumps(to_json(result)).replace("</", "<\\/"),
    )
    return document("adnet-bench", body, style=_STYLE, script=_SCRIPT)


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
        noisy, denoised, clean = (
            f"data:image/png;base64,{png}" for png in (one.noisy, one.denoised, one.clean)
        )
        compared = compare_figure(
            one.image,
            ("noisy", noisy),
            ("denoised", denoised),
            f"{one.image}: noisy (sigma {one.sigma:g}) | denoised by {one.candidate}",
        )
        figures.append(
            f'<div class="pair">{compared}<figure><img class="clean" src="{clean}" '
            f'alt="{html.escape(one.image)}, clean"><figcaption>clean</figcaption></figure></div>'
        )
    title = "<h3>Before and after: images of lowest, middle and highest PSNR</h3>"
    return f'{title}\n<div class="pairs">{"".join(figures)}</div>' if figures else ""
