"""The page of a run: curve, samples, and what it started from."""

import dataclasses
import json
import os
import re

import numpy as np
import pytest
import torch
from browser import chromium, looks, needs_browser
from PIL import Image

from adnet.errors import UsageError
from adnet.models.network import ADNet
from adnet.pages.curve import curve
from adnet.training import train as loop
from adnet.training.config import TrainConfig
from adnet.training.data import ValidationImage
from adnet.training.report import write_report
from adnet.training.samples import Samples
from adnet.training.world import World


def config_of(tmp_path, make_image, mode="L", **more):
    for index in range(4):
        make_image(tmp_path / "data" / f"{index}.png", mode, (64 + index, 48), seed=index)
    return TrainConfig(
        data=(str(tmp_path / "data"),), val_images=2, patch=16, batch=2, steps=4, warmup_steps=2,
        channels=1 if mode == "L" else 3, val_every=2, log_every=1, **more,
    )  # fmt: skip


def train(config, run, **options):
    return loop.train(config, run, World(torch.device("cpu")), **options)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_run_ends_with_its_page(tmp_path, make_image, mode):
    config = config_of(tmp_path, make_image, mode)
    best = train(config, tmp_path / "a")
    text = (tmp_path / "a" / "report.html").read_text("utf-8")
    assert text.count("<polyline") == 3  # PSNR, loss, learning rate
    assert text.count('<figure class="compare"') == 2
    assert "started from" not in text
    addresses = re.findall(r'(?:src|href)="([^"]{0,30})', text)
    assert addresses
    assert all(one.startswith("data:image/png;base64,") for one in addresses)
    assert str(tmp_path) not in text
    samples = json.loads((tmp_path / "a/samples/samples.json").read_text())
    assert [one["step"] for one in samples["validations"]] == [2, 4]
    with Image.open(tmp_path / "a/samples/00000004-1.png") as picture:
        assert picture.mode == mode
    # From there on: beside what it started from, and the same pictures in TensorBoard.
    tuned = dataclasses.replace(config, init=str(best))
    train(tuned, tmp_path / "b")
    text = (tmp_path / "b" / "report.html").read_text("utf-8")
    assert text.count('<figure class="compare"') == 4
    assert text.count("it started from") == 2
    started = json.loads((tmp_path / "b/samples/samples.json").read_text())["validations"][0]
    assert started["step"] == 0
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    events = event_accumulator.EventAccumulator(str(tmp_path / "b"))
    events.Reload()
    assert sorted(events.Tags()["images"]) == ["sample 1", "sample 2"]
    (first, _) = events.Images("sample 1")
    assert (first.step, first.width, first.height) == (2, 3 * 64, 48)


def test_an_interrupted_run_has_its_page_and_a_resumed_one_goes_on(tmp_path, make_image):
    config = config_of(tmp_path, make_image)
    run = tmp_path / "run"

    def interrupt(progress):
        if progress.step == 3:
            import signal

            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config, run, on_progress=interrupt)
    assert "report" in {path.stem for path in run.iterdir()}
    train(config, run, resume=True)
    entries = json.loads((run / "samples/samples.json").read_text())["validations"]
    assert [one["step"] for one in entries] == [2, 4]
    assert write_report(run).read_text("utf-8") == (run / "report.html").read_text("utf-8")


def test_pictures_that_cannot_be_written_do_not_end_a_run(tmp_path, make_image, caplog):
    config = config_of(tmp_path, make_image)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "samples").write_text("in the way")
    train(config, tmp_path / "run")
    assert "sample pictures are not written" in caplog.text


def test_long_runs_keep_a_few_pictures_evenly(tmp_path):
    image = ValidationImage(np.zeros((20, 30), np.uint8))
    samples = Samples(tmp_path, [image], 25, 0)
    network = ADNet(1).eval()
    for step in range(0, 4000, 100):
        samples.draw(network, torch.device("cpu"), step)
    entries = json.loads((tmp_path / "samples/samples.json").read_text())["validations"]
    steps = [one["step"] for one in entries]
    assert (steps[0], steps[-1], len(steps)) == (0, 3900, 10)
    assert max(np.diff(steps)) <= 1000
    names = {path.name for path in (tmp_path / "samples").glob("0*.png")}
    assert names == {f"{step:08}-0.png" for step in steps}


def test_no_run_no_page(tmp_path):
    with pytest.raises(UsageError, match="holds no training run"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("points", "logarithmic", "drawn"),
    [
        ([], False, False),
        ([(1, 2.0)], False, False),
        ([(1, 2.0), (2, 2.0)], False, True),  # flat
        ([(1, float("nan")), (2, 1.0), (3, 2.0)], False, True),
        ([(1, 0.0), (2, -1.0), (3, 2.0)], True, False),
        ([(i, 1.0 + i) for i in range(50_000)], True, True),
    ],
)
def test_curves(points, logarithmic, drawn):
    text = curve("a <b>", points, logarithmic=logarithmic)
    assert bool(text) == drawn
    assert "nan" not in text
    assert "<b>" not in text
    assert len(text) < 50_000


def test_labels_tell_the_lines_apart():
    for reach in (1e-4, 0.003, 0.4, 7, 3000):
        labels = re.findall(r'"end">([^<]*)', curve("a", [(1, 26.0), (2, 26.0 + reach)]))[:5]
        assert len(set(labels)) == 5, labels


@pytest.mark.slow
@pytest.mark.browser
@needs_browser
def test_in_a_browser(tmp_path, make_image):
    config = config_of(tmp_path, make_image)
    train(dataclasses.replace(config, init="gray-blind"), tmp_path / "run")
    size = {"width": 390, "height": 844}
    with chromium() as browser, looks(browser, viewport=size) as look:
        look.page.goto((tmp_path / "run" / "report.html").as_uri())
        assert look.page.locator(".compare-view").count() == 4
        assert look.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert look.complaints == []
        assert look.others() == []
        if folder := os.environ.get("ADNET_SCREENSHOTS"):
            look.page.set_viewport_size({"width": 1280, "height": 800})
            look.page.screenshot(path=f"{folder}/train.png", full_page=True)
