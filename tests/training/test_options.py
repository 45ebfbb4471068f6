"""A training option is stated once: a field of TrainConfig makes the option and its help."""

import dataclasses
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

from adnet.errors import UsageError
from adnet.training import cli
from adnet.training.config import CHOICES, DEFAULTS, FIELDS, TrainConfig
from adnet.training.field_options import SectionedCommand, read_fields, takes_fields
from adnet.training.options import Option, option_fields
from adnet.training.recipes import RECIPES, make_config
from adnet.training.workers import Workers, choose_workers

ARGUMENT = {"data"}
"""Fields of TrainConfig that are no option."""
OF_THE_PROGRAM = {
    "output", "resume", "benchmark", "npus", "gpus", "procs", "nodes", "rendezvous", "quiet",
    "debug", "version", "help", "install_completion", "show_completion",
}  # fmt: skip
"""Options that are no field of TrainConfig."""


@pytest.fixture(scope="module")
def params():
    command = typer.main.get_command(cli.app)
    return {one.name: one for one in command.get_params(typer.Context(command))}


@pytest.fixture(scope="module")
def program_help():
    text = CliRunner().invoke(cli.app, ["--help"], prog_name="adnet-train").stdout
    return " ".join(text.split())


def test_every_field_is_an_option_and_every_other_option_is_the_programs(params):
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert fields == FIELDS.keys() | ARGUMENT
    assert params.keys() == fields | OF_THE_PROGRAM


@pytest.mark.torch
def test_what_is_not_given_is_left_to_the_config(params, monkeypatch):
    from adnet.training import start

    assert all(params[name].default is None for name in FIELDS)
    started = []
    monkeypatch.setattr(start, "run_training", lambda config, *_, **__: started.append(config))
    result = CliRunner().invoke(cli.app, ["data", "-o", "run", "--steps", "9"])
    assert result.exit_code == 0, result.output
    assert started == [TrainConfig(data=("data",), steps=9)]
    assert started == [make_config(["data"], steps=9)]


@pytest.mark.parametrize("name", FIELDS)
def test_the_help_shows_what_the_config_says(params, program_help, name):
    field, param = FIELDS[name], params[name]
    assert field.help in program_help
    assert field.flag in param.opts
    default = DEFAULTS[name]
    if default is not None and not field.is_switch and not field.option.shown:
        assert field.help.endswith(f" [{field.text(default)}]")
    if name in CHOICES and not field.is_switch:
        assert re.search(
            rf"{field.flag} [<\[]{'.'.join(map(str, CHOICES[name]))}[>\]]", program_help
        )


def test_the_help_loads_no_torch():
    code = (
        "import sys; from adnet.training.cli import app; app(['--help'], standalone_mode=False); "
        "import adnet.training.recipes; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_recipes_are_those_of_the_field():
    assert tuple(RECIPES) == CHOICES["recipe"]
    for name, options in RECIPES.items():
        assert options.keys() <= FIELDS.keys(), name


@pytest.mark.parametrize("name", CHOICES)
def test_another_word_is_refused_by_the_program_and_by_the_library(name):
    with pytest.raises(UsageError, match=f"{name} must be one of .*{CHOICES[name][-1]}, got 'x'"):
        TrainConfig(data=("data",), steps=1, **{name: "x"})
    if not FIELDS[name].is_switch:
        result = CliRunner().invoke(cli.app, ["data", "--steps", "1", FIELDS[name].flag, "x"])
        assert result.exit_code == 2
        assert all(f"'{word}'" in result.output for word in CHOICES[name])


@dataclass(frozen=True)
class Every:
    """One field of each kind."""

    plain: int
    whole: Annotated[int, Option("A.")] = 1
    real: Annotated[float | None, Option("B.", zero_is_none=True)] = 2.5
    word: Annotated[Literal["a", "b"], Option("C.", heading="More")] = "a"
    number: Annotated[Literal[1, 3] | None, Option("D.")] = None
    on: Annotated[bool, Option("E.")] = True
    off: Annotated[bool, Option("F.")] = False
    maybe: Annotated[bool | None, Option("G.", shown="the driver's")] = None
    pair: Annotated[tuple[float, float], Option("H.")] = (1.0, 2.0)
    row: Annotated[tuple[float, ...], Option("I.")] = ()
    names: Annotated[tuple[str, ...], Option("J.")] = ()
    paths: Annotated[tuple[str, ...], Option("K.", is_path=True)] = ()
    mode: Annotated[Literal["x", "y"], Option("L.", flag=("--why", "y"))] = "x"
    two_words: Annotated[str, Option("M.")] = "text"


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("", {}),
        ("--whole 0", {"whole": 0}),
        ("--real 0", {"real": None}),
        ("--real 0.5", {"real": 0.5}),
        ("--word b", {"word": "b"}),
        ("--number 3", {"number": 3}),
        ("--on", {"on": True}),
        ("--no-on", {"on": False}),
        ("--off", {"off": True}),
        ("--no-maybe", {"maybe": False}),
        ("--pair 4", {"pair": (4.0, 4.0)}),
        ("--pair 4,5", {"pair": (4.0, 5.0)}),
        ("--row 1", {"row": (1.0,)}),
        ("--row 1,2,3", {"row": (1.0, 2.0, 3.0)}),
        ("--row none", {"row": ()}),
        ("--names a --names b", {"names": ("a", "b")}),
        ("--paths a/b", {"paths": ("a/b",)}),
        ("--why", {"mode": "y"}),
        ("--two-words x", {"two_words": "x"}),
        ("--no-off", None),
        ("--word c", None),
        ("--number 2", None),
        ("--pair 1,2,3", None),
        ("--row a", None),
    ],
)
def test_every_kind_of_field_becomes_an_option(line, given):
    fields = list(option_fields(Every))
    found = []
    app = typer.Typer(rich_markup_mode=None)

    @app.command(cls=SectionedCommand)
    @takes_fields(fields)
    def command(plain: int, *, own: bool = False, **options):
        found.append(read_fields(fields, options))

    result = CliRunner().invoke(app, ["7", *line.split()])
    assert (result.exit_code == 0) == (given is not None), result.output
    assert found == ([] if given is None else [given])
    if given:  # what is written is read back
        (name,) = given
        field = next(one for one in fields if one.name == name)
        if isinstance(given[name], (float, tuple)) and not field.option.is_path and name != "names":
            again = CliRunner().invoke(app, ["7", field.flag, field.text(given[name])])
            assert (again.exit_code, found[-1]) == (0, given)


