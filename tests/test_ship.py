"""The record that goes with shipped weights, and the page that is made of it."""

import json
from pathlib import Path

import pytest
from adnet.benchmarks.models_page import app as write_page
from adnet.export import ship
from PIL import Image

from adnet.card import ModelCard
from adnet.checkpoint import load_checkpoint, save_checkpoint
from adnet.pretrained import WEIGHTS, PretrainedModel, pretrained_models
from adnet.training.config import TrainConfig


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """An empty folder of weights, a checkpoint and the log of its run."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(ship, "WEIGHTS", folder)
    config = TrainConfig(data=("BSD432",), steps=20, seed=4).to_dict()
    card = ModelCard(1, (0.0, 55.0), training={"config": config, "data": ["BSD432"], "steps": 20})
    network = load_checkpoint(WEIGHTS / "gray-blind.onnx").network
    (tmp_path / "run").mkdir()
    save_checkpoint(tmp_path / "run" / "best.pth", network.state_dict(), card)
    rows = [{"step": 10, "val_psnr": 28.5}, {"step": 10, "loss": 1.0}, {"step": 20, "val_psnr": 29}]
    (tmp_path / "run" / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_shipping_writes_the_whole_record(weights, make_image, tmp_path):
    make_image(tmp_path / "Mine" / "a.png")
    card = ship.ship(tmp_path / "run" / "best.pth", "mine", {"Mine": tmp_path / "Mine"})
    assert card.training["curve"] == [[10, 28.5], [20, 29]]
    assert card.training["command"] == "adnet-train BSD432 -o RUN --steps 20 --seed 4"
    assert "research use" in card.training["data_terms"]["BSD432"]
    assert set(card.training["test_psnr"]["Mine"]) == {"15", "25", "50"}
    assert sorted(path.name for path in weights.iterdir()) == ["index.json", "mine.onnx"]
    (entry,) = json.loads((weights / "index.json").read_text())["models"]
    assert entry["card"]["training"] == card.training
    loaded = load_checkpoint(weights / "mine.onnx")
    assert loaded.card.training == card.training


def test_a_shipped_model_that_is_not_its_card_is_noticed():
    """PSNR on a small sample, kept in the index when it was shipped, within 0.01 dB."""
    for model in pretrained_models():
        assert ship.sample_psnr(model.path) == pytest.approx(
            model.card.training["sample_psnr"], abs=0.01
        )


def test_the_page(weights, make_image, monkeypatch, cli_here, tmp_path):
    make_image(tmp_path / "BSD68" / "a.png")
    card = ship.ship(tmp_path / "run" / "best.pth", "mine", {"BSD68": tmp_path / "BSD68"})
    model = PretrainedModel("mine", weights / "mine.onnx", "", card)
    monkeypatch.setattr("adnet.benchmarks.models_page.pretrained_models", lambda: (model,))
    page = tmp_path / "docs" / "models.md"
    page.parent.mkdir()
    theirs = tmp_path / "theirs"
    network = load_checkpoint(WEIGHTS / "gray-blind.onnx").network
    theirs.mkdir()
    save_checkpoint(theirs / "gray_blind.pth", network.state_dict(), ModelCard(1))
    monkeypatch.chdir(Path(__file__).parent.parent)
    result = cli_here(write_page, "models_page", "--data",
                      tmp_path / "BSD68", "--published", theirs, "-o", page)  # fmt: skip
    assert result.returncode == 0, result.stderr
    text = page.read_text("utf-8")
    psnr = card.training["test_psnr"]["BSD68"]["25"]
    # The published checkpoint of this test is the same network.
    same = f"| mine  | BSD68 | 25    | {psnr:.3f} | {psnr:.3f}    | -0.000"
    assert same in text.replace("+", "-")
    assert "| 29.14 |" in text
    assert "adnet-train BSD432 -o RUN --steps 20 --seed 4" in text
    assert "research use" in text
    for name in ("models-curves.png", "models-examples.png"):
        assert f"]({name})" in text
        with Image.open(page.with_name(name)) as picture:
            assert picture.width > 500
