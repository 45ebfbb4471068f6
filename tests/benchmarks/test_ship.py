"""The record that goes with shipped weights, and the page that is made of it."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT, assert_clean_error
from PIL import Image

from adnet.benchmarks.release import models_page, models_pictures, ship
from adnet.benchmarks.release.models_page import app as write_page
from adnet.benchmarks.tables import Entry
from adnet.errors import UsageError
from adnet.images.levels import from_levels, to_levels
from adnet.images.noise import add_published_noise
from adnet.models.card import ModelCard
from adnet.models.checkpoint import load_checkpoint, save_checkpoint
from adnet.models.shipped import WEIGHTS, PretrainedModel, pretrained_models
from adnet.runtime.cli import main as run_main
from adnet.training.config import TrainConfig
from adnet.training.data import load_training_data
from adnet.training.judge import Judgement, validation_set
from adnet.training.recipes import make_config
from adnet.training.train import train
from adnet.training.world import World


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The shipped gray model as the checkpoint of a run."""
    config = TrainConfig(data=("BSD432",), steps=20, seed=4).to_dict()
    card = ModelCard(1, (0.0, 55.0), training={"config": config, "data": ["BSD432"], "steps": 20})
    network = load_checkpoint(WEIGHTS / "gray-blind.onnx").network
    path = tmp_path_factory.mktemp("trained") / "best.pth"
    save_checkpoint(path, network.state_dict(), card)
    return path


@pytest.fixture
def unproven(monkeypatch):
    """Leave out what takes the time and has tests of its own: proof and sample."""
    export = ship.checkpoint_to_onnx

    def quick(*arguments, **options):
        return export(*arguments, **(options | {"verify": False}))

    monkeypatch.setattr(ship, "checkpoint_to_onnx", quick)
    monkeypatch.setattr(ship, "sample_psnr", lambda _: 29.0)


