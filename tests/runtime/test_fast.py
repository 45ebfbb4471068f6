"""adnet-run --fast: the int8 twin of the model that is chosen, and what it costs."""

import dataclasses
import json

import pytest
from conftest import assert_clean_error

from adnet.models import shipped
from adnet.models.shipped import PretrainedModel, default_model, pretrained_models
from adnet.runtime import listing
from adnet.runtime.cli import main


@pytest.fixture
def twin(monkeypatch):
    """A twin of the blind gray model; what it computes does not matter here."""
    known = [one for one in pretrained_models() if not one.name.endswith("-int8")]
    (whole,) = (one for one in known if one.name == "gray-blind")
    training = whole.card.training | {
        "float_val_psnr": 30.5, "val_psnr": 30.487, "val_sigma": 25.0,
        "init": {"weights_sha256": whole.card.weights_sha256},
    }  # fmt: skip
    card = dataclasses.replace(whole.card, name="gray-blind-int8", training=training)
    one = PretrainedModel("gray-blind-int8", whole.path, whole.sha256, card)
    for module in (shipped, listing):
        monkeypatch.setattr(module, "pretrained_models", lambda: (one, *known))
    return one


@pytest.fixture
def image(tmp_path, make_image):
    return make_image(tmp_path / "a.png")


@pytest.mark.parametrize("model", [None, "gray-blind", "gray-blind-int8"])
def test_the_twin_is_taken_and_its_loss_told(cli_here, twin, image, tmp_path, model):
    asked = [] if model is None else ["--model", model]
    command = ["adnet-run", image, "-o", tmp_path / "out", "--fast", "--overwrite", *asked]
    text = cli_here(main, *command)
    assert text.returncode == 0, text.stderr
    told = (
        "gray-blind-int8 computes in int8, -0.013 dB against gray-blind at sigma 25, on images "
        "held out of training"
    )
    assert told in text.stdout
    report = json.loads(cli_here(main, *command, "--json").stdout)
    assert told in report["notes"][0]


def test_without_it_nothing_changes(cli_here, twin, image, tmp_path):
    assert default_model(1).name == "gray-blind"
    result = cli_here(main, "adnet-run", image, "-o", tmp_path / "out")
    assert "int8" not in result.stdout


@pytest.mark.parametrize("model", ["color-blind", "own.onnx"])
def test_models_without_a_twin_are_refused(cli_here, twin, image, tmp_path, model):
    result = cli_here(main, "adnet-run", image, "-o", tmp_path / "out", "--fast", "--model", model)
    assert_clean_error(result, 2, f"{model} has no int8 model", "Give --model: gray-blind. ")
    assert not (tmp_path / "out").exists()


def test_the_list_shows_them(cli_here, twin):
    lines = cli_here(main, "adnet-run", "--list-models").stdout.splitlines()
    (line,) = (one for one in lines if one.startswith("gray-blind-int8"))
    assert line.endswith(
        "int8: -0.013 dB against gray-blind at sigma 25, on images held out of training"
    )


def test_a_loss_that_was_not_recorded(twin):
    bare = dataclasses.replace(twin, card=dataclasses.replace(twin.card, training={}))
    assert shipped.loss_of_fast(bare) == "its loss was not recorded"


def test_a_twin_of_weights_that_have_gone_on_says_so(twin):
    def told(came_from):
        training = {**twin.card.training, "init": {"weights_sha256": came_from}}
        card = dataclasses.replace(twin.card, training=training)
        return shipped.loss_of_fast(dataclasses.replace(twin, card=card))

    assert "dB against gray-blind at sigma" in told(default_model(1).card.weights_sha256)
    assert "dB against an earlier gray-blind at sigma" in told("0" * 64)


def test_a_shipped_twin_is_int8_and_within_its_loss():
    """At most 0.02 dB were lost where it was judged."""
    from adnet.runtime.registry import open_backend

    twins = [one for one in pretrained_models() if one.name.endswith("-int8")]
    assert twins
    for one in twins:
        with open_backend(one.path) as backend:
            assert backend.describe()["precision"] == "int8"
        assert one.card.training["val_psnr"] >= one.card.training["float_val_psnr"] - 0.0201
        assert shipped.fast_twin(one.name.removesuffix("-int8")) == one
