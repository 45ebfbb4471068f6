"""HTML pages of one file that load nothing: style, slider and pictures are inside."""

from __future__ import annotations

import html

from adnet.pages.assets import STYLE, compare_script, read_asset


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """Return a page.

    Args:
        title: plain text.
        body: HTML.
        style: beside the shared one.
        script: JavaScript, after the slider's.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>
{read_asset(STYLE)}{style}</style>
</head>
<body>
{body}
<script type="module">
{compare_script()}{script}</script>
</body>
</html>
"""


def compare_figure(
    name: str,
    before: tuple[str, str],
    after: tuple[str, str],
    caption: str,
) -> str:
    """Return two pictures of one size under a slider.

    Args:
        name: of the picture, plain text.
        before, after: label in plain text, and address (`data:` for one inside the page).
        caption: plain text.
    """
    shown = html.escape(name)
    parts = [
        (
            f'<figure class="compare" data-name="{shown}" data-before="{html.escape(before[0])}" '
            f'data-after="{html.escape(after[0])}">'
        )
    ]
    for label, address in (after, before):  # the later one lies on top
        parts.append(f'<img src="{html.escape(address)}" alt="{shown}, {html.escape(label)}">')
    parts.append(f"<figcaption>{html.escape(caption)}</figcaption></figure>")
    return "".join(parts)