def test_the_help_has_sections_in_order():
    fields = list(option_fields(Every))
    app = typer.Typer(rich_markup_mode=None)

    @app.command(cls=SectionedCommand)
    @takes_fields(fields)
    def command(plain: int, *, own: bool = False, **options):
        pass

    text = CliRunner().invoke(app, ["--help"]).stdout
    places = [text.index(part) for part in ("Arguments:", "Options:", "--whole", "--own", "More:")]
    assert places == sorted(places)
    assert text.index("More:") < text.index("--word") < text.index("--two-words")
    assert "A. [1]" in text
    assert "G. [the driver's]" in text
    assert "E. [yes]" in text
    assert "H. [1,2]" in text
    assert "I. [none]" in text
    assert "--plain" not in text


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"momentum": 0.5}, "--momentum has no effect"),
        ({"noise": "pairs", "sigma": (1.0, 2.0)}, "--sigma has no effect"),
        ({"recipe": "paper", "final_lr_ratio": 0.1}, "--final-lr-ratio has no effect"),
        ({"decay": 0.5}, "--decay has no effect"),
        ({"recipe": "secret"}, "default, cpu, paper, modelzoo"),
        ({"epochs": 3}, "not both"),
        ({"loss_scale": 8.0}, "is for precision fp16"),
    ],
)
def test_python_callers_get_the_same_rules(given, part):
    with pytest.raises(UsageError, match=part):
        make_config(["data"], **{"steps": 1, **given})


def test_what_is_left_out_is_completed():
    assert make_config(["a"], steps=1, sigma=(15.0, 15.0)).val_sigma == 15
    assert make_config(["a"], steps=1, noise="pairs").scales == (1.0,)
    assert make_config(["a"], "paper", max_minutes=3.0).epochs is None
    assert make_config(["a"], "modelzoo", precision="fp32").loss_scale is None
    assert make_config(["a"], "cpu", quantize="int8", init="gray-25").optimizer == "adam"


@pytest.mark.parametrize(
    ("sigma", "level"),
    [((0, 55), 25), ((15, 30), 25), ((25, 25), 25), ((15, 15), 15), ((50, 50), 50), ((0, 15), 15),
     ((30, 70), 30), ((0, 25), 25), ((25, 75), 25), ((0, 0), 0), ((255, 255), 255)],
)  # fmt: skip
def test_what_is_validated_at_is_trained_for(sigma, level):
    """Unless another level is given."""
    assert make_config(["a"], steps=1, sigma=sigma).val_sigma == level
    assert make_config(["a"], steps=1, sigma=sigma, val_sigma=7.0).val_sigma == 7


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({}, ("cpu", None)),
        ({"device": "cuda:1"}, ("cuda:1", None)),
        ({"npus": 8}, ("npu", Workers(8))),
        ({"gpus": 2}, ("cuda", Workers(2))),
        ({"procs": 3, "device": "cpu"}, ("cpu", Workers(3))),
        ({"npus": 8, "nodes": 2, "rendezvous": "h:1"}, ("npu", Workers(8, 2, "h:1"))),
    ],
)
def test_workers_are_chosen(asked, chosen):
    assert choose_workers(**asked) == chosen


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({"npus": 1, "gpus": 1}, "give one of them"),
        ({"npus": 1, "device": "cpu"}, "no --device"),
        ({"npus": 0}, "at least 1 worker"),
        ({"npus": 1, "nodes": 0}, "at least 1 worker"),
        ({"nodes": 2}, "--nodes needs --npus"),
        ({"npus": 1, "nodes": 2}, "--nodes needs --rendezvous"),
        ({"npus": 1, "rendezvous": "host"}, "expected HOST:PORT"),
    ],
)
def test_workers_that_cannot_be_are_refused(asked, part):
    with pytest.raises(UsageError, match=part):
        choose_workers(**asked)
