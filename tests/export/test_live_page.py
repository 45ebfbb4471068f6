"""adnet-export web: what it refuses, and the page in a real browser beside adnet-run."""

import io
import os
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from browser import looks, needs_browser, served
from PIL import Image

from adnet.errors import AdnetError, ExportError, UsageError
from adnet.export.web.folder import TILE, write_live_page
from adnet.export.web.ort_web import FILES, PACKAGE
from adnet.images.levels import to_levels
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.card import ModelCard
from adnet.runtime.backend import InputSpec
from adnet.runtime.tiling import balanced_tile, plan_tiles


def test_without_npm_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"npm is not installed.*--ort-web FILE\.tgz"):
        write_live_page(["gray-25"], tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["empty folder", "no such file", "other files", "text", "part"])
def test_what_is_not_the_package_is_refused(tmp_path, kind):
    package = tmp_path / "package"
    if kind != "no such file":
        package.mkdir()
    if kind == "text":
        package = tmp_path / "a.tgz"
        package.write_text("no archive")
    if kind in ("other files", "part"):
        (package / "dist").mkdir()
        for name in list(FILES)[: 1 if kind == "part" else None]:
            (package / "dist" / name).write_text("something else")
    with pytest.raises(AdnetError, match=PACKAGE) as caught:
        write_live_page(["gray-25"], tmp_path / "page", ort_web=package)
    assert isinstance(caught.value, ExportError if kind == "other files" else UsageError)
    assert not (tmp_path / "page").exists()
    assert not list(tmp_path.glob(".adnet*"))


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is no page of ours"):
            write_live_page(["gray-25"], tmp_path, overwrite=overwrite)
    with pytest.raises(UsageError, match="is a file"):
        write_live_page(["gray-25"], tmp_path / "mine.txt")
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "spec",
    [InputSpec(1, ((1, None, None),)), InputSpec(3, ((None, 64, 64),)), InputSpec(1, dtype="uint8"),
     InputSpec(1, dtype="float16")],
)  # fmt: skip
def test_models_that_a_browser_cannot_feed_are_refused(tmp_path, monkeypatch, spec):
    class Fake:
        card = ModelCard(spec.channels)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def describe(self):
            return {"precision": "fp32"}

    Fake.spec = spec
    monkeypatch.setattr("adnet.export.web.folder.open_backend", lambda *_: Fake())
    with pytest.raises(UsageError, match="float32 tiles of any size"):
        write_live_page(["gray-25"], tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The npm package, fetched once; $ADNET_ORT_WEB names one that is there."""
    if "ADNET_ORT_WEB" in os.environ:
        return Path(os.environ["ADNET_ORT_WEB"])
    if shutil.which("npm") is None:
        pytest.skip("no npm to fetch onnxruntime-web with (or set ADNET_ORT_WEB)")
    folder = tmp_path_factory.mktemp("npm")
    done = subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=folder, check=False,
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm cannot fetch {PACKAGE}: {done.stderr.strip()[-200:]}")
    return next(folder.glob("*.tgz"))


@pytest.fixture(scope="module")
def site(package, tmp_path_factory):
    """A server's folder with the page below it, and a page that has it in a frame."""
    folder = tmp_path_factory.mktemp("site")
    write_live_page([], folder / "some" / "where", ort_web=package)
    (folder / "frame.html").write_text(
        '<link rel="icon" href="data:,"><iframe src="some/where/" width="900" height="900">'
    )
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Noisy files larger than a tile, and adnet-run's results."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "in").mkdir()
    for name, size, channels in (("gray", (70, 330), 1), ("colour", (300, 64), 3)):
        assert max(size) > TILE
        noisy = to_levels(add_published_noise(render(*size, channels, seed=4), 25))
        Image.fromarray(noisy).save(folder / "in" / f"{name}.png")
    noisy = np.asarray(Image.open(folder / "in" / "colour.png"))
    opacity = np.arange(noisy[..., 0].size, dtype=np.uint32).reshape(noisy.shape[:2]) % 256
    clear = np.dstack([noisy, opacity.astype(np.uint8)])
    Image.fromarray(clear).save(folder / "in" / "transparent.png")
    from adnet.runtime.cli import main as run

    with pytest.MonkeyPatch.context() as patch:
        arguments = ["adnet-run", str(folder / "in"), "-o", str(folder / "out"), "--quiet"]
        patch.setattr("sys.argv", arguments)
        with pytest.raises(SystemExit) as exit_:
            run()
    assert not exit_.value.code
    return folder


def start(look, host):
    look.page.goto(f"http://{host}/some/where/")
    look.page.wait_for_selector("body[data-ready]")


def denoise(page, path):
    """Give the page a file; returns the picture that it offers."""
    before = page.evaluate("document.body.dataset.shown")
    page.set_input_files("#file", path)
    page.wait_for_selector(f"body[data-shown]:not([data-shown='{before}']), #error:not([hidden])")
    assert page.inner_text("#error") == ""
    with page.expect_download() as download:
        page.click("#download")
    return Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))


