"""The line that is printed for a recorded run, read back by adnet-train's own command line."""

import dataclasses
import json
import shlex

import pytest
import typer

from adnet.models.shipped import pretrained_models
from adnet.training import cli as cli_train
from adnet.training import start as run
from adnet.training.command import train_command
from adnet.training.config import TrainConfig
from adnet.training.recipes import RECIPES, complete_options

OTHERS = {
    "val": ("Set12", "more images"),
    "val_images": 3,
    "channels": 3,
    "sigma": (10.0, 12.3456789),
    "val_sigma": 50.0,
    "epochs": 3,
    "steps": 500,
    "max_minutes": 0.1 + 0.2,
    "patch": 41,
    "batch": 36,
    "scales": (1.0, 1 / 3),
    "augment": False,
    "optimizer": "adamw",
    "weight_decay": 1e-4,
    "momentum": 0.85,
    "loss": "sum",
    "lr": 1.23456789e-3,
    "schedule": "steps",
    "milestones": (1 / 7, 0.9),
    "decay": 0.25,
    "warmup_steps": 0,
    "final_lr_ratio": 0.0,
    "ema": 0.0,
    "clip_norm": None,
    "seed": 7,
    "init": "gray-blind",
    "freeze_norm": True,
    "precision": "bf16",
    "loss_scale": 16.0,
    "hf32": False,
    "quantize": "int8",
    "weight_bits": 8,
    "compile": True,
    "device": "cuda:1",
    "val_every": 77,
    "log_every": 5,
    "save_minutes": 2.5,
    "save_every": 10,
    "keep": 1,
}
"""Another value than any recipe's for every field but those of `NEEDS`' keys."""

NEEDS = {
    "momentum": {"optimizer": "sgd"},
    "milestones": {"schedule": "steps"},
    "decay": {"schedule": "steps"},
    "final_lr_ratio": {"schedule": "cosine"},
    "loss_scale": {"precision": "fp16"},
    "steps": {"epochs": None},
    "epochs": {"steps": None},
    "quantize": {"init": "gray-blind", "optimizer": "adam"},
    "weight_bits": {"quantize": "int8", "init": "gray-blind", "optimizer": "adam"},
}
"""Field -> what else is set, because it has no effect, or is refused, otherwise."""

BACK = {
    "clip_norm": 1.0, "loss_scale": None, "hf32": True, "milestones": (), "schedule": "cosine",
    "augment": True, "loss": "mean", "precision": "fp32", "optimizer": "adam", "ema": 0.999,
    "warmup_steps": 500, "epochs": 71,
}  # fmt: skip
"""Against a recipe, back to the defaults."""


@pytest.fixture(scope="module")
def program():
    """adnet-train's command line, built once: that takes longer than to read a line with it."""
    return typer.main.get_command(cli_train.app)


@pytest.fixture
def parsed(program, monkeypatch, capsys):
    """Read a command line as adnet-train does: parsed(line) gives its TrainConfig."""

    def parse(line):
        started = []
        monkeypatch.setattr(run, "run_training", lambda config, *_, **__: started.append(config))
        name, *arguments = shlex.split(line)
        assert name == "adnet-train"
        assert program.main(arguments, standalone_mode=False) is None, capsys.readouterr().err
        (config,) = started
        return config

    return parse


def of(recipe, **change):
    """A config as adnet-train makes it of a recipe, with fields changed."""
    options = complete_options(recipe, {}) | {"data": ("BSD432",)}
    if "epochs" not in options and not change.keys() & {"steps", "epochs", "max_minutes"}:
        options["steps"] = 20
    return TrainConfig(**options | change)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "older"])
def test_every_field_comes_back(parsed, recipe, recorded):
    """Of a recipe, each field alone with another value; also where the recipe is not recorded."""
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert fields - OTHERS.keys() == {"data", "noise", "recipe"}
    changes = [{}]
    for values in (OTHERS, BACK):
        changes += [{name: value, **NEEDS.get(name, {})} for name, value in values.items()]
    for change in changes:
        no_scale = {} if change.get("precision", "fp16") == "fp16" else {"loss_scale": None}
        config = of(recipe, **change, **no_scale)
        stored = config.to_dict()
        if not recorded:
            del stored["recipe"]
        again = parsed(train_command(stored))
        expected = dataclasses.replace(config, recipe=recipe if recorded else again.recipe)
        assert again == expected, change


@pytest.mark.parametrize("recipe", RECIPES)
def test_many_fields_at_once_come_back(parsed, recipe):
    change = dict(OTHERS, precision="fp16", epochs=None, quantize=None, weight_bits=7)
    config = of(recipe, **change)
    again = parsed(train_command(config.to_dict()))
    # Without effect with muon and with a fall in steps.
    assert again == dataclasses.replace(
        config, momentum=again.momentum, final_lr_ratio=again.final_lr_ratio
    )


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (of("paper"), "--recipe paper"),
        (of("modelzoo", sigma=(25.0, 25.0), val_sigma=25.0, batch=1024, device="npu"),
         "--recipe modelzoo --sigma 25 --batch 1024 --device npu"),
        (of("paper", clip_norm=0.5, max_minutes=5.0),
         "--recipe paper --epochs 70 --max-minutes 5 --clip-norm 0.5"),
        (of("paper", epochs=None, steps=9), "--recipe paper --steps 9"),
        (of("default", sigma=(15.0, 15.0), val_sigma=15.0), "--sigma 15 --steps 20"),
        (of("default", val_sigma=50.0), "--val-sigma 50 --steps 20"),
        (of("default", noise="pairs", channels=3, scales=(1.0,)),
         "--pairs --channels 3 --steps 20"),
        (of("default", clip_norm=None), "--steps 20 --clip-norm 0"),
        (of("cpu", channels=3, lr=0.002), "--recipe cpu --channels 3 --steps 20 --lr 0.002"),
        (of("modelzoo", loss_scale=None), "--recipe modelzoo --loss-scale 0"),
        (of("default", val=("a/Set 12", "b/Kodak")),
         "--val 'Set 12' --val Kodak --steps 20"),
    ],
)  # fmt: skip
def test_the_line_is_short_and_comes_back(parsed, config, line):
    stored = config.to_dict()
    assert train_command(stored) == f"adnet-train BSD432 -o RUN {line}"
    assert parsed(train_command(stored)).to_dict() == stored