@pytest.fixture
def weights(tmp_path, monkeypatch, trained):
    """An empty folder of weights, a checkpoint and the log of its run."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(ship, "WEIGHTS", folder)
    (tmp_path / "run").mkdir()
    shutil.copy(trained, tmp_path / "run" / "best.pth")
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
    assert 25 < card.training["sample_psnr"] < 35
    assert sorted(path.name for path in weights.iterdir()) == ["index.json", "mine.onnx"]
    (entry,) = json.loads((weights / "index.json").read_text())["models"]
    assert entry["card"]["training"] == card.training
    loaded = load_checkpoint(weights / "mine.onnx")
    assert loaded.card.training == card.training


@pytest.fixture
def held_out(tmp_path, make_image):
    """A folder that holds a small BSD432; the runs of `checkpoint_of` held out 2 of it."""
    for index in range(4):
        make_image(tmp_path / "data" / "BSD432" / f"{index:02}.png", size=(28, 24), seed=index)
    return tmp_path / "data"


def checkpoint_of(path, *, damage=0.0):
    """The shipped gray model, damaged or not, as if it came out of a run."""
    loaded = load_checkpoint(WEIGHTS / "gray-blind.onnx")
    state = loaded.network.state_dict()
    state["conv1_16.weight"] *= 1 - damage
    config = TrainConfig(data=("BSD432",), steps=20, val_images=2).to_dict()
    card = ModelCard(1, (0.0, 55.0), training={"config": config, "data": ["BSD432"], "steps": 20})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, state, card)
    return path


def test_only_what_is_better_is_shipped(
    weights, unproven, held_out, tmp_path, cli_here, monkeypatch
):
    def run_ship(*arguments):
        return cli_here(ship.app, "ship", *arguments)

    whole = checkpoint_of(tmp_path / "whole" / "best.pth")
    worse = checkpoint_of(tmp_path / "worse" / "best.pth", damage=1.0)
    assert_clean_error(run_ship(whole, "mine"), 2, "--data", "--force")
    assert_clean_error(run_ship(whole, "mine", "--data", tmp_path), 2, "BSD432 is not here")
    assert not list(weights.iterdir())
    assert run_ship(worse, "mine", "--data", held_out).returncode == 0  # nothing to compare with
    result = run_ship(whole, "mine", "--data", held_out)
    assert result.returncode == 0, result.stderr
    before = {path.name: path.read_bytes() for path in weights.iterdir()}
    for loser in (worse, whole):  # a model does not replace its equal
        result = run_ship(loser, "mine", "--data", held_out)
        assert_clean_error(result, 2, "not better than the shipped mine")
        assert {path.name: path.read_bytes() for path in weights.iterdir()} == before
    (entry,) = json.loads(before["index.json"])["models"]
    judged = entry["card"]["training"]["judged"]
    assert judged["images"] == "2 images held out of BSD432"
    assert set(judged["psnr"]) == set(judged["replaced"]["psnr"]) == {"15", "25", "50"}
    assert all(judged["psnr"][level] > judged["replaced"]["psnr"][level] for level in ("15", "25"))
    assert judged["weights_sha256"] == entry["card"]["weights_sha256"]
    shipped = []
    monkeypatch.setattr(ship, "ship", lambda *given: shipped.append(given) or ModelCard(1))
    assert run_ship(worse, "mine", "--data", held_out, "--force").returncode == 0
    assert run_ship(worse, "mine", "--force").returncode == 0
    (_, _, _, verdict), (_, _, _, unseen) = shipped
    assert verdict.shipped.psnr == judged["psnr"]
    assert not verdict.is_better
    assert unseen is None


@pytest.mark.parametrize(
    ("gains", "better"),
    [
        ((0.1, 0.1, 0.1), True),
        ((0.0, 0.0, 0.0), False),
        ((0.3, -0.04, 0.0), True),
        ((0.9, -0.06, 0.0), False),  # better at 25 alone is not better
        ((0.02, -0.04, 0.02), False),
        ((-0.01, -0.01, -0.01), False),
    ],
)
def test_what_better_means(gains, better):
    old = Judgement("8 images", "a", "w", {"15": 30.0, "25": 28.0, "50": 25.0})
    psnr = {level: old.psnr[level] + gain for level, gain in zip(old.psnr, gains, strict=True)}
    new = Judgement("8 images", "a", "v", psnr)
    assert new.is_better_than(old) is better
    for other in (dataclasses.replace(old, images_sha256="b"),
                  dataclasses.replace(old, psnr={"25": 28.0})):  # fmt: skip
        with pytest.raises(UsageError, match="do not compare"):
            new.is_better_than(other)


@pytest.mark.parametrize(
    ("sigma", "channels", "levels"),
    [
        ((0.0, 55.0), 1, ("15", "25", "50")),
        ((0.0, 75.0), 3, ("15", "25", "50", "75")),
        ((25.0, 25.0), 1, ("25",)),
        ((35.0, 35.0), 3, ("35",)),
        ((0.0, 10.0), 1, ("5",)),
    ],
)
def test_blind_models_are_judged_at_several_levels(sigma, channels, levels, held_out):
    config = TrainConfig(data=("BSD432",), steps=1, sigma=sigma, channels=channels, val_images=2)
    assert validation_set(config.to_dict(), [held_out.parent, held_out]).levels == levels
    if len(levels) > 1:  # an int8 form, where its rounding shows, too
        config = dataclasses.replace(config, quantize="int8", init="gray-blind")
        found = validation_set(config.to_dict(), [held_out.parent, held_out]).levels
        assert found == ("0", "5", *levels)


@pytest.mark.parametrize(
    ("gains", "close"),
    [
        ((0.0, 0.0, 0.0), True),
        ((-0.05, -0.05, -0.02), True),
        ((1.0, 1.0, 1.0), True),
        ((-0.0501, 0.0, 0.0), False),
        ((0.0, -0.0501, 0.0), False),
        ((0.5, 0.5, -0.0201), False),
    ],
)
def test_what_an_int8_form_may_lose(gains, close):
    whole = Judgement("8 images", "a", "w", {"0": 45.0, "5": 38.0, "25": 30.0})
    psnr = {level: whole.psnr[level] + gain for level, gain in zip(whole.psnr, gains, strict=True)}
    new = Judgement("8 images", "a", "v", psnr)
    assert new.is_close_to(whole) is close
    verdict = ship.Verdict(new, None, whole)
    assert verdict.is_better is close
    assert verdict.record()["against_float"]["25"] == pytest.approx(gains[2])
    assert f"against float 0: {gains[0]:+.3f}" in verdict.describe()
    shipped = dataclasses.replace(new, psnr={level: one + 1 for level, one in psnr.items()})
    assert not ship.Verdict(new, shipped, whole).is_better


@pytest.mark.slow
def test_an_int8_form_is_judged_beside_its_float_model(held_out, tmp_path, monkeypatch):
    config = make_config(
        [held_out / "BSD432"], quantize="int8", init="gray-25", sigma=(25.0, 25.0), val_images=2,
        patch=16, batch=2, steps=1, warmup_steps=0, scales=(1.0,),
    )  # fmt: skip
    best = train(config, tmp_path / "run", World(torch.device("cpu")))
    verdict = ship.weigh(best, "mine", [held_out])
    assert verdict.shipped is None
    whole = next(one for one in pretrained_models() if one.name == "gray-25")
    assert verdict.whole.weights_sha256 == whole.card.weights_sha256
    # What is shipped was made of the same float model, so it must be beaten; of another, not.
    beside = ship.weigh(best, "gray-25-int8", [held_out])
    assert beside.shipped is not None
    entries = ship._entries()
    for one in entries:
        if one["name"] == "gray-25-int8":
            one["card"]["training"]["init"]["weights_sha256"] = "0" * 64
    monkeypatch.setattr(ship, "_entries", lambda: entries)
    assert ship.weigh(best, "gray-25-int8", [held_out]).shipped is None
    monkeypatch.setattr(ship, "_entries", list)
    with pytest.raises(UsageError, match="is not shipped, so nothing tells what int8 loses"):
        ship.weigh(best, "mine", [held_out])


@pytest.mark.parametrize("noise", ["awgn", "pairs"])
@pytest.mark.parametrize("given", [False, True])
def test_judged_is_what_training_validated_on(noise, given, tmp_path, make_image):
    """The images are found again by the run's record, for every way of naming them."""
    ends = ("_real", "_mean") if noise == "pairs" else ("",)
    for first, folder in ((0, "Mine"), (10, "Other")):
        for index in range(6):
            for end in ends:
                name = f"{'abcdef'[index]}{index}{end}.png"
                make_image(tmp_path / folder / name, size=(24 + index, 20),
                           seed=first + index)  # fmt: skip
    config = TrainConfig(
        data=(str(tmp_path / "Mine"),), val=(str(tmp_path / "Other"),) if given else (),
        noise=noise, scales=(1.0,), val_images=2, steps=1, patch=16,
    )  # fmt: skip
    used = load_training_data(config, torch.device("cpu")).val_images
    found = validation_set(config.to_dict(), [tmp_path])
    assert len(found.images) == len(used) == (6 if given else 2)
    for one, other in zip(found.images, used, strict=True):
        assert np.array_equal(one.clean, other.clean)
        assert (one.noisy is None) == (other.noisy is None) == (noise == "awgn")


