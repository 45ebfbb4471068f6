"""The campaign: what it trains, that nothing interrupts it for good, and what it ships."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import campaign_worker
import pytest
from conftest import assert_clean_error

from adnet.benchmarks.release import campaign, runs, shipping
from adnet.benchmarks.release.catalogue import CATALOGUE
from adnet.benchmarks.release.runs import Run, find_folders
from adnet.errors import AdnetError, UsageError
from adnet.models.card import ModelCard
from adnet.models.checkpoint import load_checkpoint
from adnet.models.shipped import pretrained_models
from adnet.training import cli as cli_train
from adnet.training import start as training_run
from adnet.training.config import TrainConfig
from adnet.training.judge import Judgement

FOLDERS = {name: Path("data", name) for name in ("BSD432", "PolyU-train", "PolyU-val")}
BY_NAME = {one.name: one for one in CATALOGUE}
FLOATS = [one for one in CATALOGUE if one.twin_of is None]

SCRIPT = """
gray-blind 16000 --sigma 0,55 --lr 0.005
gray-25 10000 --sigma 25 --lr 0.004
color-blind 14000 --channels 3 --sigma 0,75 --lr 0.005
color-25 8000 --channels 3 --sigma 25 --lr 0.003
color-real 3000 --pairs --channels 3 --lr 0.002
gray-50 5000 --sigma 50 --lr 0.003
color-50 5000 --channels 3 --sigma 50 --lr 0.003
gray-15 5000 --sigma 15 --lr 0.003
color-15 5000 --channels 3 --sigma 15 --lr 0.003
color-35 5000 --channels 3 --sigma 35 --lr 0.003
color-75 5000 --channels 3 --sigma 75 --lr 0.003
"""
"""What adnet-train was told by hand for each model, before there was a campaign."""


@pytest.fixture
def data(tmp_path, make_image):
    for index in range(4):
        make_image(tmp_path / "data" / "Mine" / f"{index}.png", size=(40, 32), seed=index)
    return tmp_path / "data" / "Mine"


def test_the_catalogue_is_what_is_shipped():
    assert sorted(BY_NAME) == sorted(one.name for one in pretrained_models())


def test_runs_begun_by_hand_are_taken_over(tmp_path, cli_here, monkeypatch):
    """Every run of adnet-train with these options goes on as it began, on any device."""
    lines = [line.split() for line in SCRIPT.strip().splitlines()]
    assert [name for name, *_ in lines] == [one.name for one in FLOATS]
    started = []
    monkeypatch.setattr(
        training_run, "run_training", lambda config, *_, **__: started.append(config)
    )
    for name, steps, *options in lines:
        sets = ["PolyU"] if "--pairs" in options else ["BSD432"]
        result = cli_here(
            cli_train.main, "adnet-train", *sets, "-o", tmp_path / name, "--init", "PATH/best.pth",
            "--steps", steps, *options, "--val-images", 6, "--patch", 48, "--batch", 24,
            "--optimizer", "muon", "--warmup-steps", 100, "--precision", "bf16",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        run = Run(tmp_path, BY_NAME[name])
        run.path.mkdir()
        (run.path / ".init").write_text("PATH/best.pth\n")
        (run.path / "config.json").write_text(json.dumps(started[-1].to_dict()))
        if name == "color-real":  # it saw what is a test scene now
            with pytest.raises(UsageError, match=r"data was \['PolyU'\], is \['PolyU-train'\]"):
                run.settings(FOLDERS, "cpu")
            continue
        for device in ("cpu", "cuda"):
            config = run.settings(FOLDERS, device)
            assert config.device == device
            assert config.steps == int(steps)
            same = dataclasses.replace(started[-1], data=config.data, device=device, recipe="cpu")
            assert dataclasses.replace(config, compile=False) == same


@pytest.mark.parametrize("model", FLOATS, ids=lambda one: one.name)
def test_a_run_keeps_the_schedule_that_it_began_with(model, tmp_path):
    """Begun on a GPU, continued on a CPU, and the other way round."""
    for begun, later in (("cpu", "cuda"), ("cuda", "cpu"), ("cuda:1", "cuda"), ("npu", "cpu")):
        run = Run(tmp_path / f"{begun}-{later}", model)
        run.path.mkdir(parents=True)
        (run.path / ".init").write_text("start.pth")
        first = run.settings(FOLDERS, begun)
        assert first.batch == (24 if begun == "cpu" else 128)
        (run.path / "config.json").write_text(json.dumps(first.to_dict()))
        second = run.settings(FOLDERS, later)
        assert second.compile == (later != "cpu")
        assert dataclasses.replace(second, device=begun, compile=first.compile) == first
        (run.path / "config.json").write_text(json.dumps(first.to_dict() | {"lr": 0.7}))
        with pytest.raises(UsageError, match="lr was 0.7.*Move it away"):
            run.settings(FOLDERS, later)


@pytest.mark.parametrize(
    "model", [one for one in CATALOGUE if one.twin_of], ids=lambda one: one.name
)
def test_an_int8_form_starts_at_what_is_shipped(model, tmp_path, monkeypatch):
    """And anew in another folder, when another float model is shipped."""
    (tmp_path / model.twin_of).mkdir()
    (tmp_path / model.twin_of / "done").touch()  # finished, but perhaps not shipped
    run = Run(tmp_path, model)
    for device in ("cpu", "cuda"):
        config = run.settings(FOLDERS, device)
        assert (config.init, config.quantize, config.loss) == (model.twin_of, "int8", "twin")
        assert (config.steps, config.batch, config.optimizer) == (800, 8, "adam")
    other = [
        dataclasses.replace(one, card=dataclasses.replace(one.card, weights_sha256="f" * 64))
        for one in runs.pretrained_models()
    ]
    monkeypatch.setattr(runs, "pretrained_models", lambda: other)
    assert Run(tmp_path, model).path != run.path
    monkeypatch.setattr(runs, "pretrained_models", list)
    with pytest.raises(UsageError, match=f"none of {model.twin_of}"):
        Run(tmp_path, model).settings(FOLDERS, "cpu")


def test_where_a_run_starts_is_fixed_when_it_begins(tmp_path):
    out = tmp_path
    run = Run(out, BY_NAME["color-25"])
    assert run.settings(FOLDERS, "cpu").init == "color-blind"  # the shipped one
    (out / "color-blind").mkdir()
    (out / "color-blind" / "done").touch()
    assert run.settings(FOLDERS, "cpu").init == str(out / "color-blind" / "best.pth")
    assert Run(out, BY_NAME["color-blind"]).settings(FOLDERS, "cpu").init == "color-blind"
    run.path.mkdir()
    (run.path / ".init").write_text("color-blind\n")
    assert run.settings(FOLDERS, "cpu").init == "color-blind"
    lost = dataclasses.replace(BY_NAME["color-25"], start=("nobody",))
    with pytest.raises(UsageError, match="nobody.*Train one of them first"):
        Run(tmp_path / "other", lost).settings(FOLDERS, "cpu")


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_weights(data, tmp_path):
    for moment in ("first:3", "first:8", "first:end", "second:7", "never"):
        ended = subprocess.run(
            [sys.executable, campaign_worker.__file__, tmp_path / "killed", data, moment],
            check=False, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        expected = 0 if moment == "never" else -signal.SIGKILL
        assert ended.returncode == expected, ended.stderr
    assert campaign_worker.run(tmp_path / "whole", data, "never") == []
    for name in ("first", "second"):
        for file in ("best.pth", "last.pth"):
            one, other = (load_checkpoint(tmp_path / out / name / file)
                          for out in ("killed", "whole"))  # fmt: skip
            assert one.card.weights_sha256 == other.card.weights_sha256
        assert (tmp_path / "killed" / name / "done").exists()
        ours, theirs = (
            [
                json.loads(line)
                for line in (tmp_path / out / name / "metrics.jsonl").read_text().splitlines()
            ]
            for out in ("killed", "whole")
        )
        keys = ("step", "loss", "val_psnr")
        ours, theirs = (
            [tuple(row.get(key) for key in keys) for row in rows] for rows in (ours, theirs)
        )
        assert ours == theirs


@pytest.mark.slow
def test_time_is_up_and_the_next_slice_goes_on(data, tmp_path):
    first = dataclasses.replace(campaign_worker.MODELS[0], steps=4)
    run = Run(tmp_path / "out", first)
    assert run.describe() == "not begun"
    folders = {"Mine": data}
    assert not run.train(folders, "cpu", deadline=time.monotonic())
    assert (run.path / "last.pth").exists()
    assert run.describe().endswith("of 4 steps")
    assert not run.is_done
    assert run.train(folders, "cpu", deadline=time.monotonic() + 3600)
    assert run.describe() == "done"
    # A campaign whose time is up begins nothing.
    campaign.run_campaign(tmp_path / "late", [first], folders, "cpu", 0.0, is_shipping=False)
    assert not (tmp_path / "late").exists()


def test_two_campaigns_do_not_train_in_one_folder(data, tmp_path, cli_here, monkeypatch):
    monkeypatch.setattr(campaign, "CATALOGUE", campaign_worker.MODELS)
    monkeypatch.setattr(campaign, "give_way", lambda: None)
    with campaign.only_one(tmp_path / "out"):
        result = cli_here(
            campaign.app, "campaign", tmp_path / "out", "--data", data.parent, "--no-ship"
        )
        assert_clean_error(result, 2, "another campaign is at work")
        result = cli_here(
            campaign.app, "campaign", tmp_path / "out", "--data", data.parent, "--ship-only"
        )
        assert result.returncode == 0, result.stderr
        assert "| first  | not begun | not shipped |" in result.stdout
    for wrong, parts in (
        (("--only", "gray-26"), ("gray-26", "first")), (("--hours", 0), ("--hours",)),
        (("--ship-only", "--no-ship"), ("nothing to do",)), (("--data", tmp_path), ("Mine",)),
    ):  # fmt: skip
        result = cli_here(campaign.app, "campaign", tmp_path / "out", "--data", data.parent, *wrong)
        assert_clean_error(result, 2, *parts)


@pytest.mark.slow
def test_one_failure_stops_no_other_model(data, tmp_path):
    first, second = campaign_worker.MODELS
    lost = dataclasses.replace(first, name="lost", start=("nobody",))
    models = [lost, dataclasses.replace(second, start=("gray-blind",), steps=4)]
    problems = campaign.run_campaign(
        tmp_path / "out", models, {"Mine": data}, "cpu", None, is_shipping=False
    )
    assert len(problems) == 1
    assert problems[0].startswith("lost: none of nobody")
    assert (tmp_path / "out" / "second" / "done").exists()


@pytest.fixture
def judged_run(tmp_path, monkeypatch, checkpoint):
    """A run that goes on, with a best.pth so far, and a judge that says what the test wants."""
    model = campaign_worker.MODELS[0]
    run = Run(tmp_path, model)
    run.path.mkdir()
    run.best.write_bytes(checkpoint.read_bytes())
    config = model.config({"Mine": Path("Mine")}, "gray-blind", "cpu")
    (run.path / "config.json").write_text(json.dumps(config.to_dict()))
    calls = {"judged": 0, "shipped": [], "pages": 0}

    def set_gain(gain, shipped_sha="old"):
        def weigh(path, name, roots):
            calls["judged"] += 1
            old = Judgement("8 images", "a", shipped_sha, {"15": 30.0, "25": 28.0})
            new = Judgement("8 images", "a", "new", {key: 0.1 * gain + old.psnr[key]
                                                     for key in old.psnr})  # fmt: skip
            return shipping.ship.Verdict(new, old)

        monkeypatch.setattr(shipping.ship, "weigh", weigh)

    def ship(path, name, tests, verdict):
        calls["shipped"].append((name, dict(tests)))
        return ModelCard(1)

    monkeypatch.setattr(shipping.ship, "ship", ship)
    monkeypatch.setattr(
        campaign, "write_page", lambda _: calls.__setitem__("pages", calls["pages"] + 1)
    )
    return run, calls, set_gain


def test_what_is_better_is_shipped_and_asked_once(judged_run):
    run, calls, set_gain = judged_run
    run.model = dataclasses.replace(run.model, tests=("Tests",))
    folders = {"Mine": Path("data/Mine"), "Tests": Path("data/Tests")}
    set_gain(-1)
    for _hour in range(2):  # the second time nothing is new
        assert campaign.ship_runs([run], folders) == []
        assert calls == {"judged": 1, "shipped": [], "pages": 0}
    (run.path / "judged.json").unlink()
    set_gain(+1)
    assert campaign.ship_runs([run], folders) == []
    assert calls == {
        "judged": 2, "shipped": [("first", {"Tests": Path("data/Tests")})], "pages": 1,
    }  # fmt: skip
    assert campaign.ship_runs([run], folders) == []
    assert calls["judged"] == 2


def test_nothing_is_shipped_unmeasured(judged_run):
    """It would take the place of figures that nobody could measure again."""
    run, calls, set_gain = judged_run
    run.model = dataclasses.replace(run.model, tests=("Tests", "Missing"))
    folders = {"Mine": Path("data/Mine"), "Tests": Path("data/Tests")}
    set_gain(+1)
    for _hour in range(2):
        (problem,) = campaign.ship_runs([run], folders)
        assert "first: better, but not shipped" in problem
        assert "without Missing" in problem
    assert (calls["shipped"], calls["pages"]) == ([], 0)
    assert campaign.ship_runs([run], folders | {"Missing": Path("data/Missing")}) == []
    assert (len(calls["shipped"]), calls["pages"]) == (1, 1)


def test_the_page_is_written_though_it_was_killed_before(judged_run, monkeypatch):
    run, calls, set_gain = judged_run
    folders = {"Mine": Path("data/Mine")}
    set_gain(+1)

    def die(_):
        raise KeyboardInterrupt

    write_page = campaign.write_page
    monkeypatch.setattr(campaign, "write_page", die)
    with pytest.raises(KeyboardInterrupt):
        campaign.ship_runs([run], folders)
    monkeypatch.setattr(campaign, "write_page", write_page)
    for _hour in range(2):
        assert campaign.ship_runs([run], folders) == []
        assert (len(calls["shipped"]), calls["pages"]) == (1, 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", "\xff"])
def test_damaged_files_of_a_run(judged_run, text):
    """A decision is made again; settings cannot be guessed."""
    run, calls, set_gain = judged_run
    folders = {"Mine": Path("data/Mine")}
    set_gain(-1)
    (run.path / "judged.json").write_text(text)
    assert campaign.ship_runs([run], folders) == []
    assert calls["judged"] == 1
    (run.path / "config.json").write_bytes(text.encode("latin-1"))
    assert run.describe() == "config.json is damaged"
    (problem,) = campaign.ship_runs([run], folders)
    assert "config.json: damaged" in problem
    with pytest.raises(UsageError, match="Move its folder away"):
        run.train(folders, "cpu", None)
    (run.path / "done").touch()
    run.best.unlink()
    assert run.describe() == "done, but best.pth is gone"
    with pytest.raises(UsageError, match=r"best\.pth is gone"):
        run.train(folders, "cpu", None)


def test_a_start_that_fails_fixes_nothing(tmp_path, data):
    run = Run(tmp_path / "out", campaign_worker.MODELS[0])
    with pytest.raises(AdnetError, match="cuda"):
        run.train({"Mine": data}, "cuda:99", None)
    assert not (run.path / ".init").exists()
    assert run.describe() == "not begun"


def test_what_was_trained_on_other_data_is_not_shipped(judged_run):
    run, calls, set_gain = judged_run
    set_gain(+1)
    config = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(config | {"data": ["Yours"]}))
    (problem,) = campaign.ship_runs([run], {"Mine": Path("data/Mine")})
    assert "data was ['Yours'], is ['Mine']" in problem
    assert calls == {"judged": 0, "shipped": [], "pages": 0}


def test_the_table_stands_beside_the_paper(tmp_path, monkeypatch):
    training = {
        "test_psnr": {"CBSD68": {"25": 31.0, "75": 26.0}},
        "test_pairs": {"PolyU-test": {"noisy": 36.0, "denoised": 37.5}},
    }
    card = ModelCard(3, (0.0, 75.0), "color-blind", training=training)
    model = type("Shipped", (), {"name": "color-blind", "card": card})
    monkeypatch.setattr(campaign, "pretrained_models", lambda: (model,))
    runs = [Run(tmp_path, BY_NAME[name]) for name in ("color-blind", "color-75")]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]]
             for line in campaign.progress_table(runs)[2:]]  # fmt: skip
    assert lines == [
        ["color-blind", "not begun", "CBSD68", "25", "31.000", "31.12", "-0.120"],
        ["color-blind", "not begun", "CBSD68", "75", "26.000", "-", "-"],
        ["color-blind", "not begun", "PolyU-test", "real", "37.500", "36.000 noisy", "+1.500"],
        ["color-75", "not begun", "not shipped", "", "", "", ""],
    ]


def test_the_data_of_the_catalogue_are_found(tmp_path, make_image):
    for name in ("BSD432", "BSD68"):
        make_image(tmp_path / name / "a.png")
    for index, word in enumerate(("toy", "door", "wall", "desk", "book", "stair", "photo")):
        for end in ("real", "mean"):
            make_image(tmp_path / "PolyU" / f"Sony_4_200_3200_{word}_{index}_{end}.png")
    folders = find_folders(CATALOGUE, tmp_path, tmp_path / "out")
    assert folders["PolyU-train"] == tmp_path / "out" / "pairs" / "PolyU-train"
    assert folders["BSD432"] == tmp_path / "BSD432"
    assert "CBSD68" not in folders  # a test set may be missing
    with pytest.raises(UsageError, match="gray-blind needs the data set BSD432"):
        find_folders(CATALOGUE, tmp_path / "PolyU", tmp_path / "out")


def test_no_model_learns_from_what_it_is_tested_on():
    for model in CATALOGUE:
        assert not {model.data, model.val} & set(model.tests)
        assert {"BSD68", "CBSD68", "PolyU-test", "Set12"}.isdisjoint({model.data, model.val})
        assert isinstance(model.config(FOLDERS, "x.pth", "cpu"), TrainConfig)
