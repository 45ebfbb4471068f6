"""The page of adnet-web in a real browser."""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from browser import looks, needs_browser
from PIL import Image

pytest.importorskip("starlette", reason="needs the extra web")
pytest.importorskip("uvicorn", reason="needs the extra web")
from web_server import web_server

from adnet.images.levels import WHITE, to_levels
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.shipped import fast_twin
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import Job

pytestmark = [pytest.mark.slow, pytest.mark.browser, needs_browser]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tmp")
    with web_server("--max-megabytes", "1", temporary=folder) as (_, address):
        yield address


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A 16-bit gray PNG with noise, an 8-bit colour one, its clean twin, and what is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    noisy = np.clip(add_published_noise(render(90, 120, 1, seed=3), 25), 0, 1)
    Image.fromarray((noisy * 65535).astype(np.uint16)).save(folder / "deep.png")
    clean = render(80, 100, 3, seed=4)
    Image.fromarray(to_levels(add_published_noise(clean, 25))).save(folder / "colour.png")
    Image.fromarray(to_levels(clean)).save(folder / "clean.png")
    Image.fromarray(render(50, 60, 1, seed=5)[..., 0] * WHITE).save(folder / "float.tif")
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "text.txt").write_text("no picture")
    (folder / "huge.png").write_bytes(b"x" * 1_200_000)
    return folder


def start(look, address):
    look.page.goto(f"{address}/")
    look.page.wait_for_selector("body[data-ready]")


def until_shown(page, before):
    """Wait for the next picture, or for an error."""
    page.wait_for_selector(f"body[data-drawn]:not([data-drawn='{before}']), #error:not([hidden])")
    assert page.inner_text("#error") == ""


def drawn(page):
    return page.evaluate("document.body.dataset.drawn")


def give(page, *paths, to="#file"):
    before = drawn(page)
    page.set_input_files(to, paths)
    until_shown(page, before)


def downloaded(page) -> bytes:
    with page.expect_download() as download:
        page.click("#download")
    return Path(download.value.path()).read_bytes()


def expected(source: Path, folder: Path, **settings) -> bytes:
    """What adnet-run writes."""
    with Denoiser(**settings) as denoiser:
        assert not run_jobs([Job(source, folder / source.name)], denoiser, overwrite=True).failed
    return (folder / source.name).read_bytes()


def test_a_16_bit_file_there_and_back(address, browser, pictures, tmp_path):
    source = pictures / "deep.png"
    with looks(browser, viewport={"width": 1280, "height": 900}) as look:
        page = look.page
        start(look, address)
        give(page, source)
        assert "16 bits" in page.inner_text("#facts")
        assert downloaded(page) == expected(source, tmp_path)
        # The line, by hand and by key; the picture grows to its pixels.
        view = page.locator(".compare-view")
        page.evaluate("scrollTo(0, 0)")
        box = view.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20, steps=4)
        page.mouse.up()
        cut = "getComputedStyle(document.querySelector('.compare')).getPropertyValue('--cut')"
        assert float(page.evaluate(cut).rstrip("%")) == pytest.approx(25, abs=1)
        view.press("ArrowRight")
        assert float(page.evaluate(cut).rstrip("%")) == pytest.approx(27, abs=1)
        page.fill(".compare-bar input", "80")
        assert page.evaluate(cut) == "80%"
        for _ in range(3):
            page.click(".compare-bar >> text=+")
        assert int(page.inner_text(".compare-bar output").rstrip(" %")) > 400
        shown = page.evaluate(
            "getComputedStyle(document.querySelector('.compare-after img')).imageRendering"
        )
        assert shown == "pixelated"
        # Half the strength; the zoom stays.
        before = drawn(page)
        page.fill("#strength", "0.5")
        until_shown(page, before)
        assert downloaded(page) == expected(source, tmp_path, strength=0.5)
        assert int(page.inner_text(".compare-bar output").rstrip(" %")) > 400
        before = drawn(page)
        page.select_option("#noise", "given")
        until_shown(page, before)
        assert page.is_visible("#sigma")
        page.get_by_role("button", name="Removed noise").click()
        page.wait_for_selector(".compare-after img[alt=noise]")
        assert look.complaints == []
        assert look.others(address.removeprefix("http://")) == []


