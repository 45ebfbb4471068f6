"""What a model may be shipped as."""

import json

import pytest
from conftest import assert_clean_error

from adnet.benchmarks.release import ship
from adnet.errors import UsageError
from adnet.models.card import ModelCard
from adnet.models.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """An empty folder of weights."""
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(ship, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights"


@pytest.mark.parametrize("name", ["", " ", "../evil", "a b", "a/b", ".hidden", "-x", "a\n", "é"])
def test_names_that_are_no_plain_words(weights, checkpoint, tmp_path, cli_here, name):
    for options in (["--data", tmp_path], ["--data", tmp_path, "--force"], ["--force"]):
        result = cli_here(ship.app, "ship", checkpoint, *options, "--", name)
        assert_clean_error(result, 2, "expected")
    with pytest.raises(UsageError, match="expected a name of letters"):
        ship.ship(checkpoint, name, {})
    assert not list(weights.iterdir())


@pytest.mark.parametrize(
    ("shipped", "other", "told"),
    [
        ({}, {"sigma": (15.0, 15.0)}, "sigma 0 to 55; the checkpoint is a gray model for sigma 15"),
        ({"sigma": (15.0, 15.0)}, {"sigma": (50.0, 50.0)}, "sigma 15 to 15"),
        ({"channels": 3}, {}, "a colour model"),
        ({}, {"quantize": "int8"}, "sigma 0 to 55, int8"),
        ({"sigma": None}, {}, "real noise"),
    ],
)
def test_no_model_takes_the_place_of_another_kind(weights, checkpoint, tmp_path, cli_here, shipped,
                                                  other, told):  # fmt: skip
    """For nobody who asks for the one wants the other, however good it is."""

    def card(channels=1, sigma=(0.0, 55.0), quantize=None):
        return ModelCard(channels, sigma, training={"config": {"quantize": quantize}})

    entry = {"name": "mine", "card": json.loads(card(**shipped).to_json())}
    (weights / "index.json").write_text(json.dumps({"models": [entry]}))
    path = tmp_path / "other.pth"
    save_checkpoint(path, load_checkpoint(checkpoint).network.state_dict(), card(**other))
    result = cli_here(ship.app, "ship", path, "mine", "--data", tmp_path)
    assert_clean_error(result, 2, told, "--force")
    ship.require_same_kind(card(**other), card(**other), "mine")
    assert [path.name for path in weights.iterdir()] == ["index.json"]
