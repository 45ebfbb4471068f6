import dataclasses
import json
import random
import signal

import pytest
import torch

from adnet.checkpoint import load_checkpoint
from adnet.errors import BackendUnavailable, TrainingError
from adnet.training import learner as learning
from adnet.training import train as loop
from adnet.training.config import TrainConfig
from adnet.training.guard import BLOCK, MOST_ROLLBACKS, LossGuard
from adnet.training.precision import LARGEST_HALF, LossScaler, set_hf32
from adnet.training.world import World

WORLD = World(torch.device("cpu"))


def blocks(guard, level, count, noise=0.5):
    draw = random.Random(0)
    return [
        guard.ran_away([level * (1 + noise * draw.uniform(-1, 1)) for _ in range(BLOCK)])
        for _ in range(count)
    ]


def test_noise_and_single_bad_batches_are_no_runaway():
    guard = LossGuard()
    assert not any(blocks(guard, 0.01, 30, noise=0.9))
    assert not guard.ran_away([0.01] * (BLOCK - 5) + [1e6] * 5)


def test_a_loss_that_grows_or_is_not_finite_has_run_away():
    guard = LossGuard()
    blocks(guard, 0.01, 3)
    assert not guard.ran_away([0.02] * BLOCK)
    assert guard.ran_away([0.05] * BLOCK)
    assert guard.ran_away([0.01] * (BLOCK - 1) + [float("nan")])
    assert not guard.ran_away([0.01] * BLOCK)
    # A slow climb is seen against the lowest of the blocks before it.
    assert any(guard.ran_away([0.01 * 1.3**k] * BLOCK) for k in range(9))


def test_the_guard_goes_back_before_the_newest_state_and_halves_the_rate():
    guard = LossGuard()
    for name in ("a", "b", "c"):
        guard.snapshots.append({"name": name})
    assert guard.go_back()["name"] == "b"
    assert guard.rate_factor == 0.5
    assert guard.go_back()["name"] == "b"
    assert guard.rate_factor == 0.25
    for _ in range(MOST_ROLLBACKS - 2):
        guard.go_back()
    with pytest.raises(TrainingError, match="ran away again after 8 returns"):
        guard.go_back()


@pytest.mark.parametrize(
    ("gradient", "overflowed"),
    [
        ([1.0, -65503.0], False),
        ([1.0, LARGEST_HALF], True),
        ([-LARGEST_HALF, 0.0], True),
        ([1.0, float("inf")], True),
        ([float("nan"), 1.0], True),
        ([0.0, 0.0], True),  # what nan -> 0 leaves behind
        ([0.0, 1e-30], False),
    ],
)
def test_overflow_is_seen_also_where_half_precision_saturates(gradient, overflowed):
    scaler = LossScaler(None)
    gradients = [torch.tensor([[0.5, 2.0]]), torch.tensor(gradient)]
    assert bool(scaler.overflow(gradients) > 0) == overflowed


def test_the_scale_backs_off_and_grows_again():
    scaler = LossScaler(None)
    scaler.update(overflowed=True)
    assert (scaler.scale, scaler.skipped) == (2.0**15, 1)
    for _ in range(LossScaler.GROWTH_INTERVAL):
        scaler.update(overflowed=False)
    assert scaler.scale == 2.0**16
    fixed = LossScaler(8.0)
    fixed.update(overflowed=True)
    assert fixed.scale == 8.0
    copy = LossScaler(None)
    copy.load_state_dict(fixed.state_dict())
    assert copy.state_dict() == fixed.state_dict()
    for _ in range(99):
        scaler.update(overflowed=True)
    with pytest.raises(TrainingError, match="overflowed in 100 steps in a row"):
        scaler.update(overflowed=True)


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


def test_half_precision_skips_what_overflows(config, tmp_path, monkeypatch):
    half = dataclasses.replace(config, precision="fp16", steps=20, val_every=20)
    original = LossScaler.overflow
    calls = []

    def overflow(self, gradients):
        calls.append(self.scale)
        if len(calls) in (3, 4):
            for gradient in gradients:
                gradient.clamp_(min=LARGEST_HALF)
        return original(self, gradients)

    monkeypatch.setattr(LossScaler, "overflow", overflow)
    loop.train(half, tmp_path / "run", WORLD)
    last = [line for line in lines_of(tmp_path / "run") if "scale" in line][-1]
    assert (last["skipped"], last["scale"]) == (2, 2.0**14)
    assert calls[2:5] == [2.0**16, 2.0**15, 2.0**14]
    assert last["loss"] < 0.1
