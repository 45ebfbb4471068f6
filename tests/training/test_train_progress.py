"""What adnet-train says while it runs."""

import dataclasses
import logging
import re
import sys

import pytest
import torch

from adnet.training import train as loop
from adnet.training.cli import main, training_display
from adnet.training.config import TrainConfig, refuse_changes
from adnet.training.progress import (
    ProgressLines,
    TrainProgress,
    describe_start,
    describe_time,
)
from adnet.training.world import World, speaks_for_all


@pytest.fixture
def folder(tmp_path, make_image):
    for index in range(3):
        make_image(tmp_path / "data" / f"{index}.png", size=(40, 40), seed=index)
    return tmp_path / "data"


@pytest.fixture
def config(folder):
    return TrainConfig(
        data=(str(folder),), val_images=1, patch=16, batch=2, steps=4, val_every=2, scales=(1.0,),
        warmup_steps=0,
    )  # fmt: skip


def train(config, run, **options):
    return loop.train(config, run, World(torch.device("cpu")), **options)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_a_line_an_interval_with_all_that_is_known():
    lines, clock = [], Clock()
    display = ProgressLines(lines.append, 60, clock)
    # One step in 25 s, of 1000: the line that is due waits for the step that is going on.
    for step in range(1, 10):
        clock.now += 25
        known = step > 4
        display.show(
            TrainProgress(
                (step - 1) / 1000, step, 5.12, 0.25 if known else None, 28.456 if known else None
            )
        )
    assert lines == [
        "0.2 %: step 3, 5.1 patches/s, 6 h 55 min left",
        "0.5 %: step 6, loss 0.25000, 5.1 patches/s, PSNR 28.46 dB, 6 h 54 min left",
        "0.8 %: step 9, loss 0.25000, 5.1 patches/s, PSNR 28.46 dB, 6 h 53 min left",
    ]


def test_the_time_left_of_a_resumed_run_is_by_its_present_speed():
    lines, clock = [], Clock()
    display = ProgressLines(lines.append, 60, clock)
    for fraction in (0.5, 0.6):  # the first half was another process's
        clock.now += 59
        display.show(TrainProgress(fraction, 5, 100.4, 0.1, None))
    assert lines == ["60.0 %: step 5, loss 0.10000, 100 patches/s, 3 min 56 s left"]


def test_no_time_is_guessed_before_anything_is_done():
    lines = []
    ProgressLines(lines.append, 0, Clock()).show(TrainProgress(0.0, 1, 3.0, None, None))
    assert lines == ["0.0 %: step 1, 3.0 patches/s"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (725, "12 min 05 s"), (3600, "1 h 00 min"),
     (11_240, "3 h 07 min"), (360_000, "100 h 00 min")],
)  # fmt: skip
def test_times_in_words(seconds, text):
    assert describe_time(seconds) == text


@pytest.mark.parametrize(
    ("options", "length", "step", "parts"),
    [
        ({"steps": 9}, 9, 0, ["gray, sigma 0-55", "; 9 steps of 128 patches of 50x50"]),
        ({"max_minutes": 1.5}, None, 0, ["; 1.5 minutes of 128"]),
        ({"epochs": 2, "max_minutes": 3.0}, 14, 0, ["; 14 steps or 3 minutes of"]),
        ({"steps": 9, "sigma": (25.0, 25.0), "channels": 3}, 9, 0, ["colour, sigma 25, "]),
        ({"steps": 9, "noise": "pairs", "scales": (1.0,)}, 9, 0, ["gray, pairs, "]),
        ({"steps": 9, "init": "/a/best.pth"}, 9, 0, [" from best.pth on CPU"]),
        ({"steps": 9}, 9, 5, [", going on from step 5"]),
    ],
)
def test_the_first_line(options, length, step, parts):
    config = TrainConfig(data=("x",), **options)
    line = describe_start(config, length, step, device="CPU", parameters=3, data="7 images")
    assert "3 parameters" in line
    assert "on CPU, fp32; 7 images; " in line
    for part in parts:
        assert part in line
    assert "\n" not in line


def told(caplog):
    return [re.split(r"[ :]", record.getMessage())[0] for record in caplog.records]


def test_first_line_lines_between_and_the_last_one(config, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with training_display(False, 0.0) as show:
        train(config, tmp_path / "run", on_progress=show)
    assert told(caplog) == ["training", "0.0", "25.0", "step", "50.0", "75.0", "step", "done"]
    between = [line for line in caplog.messages if " %: " in line]
    # The loss and the speed are known from the first step on, though metrics come every 50.
    assert all(re.search(r"loss \d\.\d{5}, (?!0\.0 )[\d.]+ patches/s", line) for line in between)
    assert ["PSNR" in line for line in between] == [False, False, True, True]
    assert "left" in between[-1]
    last = caplog.messages[-1]
    assert str(tmp_path / "run" / "best.pth") in last
    assert re.search(r"validation PSNR \d+\.\d{3} dB; the best, \d+\.\d{3} dB", last)


@pytest.mark.parametrize(
    ("sigma", "level", "warned"),
    [((0, 15), 25, True), ((30, 70), 25, True), ((15, 15), 25, True), ((0, 55), 25, False),
     ((25, 25), 25, False), ((0, 25), 25, False)],
)  # fmt: skip
def test_a_level_that_is_not_trained_for_is_told(config, tmp_path, caplog, sigma, level, warned):
    config = dataclasses.replace(config, sigma=sigma, val_sigma=level, steps=1)
    train(config, tmp_path / "run")
    assert ("which is not trained for" in caplog.text) == warned
    if warned:
        assert f"validated at sigma {level}, which is not trained for ({sigma[0]} to" in caplog.text


def test_a_terminal_gets_a_bar_and_no_lines(config, tmp_path, caplog, capsys, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    filters = [len(handler.filters) for handler in logging.getLogger().handlers]
    with training_display(False, 0.0) as show:
        train(config, tmp_path / "run", on_progress=show)
    assert told(caplog) == ["training", "step", "step", "done"]
    assert "\r\033[K" in capsys.readouterr().err  # a log line replaces the bar
    assert [len(handler.filters) for handler in logging.getLogger().handlers] == filters


@pytest.mark.slow
def test_quiet_is_silent_but_for_warnings(cli_here, folder, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    make = ["adnet-train", folder, "--steps", 2, "--batch", 2, "--patch", 16, "--val-images", 1]
    result = cli_here(main, *make, "-o", tmp_path / "quiet", "--quiet")
    assert (result.returncode, result.stderr, caplog.messages) == (0, "", [])
    # 0.3 of 40 pixels is less than a patch.
    result = cli_here(main, *make, "-o", tmp_path / "b", "-q", "--scales", "1,0.3")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    assert cli_here(main, *make, "-o", tmp_path / "loud").returncode == 0
    assert told(caplog)[0] == "training"  # silence ended with the quiet run


@pytest.mark.parametrize(
    ("environment", "speaks"),
    [
        ({}, True),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, False),
    ],
)
def test_one_worker_speaks_for_all(monkeypatch, environment, speaks):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert speaks_for_all() is speaks


def test_a_run_from_before_recipes_were_recorded_can_be_resumed(config, tmp_path):
    stored = config.to_dict()
    del stored["recipe"]
    refuse_changes(stored, config, tmp_path)
