"""The report page: figures equal to the JSON's, and what a real browser shows of it."""

import html.parser
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from bench_helpers import empty_result
from browser import chromium, looks, needs_browser
from conftest import hasten_benchmarks
from PIL import Image

from adnet.benchmarks.cli import main
from adnet.benchmarks.report import report_html
from adnet.benchmarks.results_json import from_json, read_result
from adnet.images.levels import to_levels


class Page(html.parser.HTMLParser):
    """Collects the rows of all tables, and every address that the page would load."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.addresses, self._cell = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.addresses += [named[key] for key in ("src", "xlink:href", "data") if key in named]
        if tag == "link":
            self.addresses.append(named["href"])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self._cell)
            self._cell = None


pytestmark = pytest.mark.torch  # its pages compare torch with the others


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A real, small run and its page."""
    folder = tmp_path_factory.mktemp("report")
    from adnet.images.synthetic import render

    (folder / "Set <3>").mkdir()
    for index in range(3):
        pixels = to_levels(render(128, 128, 1, index))
        Image.fromarray(pixels).save(folder / "Set <3>" / f"{index}.png")
    arguments = ["adnet-bench", "--peers", "bare-onnxruntime", "--data", str(folder / "Set <3>"),
                 "--rounds", "5", "--size", "24,32", "--batch", "1,2", "--quiet", "--json",
                 str(folder / "r.json"), "--report", str(folder / "r.html")]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        hasten_benchmarks(patch)
        patch.setattr("sys.argv", arguments)
        with pytest.raises(SystemExit) as exit_:
            main()
    assert not exit_.value.code
    return folder


def test_figures_are_the_jsons(measured):
    result, text = read_result(measured / "r.json"), (measured / "r.html").read_text("utf-8")
    page = Page(text)
    shown = {row[0] + row[1]: row for row in page.rows if len(row) > 4}
    assert len(result.speed) == 4
    for one in result.speed:
        row = shown[f"{one.candidate}{one.batch}x24x32"]
        rate = one.images_per_s
        assert row[4] == f"{rate.value:.2f} ({rate.low:.2f} to {rate.high:.2f})"
        assert f"{one.latency_ms.p50:.1f} / " in row[3]
        # The plot's own labels, too: text in the SVG stays text.
        assert f">{rate.value:.2f}<" in text
    for one in result.quality:
        row = shown[f"{one.candidate}Set <3> (3) sigma 25"]
        assert row[2] == f"{one.psnr:.4f}"
        assert row[-1] == f"{one.largest_difference:.1e}"
    inside = re.search(r'id="result">(.*?)</script>', text, re.DOTALL).group(1)
    assert from_json(json.loads(inside)) == result


def test_nothing_is_loaded_from_elsewhere(measured):
    text = (measured / "r.html").read_text("utf-8")
    addresses = Page(text).addresses
    assert len(addresses) >= 9  # noisy, denoised and clean of three images
    assert all(one.startswith(("data:image/png;base64,", "#")) for one in addresses)
    assert "url(http" not in text
    assert "<Set" not in text  # names are escaped


def test_a_stored_result_becomes_the_same_page(measured, cli_here, tmp_path):
    result = cli_here(main, "adnet-bench", "report", measured / "r.json", "-o", tmp_path / "a.html")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "a.html").read_text("utf-8") == (measured / "r.html").read_text("utf-8")


def test_parts_that_are_missing_are_left_out():
    result = empty_result(command="x </script>")
    result.errors = {"om": "lost <device>"}
    text = report_html(result)
    assert "om failed: lost &lt;device&gt;" in text
    assert "figures are missing" in text
    assert text.count("</script>") == 2
    assert "<svg" not in text


def test_scaling(cli_here, tmp_path):
    out = tmp_path / "s.json"
    result = cli_here(
        main, "adnet-bench", "scaling", "--megapixels", "0.004,0.01", "--batch", "1,2", "--threads",
        "1", "--streams", "1,2", "--size", "24,32", "--rounds", "2", "--quiet", "--json", out,
        "--report", tmp_path / "s.html",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    data = read_result(out)
    assert data.complete
    places = {(one.axis, one.x) for one in data.scaling}
    assert places == {("size", 0.004), ("size", 0.01), ("batch", 1), ("batch", 2), ("threads", 1),
                      ("streams", 1), ("streams", 2)}  # fmt: skip
    for one in data.scaling:
        rate = one.mpix_per_s
        assert 0 < rate.low <= rate.value <= rate.high
        assert (one.peak_memory_mb is not None) == (one.axis == "size")
        assert f"| {rate.value:.3f} " in result.stdout
    assert (tmp_path / "s.html").read_text("utf-8").count("<svg") == 1


def test_an_axis_that_a_backend_lacks_is_left_out(cli_here, tmp_path):
    out = tmp_path / "s.json"
    result = cli_here(
        main, "adnet-bench", "scaling", "--backend", "torch", "--megapixels", "", "--batch", "1",
        "--threads", "1", "--streams", "2", "--size", "24,32", "--rounds", "1", "--quiet",
        "--json", out,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "has no --streams" in read_result(out).left_out["streams 2"]


@pytest.mark.slow
@pytest.mark.browser
@needs_browser
def test_in_a_browser(measured):
    """The page is drawn, runs without errors, and the slider uncovers the noisy image."""
    size = {"width": 1100, "height": 900}
    with chromium() as browser, looks(browser, viewport=size) as look:
        page = look.page
        page.goto((measured / "r.html").as_uri())
        assert page.title() == "adnet-bench"
        heights = "[...document.querySelectorAll('.plot svg')].map(one => one.clientHeight)"
        plots = page.evaluate(heights)
        assert len(plots) == 5  # throughput, latency, roofline, psnr, front
        assert min(plots) > 100
        first = page.locator(".compare").first
        first.scroll_into_view_if_needed()
        box = first.locator(".compare-view").bounding_box()
        width, height = int(box["width"]), int(box["height"])
        assert abs(width - height) <= 1
        assert width > 200

        def shown(cut):
            first.locator("input").fill(str(cut))
            picture = first.locator(".compare-view").screenshot()
            return np.asarray(Image.open(io.BytesIO(picture)).convert("L"), np.int16)

        def roughness(picture, columns):
            part = picture[30 : height - 4, columns]  # below the labels
            return np.abs(np.diff(part, axis=0)).mean()

        denoised, middle, noisy = shown(0), shown(50), shown(100)
        left, right = slice(4, width // 2 - 6), slice(width // 2 + 6, width - 4)
        for side in (left, right):
            assert roughness(noisy, side) > 2 * roughness(denoised, side)
        # In the middle each half is what it says.
        assert roughness(middle, left) == pytest.approx(roughness(noisy, left), rel=0.02)
        assert roughness(middle, right) == pytest.approx(roughness(denoised, right), rel=0.02)
        with page.expect_download() as download:
            page.click("#download")
        assert json.loads(Path(download.value.path()).read_text())
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert look.complaints == []
        assert look.others() == []
        if folder := os.environ.get("ADNET_SCREENSHOTS"):
            page.set_viewport_size({"width": 1280, "height": 800})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.screenshot(path=f"{folder}/report-{scheme}.png", full_page=True)