def test_pairs_are_measured_scene_by_scene(weights, unproven, make_image, tmp_path):
    for index, (camera, scene) in enumerate([("A", "toy"), ("B", "toy"), ("A", "door")]):
        for end, noise in (("real", 12.0), ("mean", 0.0)):
            path = make_image(tmp_path / "PolyU" / f"{camera}_4_200_3200_{scene}_1_{end}.png",
                              seed=index)  # fmt: skip
            clean = from_levels(np.asarray(Image.open(path)))
            pixels = to_levels(add_published_noise(clean, noise, index))
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    tests = {"PolyU-test": tmp_path / "PolyU"}
    card = ship.ship(tmp_path / "run" / "best.pth", "mine", tests)
    measured = card.training["test_pairs"]["PolyU-test"]
    assert "test_psnr" not in card.training
    assert measured["pairs"] == 3
    assert measured["noisy"] == pytest.approx(26.5, abs=0.6)
    assert measured["denoised"] > measured["noisy"] + 1
    assert set(measured["scenes"]) == {"toy", "door"}
    toy, door = measured["scenes"]["toy"], measured["scenes"]["door"]
    assert (2 * toy[1] + door[1]) / 3 == pytest.approx(measured["denoised"], abs=1e-3)


def test_the_terms_of_every_stage_are_stated():
    """Weights that began as others carry the terms of those, too; unknown terms are refused."""
    first = {"data": ["BSD432"]}
    second = {"data": ["PolyU-train"], "init": first}
    assert set(ship.data_terms(second)) == {"BSD432", "PolyU"}
    assert set(ship.data_terms({"data": ["Train400"], "init": second})) == {
        "BSD432", "PolyU", "Train400",
    }  # fmt: skip
    with pytest.raises(UsageError, match="'Holiday' are not known"):
        ship.data_terms({"data": ["BSD432"], "init": {"data": ["Holiday"]}})


