"""Which shipped model a noise level leads to."""

import dataclasses

import pytest

from adnet.errors import UsageError
from adnet.models import for_sigma, shipped
from adnet.models.card import ModelCard
from adnet.models.for_sigma import beyond, is_near, model_for_sigma
from adnet.models.shipped import PretrainedModel, pretrained_models


@pytest.mark.parametrize("sigma", [0, 5, 10, 13.5, 20, 23.5, 30, 40, 46, 55])
@pytest.mark.parametrize("channels", [1, 3])
def test_far_from_every_level_the_blind_one_is_taken(sigma, channels):
    found = model_for_sigma(sigma, channels)
    assert found.model.name == ("gray-blind" if channels == 1 else "color-blind")
    assert found.model.name in found.reason
    assert "trained" not in found.reason


@pytest.mark.parametrize("sigma", [24.2, 25, 26.4])
def test_near_its_level_a_single_one_is_taken(sigma):
    found = model_for_sigma(sigma, 1)
    assert found.model.name == "gray-25"
    assert "is near 25" in found.reason
    assert model_for_sigma(sigma, 3).model.name == "color-25"


@pytest.mark.parametrize(
    ("sigma", "name"),
    [(14.3, "blind"), (14.4, "15"), (15.9, "15"), (16, "blind"), (23.9, "blind"), (24, "25"),
     (26.5, "25"), (26.6, "blind"), (48, "blind"), (48.9, "blind"), (49, "50"), (53, "50"),
     (53.1, "blind")],
)  # fmt: skip
def test_from_where_to_where_a_single_one_was_measured_to_be_no_worse(sigma, name):
    assert model_for_sigma(sigma, 1).model.name == f"gray-{name}"


@pytest.mark.parametrize("sigma", [33.6, 35, 50, 52, 75])
def test_strong_noise_of_colour_files_is_for_the_blind_one(sigma):
    assert model_for_sigma(sigma, 3).model.name == "color-blind"


def test_beyond_all_levels_it_is_told():
    assert "which was trained for sigma 0-55" in model_for_sigma(80, 1).reason
    for sigma in (-1, 256, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="sigma must be from 0 to 255"):
            model_for_sigma(sigma, 1)


def test_the_nearest_of_several_is_taken_and_no_int8_twin(monkeypatch):
    (single,) = (one for one in pretrained_models() if one.name == "gray-25")

    def at(level, name):
        card = dataclasses.replace(single.card, sigma_range=(level, level), name=name)
        return PretrainedModel(name, single.path, single.sha256, card)

    models = (*pretrained_models(), at(22.0, "gray-22"), at(28.0, "gray-28"),
              at(24.0, "gray-24-int8"))  # fmt: skip
    monkeypatch.setattr(for_sigma, "pretrained_models", lambda: models)
    monkeypatch.setattr(shipped, "pretrained_models", lambda: models)
    found = [model_for_sigma(sigma, 1).model.name for sigma in (21.5, 22, 24.2, 27.5, 29, 33)]
    assert found == ["gray-22", "gray-22", "gray-25", "gray-28", "gray-28", "gray-blind"]


def test_cards_of_every_kind():
    single, blind, unknown = ModelCard(1, (25, 25)), ModelCard(1, (0, 55)), ModelCard(1)
    assert [is_near(single, sigma) for sigma in (15, 25, 40)] == [False, True, False]
    assert [is_near(blind, sigma) for sigma in (0, 55, 56)] == [True, True, False]
    assert is_near(unknown, 100)
    assert beyond(single, 25) == beyond(unknown, 3) == ""
    assert beyond(single, 40) == ", which was trained for sigma 25"