@pytest.mark.slow
@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("isolated", [False, True], ids=["one thread", "threads"])
def test_the_page_gives_what_adnet_run_gives(site, browser, pictures, isolated):
    with served(site, isolated=isolated) as host, looks(browser) as look:
        start(look, host)
        threads = int(look.page.evaluate("document.body.dataset.threads"))
        cores = look.page.evaluate("navigator.hardwareConcurrency")
        assert threads == (min(cores, 8) if isolated else 1)
        look.context.set_offline(True)  # from here on, it needs nothing
        for name in ("gray", "colour", "transparent"):
            shown = denoise(look.page, pictures / "in" / f"{name}.png")
            expected = Image.open(pictures / "out" / f"{name}.png")
            assert (shown.mode, shown.size) == (expected.mode, expected.size)
            difference = np.asarray(shown, np.int16) - np.asarray(expected, np.int16)
            assert np.abs(difference).max() <= 1
        assert look.complaints == []
        assert any("ort-wasm" in one for one in look.asked)  # workers' requests are heard, too
        assert look.others(host) == []


@pytest.mark.slow
@pytest.mark.browser
@needs_browser
def test_what_a_visitor_can_do_wrong_or_change(site, browser, tmp_path):
    noisy = to_levels(add_published_noise(render(40, 50, 3, seed=1), 25))
    Image.fromarray(noisy).save(tmp_path / "small.png")
    alpha = np.dstack([noisy, np.where(noisy[..., 0] > 90, 255, 0).astype(np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    Image.fromarray(np.arange(3000, dtype=np.uint16).reshape(50, 60)).save(tmp_path / "deep.png")
    Image.fromarray(noisy).resize((700, 700)).save(tmp_path / "large.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with served(site) as host, looks(browser) as look:
        page = look.page
        start(look, host)
        # A model of its own, and strength 0: the picture as it came.
        page.select_option("#model", "gray-25")
        page.fill("#strength", "0")
        assert np.array_equal(np.asarray(denoise(page, tmp_path / "small.png")), noisy)
        assert "gray-25" in page.inner_text("#facts")
        page.fill("#strength", "1")
        kept = denoise(page, tmp_path / "alpha.png")
        assert kept.mode == "RGBA"
        assert np.array_equal(np.asarray(kept)[..., 3], alpha[..., 3])
        page.set_input_files("#file", tmp_path / "bad.png")
        page.wait_for_selector("#error:not([hidden])")
        assert "cannot decode" in page.inner_text("#error")
        denoise(page, tmp_path / "deep.png")
        assert "more than 8 bits" in page.inner_text("#remark")
        # Cancelled, and at once another: the first one's answer is not taken for it.
        page.set_input_files("#file", tmp_path / "large.png")
        page.wait_for_selector("#work:not([hidden])")
        page.click("#cancel")
        assert denoise(page, tmp_path / "small.png").size == (50, 40)
        # Tiles as the runtime plans them.
        sizes = [(1, 1), (41, 600), (256, 257), (256, 512), (300, 1000), (999, 473), (2000, 216)]
        for limit in (TILE, 64, 100):
            theirs = page.evaluate(
                "async ([sizes, limit]) => {"
                "const {planTiles} = await import(document.baseURI + 'tiles.js');"
                "return sizes.map(([h, w]) => planTiles(h, w, limit, 20)); }", [sizes, limit],
            )  # fmt: skip
            for size, found in zip(sizes, theirs, strict=True):
                tile = tuple(balanced_tile(one, limit, 20) for one in size)
                ours = [
                    [(one.rows.start, one.rows.stop, one.core_rows.start, one.core_rows.stop),
                     (one.columns.start, one.columns.stop, one.core_columns.start,
                      one.core_columns.stop)]
                    for one in plan_tiles(size, tile, 20)
                ]  # fmt: skip
                keys = ("start", "stop", "first", "last")
                assert ours == [[tuple(one[axis][key] for key in keys)
                                 for axis in ("rows", "columns")] for one in found]  # fmt: skip
        page.goto(f"http://{host}/frame.html")
        page.frame_locator("iframe").locator("body[data-ready]").wait_for()
        assert look.complaints == []
        assert look.others(host) == []


@pytest.mark.slow
@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(site, browser, scheme):
    size = {"width": 390, "height": 844}
    with served(site) as host, looks(browser, viewport=size, color_scheme=scheme) as look:
        start(look, host)
        look.page.get_by_role("button", name="Print, gray").click()
        look.page.wait_for_selector("body[data-shown]")
        assert look.page.evaluate("document.documentElement.scrollWidth") <= 390
        back = look.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(255, 255, 255)") == (scheme == "light")
        if folder := os.environ.get("ADNET_SCREENSHOTS"):
            look.page.screenshot(path=f"{folder}/live-390-{scheme}.png", full_page=True)
            look.page.set_viewport_size({"width": 1280, "height": 900})
            look.page.screenshot(path=f"{folder}/live-1280-{scheme}.png", full_page=True)


def spread(kind: str) -> np.ndarray:
    """Every opacity, with colours that a premultiplied canvas cannot hold."""
    shades = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    if kind == "gray":
        shades = np.repeat(shades[..., :1], 3, axis=2)
    opacity = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64) % 256
    if kind == "binary":
        opacity = np.where(opacity > 100, 255, 0)
    return np.dstack([shades, opacity.astype(np.uint8)])


@pytest.mark.slow
@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("has_decoder", [True, False])
@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("kind", ["colour", "gray", "binary"])
def test_transparency(site, browser, tmp_path, kind, suffix, has_decoder):
    pixels = spread(kind)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, **({"lossless": True, "exact": True} if suffix == "webp"
                                          else {}))  # fmt: skip
    with served(site) as host, looks(browser) as look:
        page = look.page
        page.set_default_timeout(30_000)
        if not has_decoder:
            page.add_init_script("delete globalThis.ImageDecoder")
        start(look, host)
        page.fill("#strength", "0")
        shown = denoise(page, path)
        if has_decoder:
            assert np.array_equal(np.asarray(shown.convert("RGBA")), pixels)
            assert not page.is_visible("#remark")
        else:
            assert np.array_equal(np.asarray(shown)[..., -1], pixels[..., 3])
            assert "rounds the colours" in page.inner_text("#remark")


def png_of(width: int, height: int) -> bytes:
    """A PNG that says this size, and holds it where it is small enough."""
    data = io.BytesIO()
    Image.new("L", (width, height) if width * height < 10**7 else (1, 1), 128).save(data, "PNG")
    made = bytearray(data.getvalue())
    made[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    made[29:33] = zlib.crc32(made[12:29]).to_bytes(4, "big")
    return bytes(made)


@pytest.mark.slow
@pytest.mark.browser
@needs_browser
def test_what_is_too_large_or_broken_leaves_nothing_of_the_one_before(site, browser, tmp_path):
    Image.new("L", (20, 20), 90).save(tmp_path / "small.png")
    wrong = {
        "wide.png": (png_of(65535, 1), "too large"), "high.png": (png_of(1, 40000), "too large"),
        "over.png": (png_of(70000, 2), "too large"),
        "huge.png": (png_of(60000, 60000), "too large"),
        "giant.png": (png_of(2**31 - 1, 2**31 - 1), "too large"),
        "side.png": (png_of(32768, 1), "too large"), "bad.png": (b"no picture", "cannot decode"),
        "empty.png": (b"", "cannot decode"), "cut.png": (png_of(9, 9)[:30], "cannot decode"),
        "text.txt": (b"text", "cannot decode"),
    }  # fmt: skip
    bmp = io.BytesIO()
    Image.new("L", (40000, 1)).save(bmp, "BMP")
    wrong["wide.bmp"] = (bmp.getvalue(), "too large")
    with served(site) as host, looks(browser) as look:
        page = look.page
        page.set_default_timeout(30_000)
        start(look, host)
        page.fill("#strength", "0")
        widest = np.random.default_rng(0).integers(0, 256, (1, 32767), dtype=np.uint8)
        Image.fromarray(widest).save(tmp_path / "widest.png")
        assert np.array_equal(np.asarray(denoise(page, tmp_path / "widest.png")), widest)
        for name, (data, told) in wrong.items():
            denoise(page, tmp_path / "small.png")
            (tmp_path / name).write_bytes(data)
            page.set_input_files("#file", tmp_path / name)
            page.wait_for_selector("#error:not([hidden])")
            assert f"{name}: " in page.inner_text("#error")
            assert told in page.inner_text("#error"), name
            assert not page.is_visible("#download")
            assert not page.is_visible("#work")
            page.select_option("#model", "gray-25")  # nothing is left to be done again
            page.select_option("#model", "auto")
            page.wait_for_timeout(100)
            assert not page.is_visible("#result")
