import dataclasses
from itertools import pairwise

import pytest

from adnet.errors import UsageError
from adnet.training.config import TrainConfig
from adnet.training.recipes import RECIPES, recipe_options
from adnet.training.schedule import fraction_done, learning_rate


@pytest.fixture
def config():
    return TrainConfig(data=("x",), steps=100)


def test_schedule_warms_up_and_ends_low(config):
    config = dataclasses.replace(config, warmup_steps=10, steps=100)
    rates = [learning_rate(config, step, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4, rel=0.01)
    assert max(rates) == pytest.approx(1e-3, rel=0.05)
    assert rates[100] == pytest.approx(1e-6)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_the_run_ends_by_steps_or_by_time(config):
    assert fraction_done(config, 100, 25, 1e9) == 0.25
    timed = dataclasses.replace(config, max_minutes=10.0)
    assert fraction_done(timed, 100, 25, 300) == 0.5
    assert fraction_done(timed, None, 25, 60) == 0.1
    assert fraction_done(timed, 100, 120, 0) == 1


@pytest.mark.parametrize(
    ("recipe", "epochs"),
    [
        # The published script, epochs counted from 0: 1e-3 up to 30, 1e-4 up to 60, then 1e-5.
        ("paper", {0: 1e-3, 30: 1e-3, 31: 1e-4, 60: 1e-4, 61: 1e-5, 69: 1e-5}),
        # ModelZoo's: 1e-3 up to 60, then 1e-5.
        ("modelzoo", {0: 1e-3, 31: 1e-3, 60: 1e-3, 61: 1e-5, 69: 1e-5}),
    ],
)
def test_recipes_follow_the_published_schedules(recipe, epochs):
    config = TrainConfig(data=("x",), **recipe_options(recipe))
    assert (config.epochs, config.batch, config.loss) == (70, 128, "sum")
    per_epoch = 37
    for epoch, rate in epochs.items():
        for step in (epoch * per_epoch, (epoch + 1) * per_epoch - 1):
            fraction = fraction_done(config, 70 * per_epoch, step, 0)
            assert learning_rate(config, step, fraction) == pytest.approx(rate)


def test_every_recipe_is_valid_and_others_are_refused():
    for name in RECIPES:
        TrainConfig(data=("x",), **({"steps": 1} | recipe_options(name) | {"epochs": None,
                                                                         "steps": 1}))  # fmt: skip
    with pytest.raises(UsageError, match="default, cpu, paper, modelzoo"):
        recipe_options("secret")
