"""A run whose network computes nothing, or that learned nothing, does not end well."""

import dataclasses
import logging
import math
import warnings

import pytest
import torch

from adnet.errors import TrainingError
from adnet.models.checkpoint import load_checkpoint
from adnet.training import train as loop
from adnet.training.cli import main
from adnet.training.config import TrainConfig
from adnet.training.learner import Learner
from adnet.training.world import World

NAN, INF = math.nan, math.inf


@pytest.fixture
def config(tmp_path, make_image):
    for index in range(3):
        make_image(tmp_path / "data" / f"{index}.png", size=(40, 40), seed=index)
    return TrainConfig(
        data=(str(tmp_path / "data"),), val_images=1, patch=16, batch=2, steps=4, val_every=1,
        warmup_steps=0, scales=(1.0,),
    )  # fmt: skip


def train(config, run, **options):
    return loop.train(config, run, World(torch.device("cpu")), **options)


def train_until(config, run, step):
    """Train up to a step, with what was saved by then."""

    def interrupt(progress):
        if progress.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataclasses.replace(config, save_every=2), run, on_progress=interrupt)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("found", "best", "resumed"),
    [
        ([30.0, NAN, 29.0, 28.0], 1, True),
        ([NAN, NAN, 29.0, 28.0], 3, False),
        ([NAN, NAN, 29.0, 28.0], 3, True),
        ([-INF, 20.0, NAN, 21.0], 4, False),
        ([30.0, 31.0, NAN, NAN], 2, False),
        ([30.0, 31.0, NAN, NAN], 2, True),
        ([30.0, 31.0, 29.0, -INF], 2, False),
        ([30.0, INF, 29.0, INF], 2, False),
        ([NAN, NAN, NAN, NAN], 4, False),
        ([-INF, -INF, -INF, -INF], 4, False),
    ],
)
def test_no_number_replaces_a_number(config, tmp_path, monkeypatch, found, best, resumed):
    """Where no validation gave a number, the newest network is kept, so that there is one."""
    run, values = tmp_path / "run", iter(found)
    monkeypatch.setattr(loop, "validate", lambda *_: next(values))

    if resumed:
        train_until(config, run, 3)
        values = iter(found[1:])  # that of step 2 is made again
    ends_well = found[-1] > -INF
    if ends_well:
        train(config, run, resume=resumed)
    else:
        kept = "every validation" if not any(one > -INF for one in found) else "31.000 dB, is in"
        with pytest.raises(TrainingError, match=f"step 4: the validation gave no finite.*{kept}"):
            train(config, run, resume=resumed)
    assert load_checkpoint(run / "best.pth").card.training["steps"] == best
    assert (run / "report.html").exists()
    if any(one > -INF for one in found):
        shown = max(one for one in found if one > -INF)
        assert f"<b>{shown:.3f} dB, at step" in (run / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e30])
@pytest.mark.parametrize("pairs", [False, True])
def test_a_network_that_ran_away_is_told_in_one_line(
    config, tmp_path, monkeypatch, make_image, value, pairs
):
    for index in range(3):
        for kind in ("noisy", "clean"):
            make_image(tmp_path / "p" / kind / f"{'abc'[index]}.png", size=(40, 40), seed=index)
    if pairs:
        config = dataclasses.replace(config, noise="pairs", data=(str(tmp_path / "p"),))

    class Broken(torch.nn.Module):
        def forward(self, planes):
            return torch.full_like(planes, value)

    def judge(_network, *others):
        return validate(Broken(), *others)

    def draw(self, _network, *others):
        return original(self, Broken(), *others)

    validate, original = loop.validate, loop.Samples.draw
    monkeypatch.setattr(loop, "validate", judge)
    monkeypatch.setattr(loop.Samples, "draw", draw)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        if math.isnan(value):
            with pytest.raises(TrainingError, match="no finite PSNR"):
                train(config, tmp_path / "run")
        else:  # clipped, it is an image
            train(config, tmp_path / "run")


def test_the_program_says_so(cli_here, config, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "validate", lambda *_: NAN)
    result = cli_here(
        main, "adnet-train", tmp_path / "data", "-o", tmp_path / "run", "--steps", 2, "--batch", 2,
        "--patch", 16, "--val-images", 1,
    )  # fmt: skip
    assert result.returncode == 1
    assert "no finite PSNR" in result.stderr
    assert "best checkpoint" not in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("skipped", ["all", "all but one", "taken back", "none"])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_that_learned_nothing_does_not_end_well(
    config, tmp_path, monkeypatch, skipped, resumed
):
    run = tmp_path / "run"
    if skipped == "taken back":
        original = Learner.learn
        # The weights move, and every loss says that they should not have.
        monkeypatch.setattr(Learner, "learn", lambda *args: original(*args) * NAN)
    elif skipped != "none":
        keep = 4 if skipped == "all but one" else 9
        monkeypatch.setattr(
            Learner, "_gradients_are_usable", lambda learner: learner.step + 1 >= keep
        )

    if resumed:
        train_until(config, run, 2)
    if skipped in ("none", "all but one"):
        train(config, run, resume=resumed)
    else:
        with pytest.raises(TrainingError, match="nothing was learned: each of the 4 steps"):
            train(config, run, resume=resumed)


@pytest.mark.parametrize(
    ("length", "warmup", "told"),
    [
        ({"steps": 2}, 1, False),
        ({"steps": 2}, 2, True),
        ({"steps": 2}, 500, True),
        ({"steps": 2}, 0, False),
        ({"steps": None, "max_minutes": 0.001}, 500, False),
    ],
)
def test_a_warm_up_as_long_as_the_run_is_told(config, tmp_path, caplog, length, warmup, told):
    caplog.set_level(logging.INFO)
    train(dataclasses.replace(config, warmup_steps=warmup, **length), tmp_path / "run")
    assert (f"rises for {warmup} steps (--warmup-steps), the whole run" in caplog.text) == told