@pytest.mark.parametrize("recipe", ["paper", "modelzoo"])
def test_a_recipe_that_was_not_recorded_is_recognised(recipe):
    stored = of(recipe, seed=3).to_dict()
    del stored["recipe"]
    assert train_command(stored) == f"adnet-train BSD432 -o RUN --recipe {recipe} --seed 3"


@pytest.mark.parametrize("field", ["init", "data", "val"])
@pytest.mark.parametrize("path", ["/home/somebody/runs/a b/best.pth", "../runs/best.pth", "-x/-y"])
def test_no_path_of_ones_machine_is_printed(parsed, field, path):
    config = of("default", **{field: path if field == "init" else (path,)})
    for stored in (config.to_dict(), json.loads(json.dumps(dataclasses.asdict(config)))):
        line = train_command(stored)
        assert "somebody" not in line
        assert ".." not in line
        assert parsed(line).to_dict() == config.to_dict()


def test_a_folder_meant_by_dots_is_named(tmp_path, monkeypatch):
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "photos")
    assert of("default", data=(".",)).to_dict()["data"] == ["photos"]
    monkeypatch.chdir("sub")
    assert of("default", data=("..",)).to_dict()["data"] == ["photos"]


BOOTSTRAP = {
    "data": ["BSD432"], "val": [], "val_images": 6, "noise": "awgn", "channels": 1,
    "sigma": [25.0, 25.0], "val_sigma": 25.0, "patch": 48, "batch": 24,
    "scales": [1.0, 0.9, 0.8, 0.7], "augment": True, "epochs": None, "steps": None,
    "max_minutes": 85.0, "optimizer": "muon", "weight_decay": 0.0, "momentum": 0.9, "loss": "mean",
    "lr": 0.004, "schedule": "cosine", "milestones": [], "decay": 0.1, "warmup_steps": 100,
    "final_lr_ratio": 0.001, "ema": 0.999, "clip_norm": 1.0, "seed": 1, "init": "gray-blind",
    "freeze_norm": False, "precision": "bf16", "loss_scale": None, "hf32": None, "compile": False,
    "device": "cpu", "val_every": 1000, "log_every": 50, "save_minutes": 5.0, "save_every": None,
    "keep": 3,
}  # fmt: skip
"""config.json of a run from before recipes were recorded."""


def test_older_runs_can_be_started_again(parsed):
    """Those that are shipped, with their stages, whose lines stand in the index, and one more."""
    stages = [{"config": BOOTSTRAP}]
    for model in pretrained_models():
        stage = model.card.training
        while stage:
            stages.append(stage)
            stage = stage.get("init")
    assert len(stages) > 2
    for stage in stages:
        for line in {train_command(stage["config"]), stage.get("command")} - {None}:
            again = parsed(line).to_dict()
            later = {"recipe": "default", "quantize": None, "weight_bits": 7}
            assert again == later | stage["config"]


def test_the_program_records_the_recipe(parsed):
    assert parsed("adnet-train h5 -o RUN --recipe paper").to_dict()["recipe"] == "paper"
    assert parsed("adnet-train h5 -o RUN --steps 2").to_dict()["recipe"] == "default"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("--milestones 0.5", "--milestones has no effect"),
        ("--decay 0.5 --schedule cosine", "--decay has no effect"),
        ("--final-lr-ratio 0.1 --schedule steps", "--final-lr-ratio has no effect"),
        ("--recipe paper --final-lr-ratio 0.1", "--final-lr-ratio has no effect"),
        ("--momentum 0.5", "--momentum has no effect"),
        ("--pairs --val-sigma 3", "--val-sigma has no effect"),
        ("--schedule linear", "'linear' is not one of 'cosine', 'steps'"),
        ("--schedule steps --milestones 2", "shares of the run"),
        ("--schedule steps --milestones x", "--milestones: expected"),
        ("--schedule steps --decay 0", "decay must lie in 0..1"),
        ("--final-lr-ratio 2", "final lr ratio must lie in 0..1"),
        ("--save-minutes 0", "save minutes must be above 0"),
        ("--log-every 0", "log every must be at least 1"),
        ("--clip-norm -1", "clip norm must be above 0"),
        ("--recipe secret", "'default', 'cpu', 'paper', 'modelzoo'"),
    ],
)
def test_what_has_no_effect_or_no_sense_is_refused(cli_here, arguments, part):
    line = ["data", "-o", "run", "--steps", "1", *arguments.split()]
    result = cli_here(cli_train.main, "adnet-train", *line)
    assert result.returncode == 2, result.stderr
    assert part in result.stderr
