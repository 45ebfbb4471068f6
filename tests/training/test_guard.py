import dataclasses
import json
import math
import random
import signal

import pytest
import torch

from adnet.errors import BackendUnavailable, TrainingError
from adnet.models.checkpoint import load_checkpoint
from adnet.training import learner as learning
from adnet.training import train as loop
from adnet.training.config import TrainConfig
from adnet.training.guard import BLOCK, MOST_ROLLBACKS, LossGuard
from adnet.training.precision import LARGEST_HALF, LossScaler, set_hf32
from adnet.training.world import World

WORLD = World(torch.device("cpu"))


class Steps:
    """Feeds a guard blocks of losses, counting the steps as a run does."""

    def __init__(self):
        self.guard, self.step = LossGuard(), 0

    def block(self, losses):
        self.step += BLOCK
        return self.guard.ran_away(self.step, losses)

    def calm(self, level, count, noise=0.5):
        draw = random.Random(0)
        return [
            self.block([level * (1 + noise * draw.uniform(-1, 1)) for _ in range(BLOCK)])
            for _ in range(count)
        ]


def test_noise_and_single_bad_batches_are_no_runaway():
    run = Steps()
    assert not any(run.calm(0.01, 30, noise=0.9))
    assert not run.block([0.01] * (BLOCK - 5) + [1e6] * 5)


def test_a_loss_that_grows_has_run_away():
    run = Steps()
    run.calm(0.01, 3)
    assert not run.block([0.02] * BLOCK)
    assert run.block([0.05] * BLOCK)
    assert not run.block([0.01] * BLOCK)
    # A slow climb is seen against the lowest of the blocks before it.
    assert any(run.block([0.01 * 1.3**k] * BLOCK) for k in range(9))


def test_a_loss_that_is_not_finite_has_run_away_at_once():
    run = Steps()
    run.calm(0.01, 1)
    assert not run.guard.ran_away(23, [0.01] * 3)
    assert run.guard.ran_away(25, [0.01, float("nan")])
    # The rest of that block is judged alone.
    assert not run.guard.ran_away(40, [0.01] * 15)
    assert run.guard.losses == []


def test_the_guard_goes_back_before_the_newest_state_and_halves_the_rate():
    guard = LossGuard()
    for name in ("a", "b", "c"):
        guard.keep({"name": name})
    assert guard.go_back()["name"] == "b"
    assert guard.rate_factor == 0.5
    assert guard.go_back()["name"] == "b"
    assert guard.rate_factor == 0.25
    for _ in range(MOST_ROLLBACKS - 2):
        guard.go_back()
    with pytest.raises(TrainingError, match="ran away again after 8 returns"):
        guard.go_back()


def test_an_early_state_is_not_measured_against_later_losses():
    run = Steps()
    run.guard.keep({})
    falling = [0.0012 + 0.0084 * math.exp(-step / 50) for step in range(180)]
    for start in range(0, 180, BLOCK):
        assert not run.block(falling[start : start + BLOCK])
    assert run.block([float("nan")] * BLOCK)
    run.guard.go_back()
    for start in range(0, 180, BLOCK):
        assert not run.block(falling[start : start + BLOCK])


@pytest.mark.parametrize(
    ("gradient", "overflowed", "vanished"),
    [
        ([1.0, -65503.0], False, False),
        ([1.0, LARGEST_HALF], True, False),
        ([-LARGEST_HALF, 0.0], True, False),
        ([1.0, float("inf")], True, False),
        ([float("nan"), 1.0], True, False),
        ([0.0, 0.0], False, True),  # what nan -> 0 leaves behind, or an underflow
        ([0.0, 1e-30], False, False),
    ],
)
def test_overflow_is_seen_also_where_half_precision_saturates(gradient, overflowed, vanished):
    scaler = LossScaler(None)
    gradients = [torch.tensor([[0.5, 2.0]]), torch.tensor(gradient)]
    assert scaler.inspect(gradients).tolist() == [overflowed, vanished]


def test_the_scale_follows_overflow_and_underflow():
    scaler = LossScaler(None)
    assert not scaler.update(overflowed=True, vanished=False)
    assert (scaler.scale, scaler.skipped) == (2.0**15, 1)
    assert not scaler.update(overflowed=False, vanished=True)
    assert (scaler.scale, scaler.skipped) == (2.0**16, 2)
    for _ in range(LossScaler.GROWTH_INTERVAL):
        assert scaler.update(overflowed=False, vanished=False)
    # The step that completes the interval was still scaled by the old value.
    assert (scaler.used, scaler.scale) == (2.0**16, 2.0**17)
    fixed = LossScaler(8.0)
    fixed.update(overflowed=True, vanished=True)
    assert fixed.scale == 8.0
    copy = LossScaler(None)
    copy.load_state_dict(fixed.state_dict())
    assert copy.state_dict() == fixed.state_dict()