def test_bad_and_huge_files_and_several(address, browser, pictures, tmp_path):
    with looks(browser) as look:
        page = look.page
        start(look, address)
        for name, told in (("bad.png", "bad.png"), ("huge.png", "1 MB")):
            page.set_input_files("#file", pictures / name)
            page.wait_for_selector("#error:not([hidden])")
            assert told in page.inner_text("#error")
            assert "/" not in page.inner_text("#error").split("adnet-run")[0]
        before = drawn(page)
        page.set_input_files(
            "#file", [pictures / "bad.png", pictures / "deep.png", pictures / "colour.png"]
        )
        page.wait_for_selector(f"body[data-drawn]:not([data-drawn='{before}'])")
        assert "bad.png" in page.inner_text("#error")  # the others went on
        page.get_by_role("button", name="Look at colour.png").click()
        assert downloaded(page) == expected(pictures / "colour.png", tmp_path)
        with page.expect_download() as download:
            page.click("#zip")
        with zipfile.ZipFile(download.value.path()) as archive:
            assert archive.namelist() == ["deep.png", "colour.png"]
        # A clean reference, for one file.
        give(page, pictures / "colour.png")
        give(page, pictures / "clean.png", to="#reference")
        before, after = map(
            float, re.search(r"PSNR ([\d.]+) → ([\d.]+)", page.inner_text("#facts")).groups()
        )
        assert after > before + 3
        page.get_by_role("button", name="Difference to clean").click()
        page.wait_for_selector(".compare-after img[alt=difference]")
        assert look.others(address.removeprefix("http://")) == []


def change(page) -> None:
    """Four changes of the settings at once, as a wheel over the slider makes them."""
    page.evaluate(
        """for (const value of [.9, .8, .7, .6]) {
             const slider = document.querySelector("#strength");
             slider.value = value;
             for (const kind of ["input", "change"])
               slider.dispatchEvent(new Event(kind, {bubbles: true}));
           }"""
    )


@pytest.mark.parametrize("way", ["nothing", "changes", "cancel", "cancel, changes", "other files"])
def test_every_chosen_file_is_in_the_order(address, browser, pictures, way):
    names = ["deep.png", "colour.png", "clean.png", "text.txt", "deep.png"]
    with looks(browser) as look:
        page, orders, answers, removed = look.page, [], [], set()
        page.on("request", lambda one: orders.append(json.loads(one.post_data))
                if one.method == "POST" and one.url.endswith("/orders") else None)  # fmt: skip
        page.on("response", lambda one: answers.append(one)
                if one.status == 201 and "/files?" in one.url else None)  # fmt: skip
        page.on("request", lambda one: removed.add(one.url.split("/")[-1])
                if one.method == "DELETE" and "/files/" in one.url else None)  # fmt: skip
        start(look, address)

        held = []

        def hold(route) -> None:
            if "clean.png" in route.request.url and not held:
                held.append(route)
            else:
                route.continue_()

        page.set_default_timeout(20_000)
        page.route("**/files?name=*", hold)
        page.set_input_files("#file", [pictures / name for name in names])
        while not held:
            page.wait_for_timeout(20)
        if "cancel" in way:
            page.click("#cancel")
            page.wait_for_timeout(500)
            assert orders == []
            assert not page.is_visible("#work")
            assert "not sent" in page.inner_text("#error")
        if way == "other files":
            names = names[1:3]
            page.set_input_files("#file", [pictures / name for name in names])
        if way in ("changes", "cancel, changes", "other files"):
            change(page)
        if way == "cancel":  # long before the next change
            page.wait_for_timeout(1000)
            change(page)
        if way in ("nothing", "changes"):
            page.wait_for_timeout(200)
            held[0].continue_()
        page.wait_for_selector("body[data-drawn]")
        page.wait_for_timeout(300)
        rows = page.locator("#list tbody tr").all_inner_texts()
        expected = [name for name in names if name != "text.txt"]
        assert [row.split()[0] for row in rows] == expected
        assert ("text.txt" in page.inner_text("#error")) == ("text.txt" in names)
        assert [len(one["files"]) for one in orders] == [len(expected)]
        assert orders[0]["settings"]["strength"] == (1 if way == "nothing" else 0.6)
        assert len(answers) - len(removed) == len(
            orders[0]["files"]
        )  # nothing is left of what was given up
        orders.clear()
        before = drawn(page)
        change(page)
        page.wait_for_selector(f"body[data-drawn]:not([data-drawn='{before}'])")
        assert [len(one["files"]) for one in orders] == [len(expected)]