@pytest.mark.slow
def test_a_shipped_model_that_is_not_its_card_is_noticed():
    """PSNR on a small sample, kept in the index when it was shipped, within 0.01 dB."""
    for model in pretrained_models():
        assert ship.sample_psnr(model.path) == pytest.approx(
            model.card.training["sample_psnr"], abs=0.01
        )


def test_published_blind_models_are_not_judged_beyond_their_training(tmp_path):
    (tmp_path / "color_blind.pth").touch()  # would be an error if it were read
    entries = [Entry("color-blind", "CBSD68", 75.0, 25.8, None)]
    folders = {"CBSD68": tmp_path}
    assert models_page._measure_published(entries, folders, tmp_path, None) == {}


def test_the_page(weights, unproven, make_image, monkeypatch, cli_here, tmp_path):
    make_image(tmp_path / "BSD68" / "a.png")
    card = ship.ship(tmp_path / "run" / "best.pth", "mine", {"BSD68": tmp_path / "BSD68"})
    model = PretrainedModel("mine", weights / "mine.onnx", "", card)
    monkeypatch.setattr("adnet.benchmarks.release.models_page.pretrained_models", lambda: (model,))
    monkeypatch.setattr(models_pictures, "_HEIGHT", 64)
    page = tmp_path / "docs" / "models.md"
    page.parent.mkdir()
    theirs = tmp_path / "theirs"
    network = load_checkpoint(WEIGHTS / "gray-blind.onnx").network
    theirs.mkdir()
    save_checkpoint(theirs / "gray_blind.pth", network.state_dict(), ModelCard(1))
    monkeypatch.chdir(ROOT)
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
    # Made again without them, the page still shows the published figures.
    page.unlink()
    monkeypatch.setattr(models_page, "draw_examples", lambda _: None)
    result = cli_here(write_page, "models_page", "-o", page)
    assert result.returncode == 0, result.stderr
    assert page.read_text("utf-8") == text
    for name in ("models-curves.png", "models-examples.png"):
        assert f"]({name})" in text
        with Image.open(page.with_name(name)) as picture:
            assert picture.width > 500
    assert page.with_name("models-examples.png").stat().st_size < 600_000


def test_the_page_tells_real_noise_by_scene(monkeypatch, tmp_path):
    """Two models on the same pairs stand side by side; a card without such figures adds nothing."""

    def model(name, psnr, sigma):
        scenes = {"door": [30.0, psnr - 1], "toy": [34.0, psnr + 1]}
        found = {"pairs": 4, "noisy": 32.0, "denoised": psnr, "scenes": scenes}
        config = TrainConfig(
            data=("PolyU-train",), noise="pairs", scales=(1.0,), channels=3, steps=1
        ).to_dict()
        training = {"test_pairs": {"PolyU-test": found}, "config": config,
                    "data_terms": {"PolyU": "for research use"}}  # fmt: skip
        return PretrainedModel(name, tmp_path, "", ModelCard(3, sigma, name, training=training))

    models = (model("color-blind", 35.0, (0.0, 75.0)), model("color-real", 36.0, None))
    monkeypatch.setattr("adnet.benchmarks.release.models_page.pretrained_models", lambda: models)
    for drawn in ("draw_curves", "draw_examples"):
        monkeypatch.setattr(f"adnet.benchmarks.release.models_page.{drawn}", lambda *_: None)
    models_page.write_page(tmp_path / "models.md")
    text = (tmp_path / "models.md").read_text("utf-8")
    for row in (
        "| scene       | noisy  | color-blind | color-real |",
        "| door        | 30.000 | 34.000      | 35.000     |",
        "| all 4 pairs | 32.000 | 35.000      | 36.000     |",
        "| PolyU | for research use",
        "Three planes (RGB); real noise.",
    ):
        assert row in text


def test_listed_models_state_their_terms(cli_here):
    result = cli_here(run_main, "adnet-run", "--list-models", "--json")
    for entry in json.loads(result.stdout):
        assert "research use" in entry["data_terms"]["BSD432"]
        record = entry["training"]
        assert record["command"].startswith("adnet-train ")
        assert record["minutes"] > 0
        assert record["data_sha256"]
        assert len(record["curve"]) > 0