@pytest.mark.parametrize(("what", "other"), [("overflowed", "smaller"), ("vanished", "larger")])
def test_a_run_that_only_skips_ends(what, other):
    scaler = LossScaler(None)
    happened = {"overflowed": False, "vanished": False} | {what: True}
    for _ in range(99):
        scaler.update(**happened)
    with pytest.raises(TrainingError, match=f"{what} in 100 steps in a row .* Use a {other}"):
        scaler.update(**happened)


def test_hf32_is_for_npus():
    set_hf32(torch.device("cpu"), None)
    with pytest.raises(BackendUnavailable, match="--hf32 is a setting of Ascend NPUs"):
        set_hf32(torch.device("cpu"), False)


@pytest.fixture
def config(tmp_path, make_image):
    for index in range(3):
        make_image(tmp_path / "data" / f"{index}.png", size=(48, 48), seed=index)
    return TrainConfig(
        data=(str(tmp_path / "data"),), val_images=1, patch=12, batch=2, steps=60, warmup_steps=0,
        scales=(1.0,), val_every=60, log_every=10,
    )  # fmt: skip


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def explosion(monkeypatch):
    """Step 30 of every run multiplies the last layer by ten thousand."""
    original = learning.Learner.learn

    def explode_once(self, noisy, clean, lr):
        if self.step == 30:
            with torch.no_grad():
                self.network.conv1_16.weight.mul_(1e4)
        return original(self, noisy, clean, lr)

    monkeypatch.setattr(learning.Learner, "learn", explode_once)


@pytest.mark.slow
@pytest.mark.usefixtures("explosion")
def test_a_run_that_explodes_goes_back_and_ends_well(config, tmp_path):
    loop.train(config, tmp_path / "run", WORLD)
    lines = lines_of(tmp_path / "run")
    (event,) = [line for line in lines if "rollback" in line]
    assert event == {"step": 40, "rollback": 1, "lr_factor": 0.5}
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert losses[40] > 100 * losses[20]
    assert losses[60] < 2 * losses[20]
    rates = {line["step"]: line["lr"] for line in lines if "lr" in line}
    assert rates[50] < 0.51 * rates[30]


@pytest.mark.slow
@pytest.mark.usefixtures("explosion")
@pytest.mark.parametrize("stop_at", [25, 33, 47])
def test_a_resumed_run_goes_back_alike(config, tmp_path, stop_at):
    loop.train(config, tmp_path / "straight", WORLD)

    def interrupt(progress):
        if progress.step == stop_at:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        loop.train(config, tmp_path / "broken", WORLD, on_progress=interrupt)
    loop.train(config, tmp_path / "broken", WORLD, resume=True)
    expected, got = (
        load_checkpoint(tmp_path / name / "last.pth").network.state_dict()
        for name in ("straight", "broken")
    )
    assert all(torch.equal(expected[key], got[key]) for key in expected)


def test_a_loss_that_never_recovers_ends_the_run(config, tmp_path, monkeypatch):
    monkeypatch.setattr(
        learning.nn.functional, "mse_loss", lambda a, b: (a - b).square().mean() * float("nan")
    )
    long = dataclasses.replace(config, steps=400, val_every=1000)
    with pytest.raises(TrainingError, match="ran away again after 8 returns"):
        loop.train(long, tmp_path / "run", WORLD)


@pytest.mark.slow
def test_half_precision_skips_what_overflows(config, tmp_path, monkeypatch):
    half = dataclasses.replace(config, precision="fp16", steps=20, val_every=20)
    original = LossScaler.inspect
    calls = []

    def inspect(self, gradients):
        calls.append(self.scale)
        if len(calls) in (3, 4):
            for gradient in gradients:
                gradient.clamp_(min=LARGEST_HALF)
        return original(self, gradients)

    monkeypatch.setattr(LossScaler, "inspect", inspect)
    loop.train(half, tmp_path / "run", WORLD)
    last = [line for line in lines_of(tmp_path / "run") if "scale" in line][-1]
    assert (last["skipped"], last["scale"]) == (2, 2.0**14)
    assert calls[2:5] == [2.0**16, 2.0**15, 2.0**14]
    assert last["loss"] < 0.1
