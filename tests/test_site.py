"""The documentation site: builds without a warning, stays on its host, answers in two clicks."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest
from _blocks import blocks
from conftest import ROOT

from adnet.__main__ import PROGRAMS

pytestmark = pytest.mark.slow

QUESTIONS = {
    "how do I keep 16 bit": "questions.html#how-do-i-keep-16-bit",
    "why is my photo still noisy": "questions.html#my-photo-is-still-noisy",
    "how do I get an OM for a 310P": "ascend.html#first-result-on-a-310p",
    "how fast is it here": "questions.html#how-fast-is-it-here",
    "how do I add a backend": "backend.html",
}


class Page(HTMLParser):
    """The links, anchors and loaded resources of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.loaded = set(), set(), set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors.add(found.get("id") or found.get("name"))
        if tag == "a" and found.get("href"):
            self.links.add(found["href"])
        elif tag == "link" and found.get("rel") not in ("canonical", "prev", "next", "edit"):
            self.loaded.add(found["href"])
        elif found.get("src"):
            self.loaded.add(found["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as built, and its pages by name."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "ADNET_SITE_LIVE": "0"},
    )  # fmt: skip
    assert build.returncode == 0, build.stdout + build.stderr
    assert not re.search("WARNING|ERROR", build.stdout + build.stderr), build.stderr
    pages = {str(one.relative_to(folder)): Page(one) for one in sorted(folder.rglob("*.html"))}
    del pages["404.html"]  # addressed from the server's root
    return folder, pages


def target(name, link):
    """Where a link of a page leads within the site: (file, anchor)."""
    where, anchor = urldefrag(urljoin(f"http://site/{name}", link))
    return unquote(urlparse(where).path).lstrip("/"), unquote(anchor)


def test_no_link_is_dead(site):
    folder, pages = site
    for name, page in pages.items():
        for link in page.links | page.loaded:
            if urlparse(link).scheme or link.startswith("live/"):
                continue
            file, anchor = target(name, link)
            assert (folder / file).exists(), f"{name}: {link}"
            if anchor and file in pages:
                assert anchor in pages[file].anchors or anchor == "__skip", f"{name}: {link}"


def test_nothing_is_loaded_from_another_host(site):
    folder, pages = site
    for name, page in pages.items():
        for source in page.loaded:
            assert not urlparse(source).netloc, f"{name}: {source}"
    for sheet in folder.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", sheet.read_text()), sheet


def test_every_page_and_program_is_there(site):
    _, pages = site
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs").with_suffix(".html")) in pages
    for name in PROGRAMS:
        assert f"reference/{name}.html" in pages


@pytest.mark.parametrize("question", QUESTIONS)
def test_two_clicks_answer(site, question):
    """From the first page: a link to the page, there a link to the place."""
    _, pages = site
    file, anchor = target("index.html", QUESTIONS[question])
    first = {target("index.html", link)[0] for link in pages["index.html"].links}
    assert file in first
    assert not anchor or (file, anchor) in {target(file, link) for link in pages[file].links}


def test_the_reference_has_the_options_of_the_programs(site):
    folder, _ = site
    text = (folder / "reference" / "adnet-run.html").read_text()
    for option in ("--output", "--max-memory", "--strip-metadata"):
        assert option in text
    python = (folder / "reference" / "python.html").read_text()
    assert "uint8 and uint16 use their whole range" in python  # of Denoiser.__call__


def test_blocks_that_are_not_run_say_so(site):
    folder, pages = site
    for name in set(pages) - {"ascend.html"}:
        source = ROOT / "docs" / Path(name).with_suffix(".md")
        source = ROOT / "CONTRIBUTING.md" if name == "contributing.html" else source
        found = blocks(source.read_text()) if source.exists() else ()
        count = sum(block.why is not None or bool(block.needs()) for block in found)
        assert (folder / name).read_text().count("Not run by the tests: ") == count, name