@pytest.mark.parametrize("name", ["deep.png", "bad.png", "text.txt", "huge.png"])
def test_a_wrong_reference_is_told_and_taken_away(address, browser, pictures, name):
    with looks(browser) as look:
        page = look.page
        start(look, address)
        give(page, pictures / "colour.png")
        alone, before = page.inner_text("#facts"), drawn(page)
        page.set_input_files("#reference", pictures / name)
        if name in ("text.txt", "huge.png"):  # not even taken
            page.wait_for_selector("#error:not([hidden])")
            assert name in page.inner_text("#error")
            assert not page.is_visible("#drop-reference")
            return
        until_shown(page, before)
        assert name in page.inner_text("#notes")
        assert "/tmp" not in page.inner_text("#notes")
        assert without_time(page.inner_text("#facts")) == without_time(alone)
        assert page.locator("#histogram rect").count() > 5
        give(page, pictures / "clean.png", to="#reference")
        assert "PSNR" in page.inner_text("#facts")
        before = drawn(page)
        page.click("#drop-reference")
        until_shown(page, before)
        assert without_time(page.inner_text("#facts")) == without_time(alone)
        assert not page.is_visible("#notes") or name not in page.inner_text("#notes")


def without_time(facts: str) -> str:
    return re.sub(r"Took .* s", "", facts)


def test_fast_is_offered_where_it_is(address, browser, pictures):
    with looks(browser) as look:
        page = look.page
        start(look, address)
        models = [one.get_attribute("value") for one in page.locator("#model option").all()]
        assert len(models) > 3
        for model in models:
            page.select_option("#model", model)
            there = bool(model) and fast_twin(model) is not None
            assert page.is_enabled("#fast") == there, model
            if there:
                page.check("#fast")
            else:
                assert not page.is_checked("#fast")  # it does not stay where it was offered
                assert "have int8" in page.inner_text("#fast-note")
        page.select_option("#model", "gray-25")
        page.check("#fast")
        give(page, pictures / "deep.png")
        assert "gray-25-int8" in page.inner_text("#facts")


def test_float_images_say_their_range(address, browser, pictures):
    with looks(browser) as look:
        page = look.page
        start(look, address)
        page.set_input_files("#file", pictures / "float.tif")
        page.wait_for_selector("#error:not([hidden])")
        assert "“Black, white”, such as 0,255" in page.inner_text("#error")
        page.fill("#white", "255")
        page.dispatch_event("#white", "change")
        page.wait_for_selector("body[data-drawn]")
        assert page.inner_text("#error") == ""
        assert "float" in page.inner_text("#facts")


def test_two_at_once(address, browser, pictures, tmp_path):
    with looks(browser) as one, looks(browser) as other:
        for look in (one, other):
            start(look, address)
        one.page.set_input_files("#file", pictures / "deep.png")
        other.page.set_input_files("#file", pictures / "colour.png")
        for look, name in ((one, "deep.png"), (other, "colour.png")):
            until_shown(look.page, None)
            assert downloaded(look.page) == expected(pictures / name, tmp_path)
            assert look.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_screens(address, browser, scheme, pictures, tmp_path):
    size = {"width": 390, "height": 844}
    with looks(browser, viewport=size, color_scheme=scheme) as look:
        page = look.page
        start(look, address)
        page.get_by_role("button", name="Leaves, colour").click()
        until_shown(page, None)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        before = drawn(page)
        long = f"{'a name that is long ' * 4}{'x' * 60}.png"
        for name in (long, "b.png"):
            shutil.copyfile(pictures / "colour.png", tmp_path / name)
        page.set_input_files("#file", [tmp_path / long, tmp_path / "b.png", pictures / "bad.png"])
        page.wait_for_selector(f"body[data-drawn]:not([data-drawn='{before}'])")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        table = page.locator("#list").bounding_box()
        for button in page.get_by_role("button", name="Look at").all():
            box = button.bounding_box()
            assert box["x"] + box["width"] <= table["x"] + table["width"] <= 390
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(255, 255, 255)") == (scheme == "light")
        if folder := os.environ.get("ADNET_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/web-390-{scheme}.png", full_page=True)
            page.set_viewport_size({"width": 1280, "height": 900})
            page.screenshot(path=f"{folder}/web-1280-{scheme}.png", full_page=True)
