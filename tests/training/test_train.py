import copy
import dataclasses
import json
import signal
from contextlib import nullcontext
from itertools import chain, repeat
from pathlib import Path

import pytest
import torch
from conftest import assert_clean_error

from adnet.errors import TrainingError, UsageError
from adnet.models.checkpoint import load_checkpoint
from adnet.models.shipped import WEIGHTS
from adnet.training import benchmark
from adnet.training import train as loop
from adnet.training.cli import main
from adnet.training.config import FIELDS, TrainConfig
from adnet.training.learner import Learner
from adnet.training.world import World


@pytest.fixture
def folder(tmp_path, make_image):
    for index in range(4):
        make_image(tmp_path / "data" / f"{index}.png", size=(64 + index, 48), seed=index)
    return tmp_path / "data"


@pytest.fixture
def config(folder):
    return TrainConfig(
        data=(str(folder),), val_images=1, patch=16, batch=2, steps=6, warmup_steps=2,
        scales=(1.0, 0.8), val_every=3, log_every=2,
    )  # fmt: skip


def train(config, run, **options):
    return loop.train(config, run, World(torch.device("cpu")), **options)


def read_metrics(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(path):
    return load_checkpoint(path).network.state_dict()


def test_a_run_leaves_everything_that_is_promised(config, tmp_path):
    progress = []
    best = train(config, tmp_path / "run", on_progress=progress.append)
    names = {path.name.split(".")[0] for path in (tmp_path / "run").iterdir()}
    assert names == {
        "best", "last", "step-00000003", "config", "metrics", "events", "samples", "report",
    }  # fmt: skip
    loaded = load_checkpoint(best)
    assert loaded.card.sigma_range == (0.0, 55.0)
    assert loaded.card.training["steps"] in (3, 6)
    assert loaded.card.training["data"] == ["data"]
    assert len(loaded.card.training["data_sha256"]) == 64
    assert loaded.card.training["versions"]["torch"].startswith("2.")
    revision = loaded.card.training["git_revision"]
    assert revision is None or len(revision.removesuffix("-dirty")) == 40
    assert str(tmp_path) not in loaded.card.to_json()
    assert loaded.card.training["val_psnr"] > 10
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6]
    assert [line["step"] for line in lines if "val_psnr" in line] == [3, 6]
    assert [one.step for one in progress] == [1, 2, 3, 4, 5, 6]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["steps"] == 6


@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_resume_is_exact(config, tmp_path, stop_at):
    train(config, tmp_path / "straight")

    def interrupt(progress):
        if progress.step == stop_at:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "broken", on_progress=interrupt)
    with pytest.raises(UsageError, match="--resume"):
        train(config, tmp_path / "broken")
    train(config, tmp_path / "broken", resume=True)
    for name in ("last.pth", "best.pth"):
        expected, got = weights(tmp_path / "straight" / name), weights(tmp_path / "broken" / name)
        assert all(torch.equal(expected[key], got[key]) for key in expected)
    lines = read_metrics(tmp_path / "broken" / "metrics.jsonl")
    assert [line["step"] for line in lines if "val_psnr" in line] == [3, 6]


@pytest.mark.slow
def test_a_run_that_is_killed_with_a_best_checkpoint_can_be_resumed(config, tmp_path):
    train(config, tmp_path / "straight")

    class Killed(BaseException):
        pass

    def kill(progress):
        if progress.step == 4:  # one validation, and no save by time, is behind it
            raise Killed

    with pytest.raises(Killed):
        train(config, tmp_path / "run", on_progress=kill)
    assert (tmp_path / "run" / "best.pth").exists()
    train(config, tmp_path / "run", resume=True)
    for name in ("last.pth", "best.pth"):
        expected, got = weights(tmp_path / "straight" / name), weights(tmp_path / "run" / name)
        assert all(torch.equal(expected[key], got[key]) for key in expected)


@pytest.mark.slow
@pytest.mark.parametrize("stopped_at", [4, None])
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "other", "folder", "fine"])
def test_a_resumed_run_ends_with_a_best_checkpoint(
    config, tmp_path, monkeypatch, caplog, how, stopped_at
):
    """Whatever became of the one that there was; a later, worse one is better than none."""
    found = chain([40.0], repeat(20.0))
    monkeypatch.setattr(loop, "validate", lambda *_: next(found))

    asked = []

    def interrupt(progress):
        if progress.step == stopped_at and not asked:  # a second one would be another matter
            asked.append(signal.raise_signal(signal.SIGINT))

    with pytest.raises(KeyboardInterrupt) if stopped_at else nullcontext():
        train(config, tmp_path / "run", on_progress=interrupt)
    best = tmp_path / "run" / "best.pth"
    whole = best.read_bytes()
    best.unlink()
    if how == "folder":
        best.mkdir()
    elif how == "other":
        torch.save({"a": torch.zeros(1)}, best)
    elif how != "missing":
        content = {"empty": b"", "cut": whole[:9000], "fine": whole}[how]
        best.write_bytes(content)
    if how == "folder":
        with pytest.raises(OSError, match="best.pth"):
            train(config, tmp_path / "run", resume=True)
        return
    assert train(config, tmp_path / "run", resume=True) == best
    assert load_checkpoint(best).card.training["val_psnr"] == (40 if how == "fine" else 20)
    assert ("missing or damaged" in caplog.text) == (how != "fine")


def test_resume_with_other_settings_names_them(config, tmp_path):
    train(config, tmp_path / "run")
    changed = dataclasses.replace(config, lr=5e-4, batch=4, val_every=9)
    with pytest.raises(UsageError, match=r"batch was 2, is 4; lr was 0.001, is 0.0005\."):
        train(changed, tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match="nothing to resume"):
        train(config, tmp_path / "other", resume=True)


def test_training_learns(folder, tmp_path):
    config = TrainConfig(
        data=(str(folder),), val_images=1, patch=32, batch=4, steps=40, warmup_steps=5,
        lr=2e-3, sigma=(25.0, 25.0), val_every=40, log_every=10, ema=0.9,
    )  # fmt: skip
    train(config, tmp_path / "run")
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    losses = [line["loss"] for line in lines if "loss" in line]
    # The noise itself, of sigma 25, has a mean square of 0.0096.
    assert losses[-1] < 0.5 * losses[0]
    assert losses[-1] < 0.0096


def test_start_from_a_checkpoint(config, tmp_path):
    first = train(config, tmp_path / "a")
    tuned = dataclasses.replace(config, init=str(first), steps=1, lr=1e-9, ema=0.0)
    second = train(tuned, tmp_path / "b")
    expected, got = weights(first), weights(second)
    assert torch.allclose(expected["conv3.weight"], got["conv3.weight"], atol=1e-6)
    origin = load_checkpoint(second).card.training["init"]
    assert origin["weights_sha256"] == load_checkpoint(first).card.weights_sha256
    colour = dataclasses.replace(tuned, channels=3)
    with pytest.raises(TrainingError, match="has 1 channels, the run 3"):
        train(colour, tmp_path / "c")


def test_frozen_norms_keep_their_statistics(config, tmp_path):
    """Beginning with a shipped model, by its name."""
    tuned = dataclasses.replace(config, init="gray-blind", freeze_norm=True)
    before, after = weights(WEIGHTS / "gray-blind.onnx"), weights(train(tuned, tmp_path / "b"))
    for name, tensor in before.items():
        same = torch.equal(tensor, after[name])
        assert same == name.endswith(("running_mean", "running_var", "num_batches_tracked")), name


def test_time_budget_ends_the_run(config, tmp_path):
    timed = dataclasses.replace(config, steps=None, max_minutes=0.02)
    train(timed, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "best.pth").card.training["steps"] >= 1


NAN, INF = float("nan"), float("inf")
NONSENSE = {
    "lr": (0.0, -1.0, NAN, INF),
    "weight_decay": (-1.0, NAN, INF),
    "momentum": (-0.1, 1.0, 2.0, NAN, INF),
    "warmup_steps": (-1,),
    "seed": (-1, 2**63),
    "clip_norm": (-1.0, 0.0, NAN, INF),
    "loss_scale": (-1.0, NAN, INF),
    "max_minutes": (0.0, -1.0, NAN, INF),
    "save_minutes": (0.0, -1.0, NAN, INF),
    "sigma": ((NAN, NAN), (0.0, INF)),
    "val_sigma": (NAN, -1.0, 256.0),
    "scales": ((NAN,), (0.0,), (-1.0,)),
    "decay": (0.0, NAN, 2.0),
    "final_lr_ratio": (-1.0, NAN, INF),
    "ema": (-0.1, 1.0, NAN),
    "patch": (0, 7, -8),
    "batch": (0, -1),
    "steps": (0, -1),
    "keep": (0,),
    "save_every": (0, -1),
    "val_every": (0, -1),
    "log_every": (0, -1),
    "val_images": (-1,),
}
"""Values that no run can have, of every field of numbers."""


def test_every_number_has_its_range():
    """But those that tests of their own refuse."""
    fields = [one for one in FIELDS.values() if one.kind in (int, float) or one.numbers]
    assert {one.name for one in fields} - NONSENSE.keys() == {"epochs", "milestones"}


def test_the_largest_seed_trains(config, tmp_path):
    seeded = dataclasses.replace(config, seed=2**63 - 1, steps=2)
    train(seeded, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": ()}, "no folder"),
        ({"sigma": (-1.0, 5.0)}, "0..255"),
        ({"sigma": (30.0, 5.0)}, "0..255"),
        ({"sigma": (0.0, 256.0)}, "0..255"),
        ({"steps": None}, "give --steps, --epochs or"),
        ({"steps": 0}, "steps must be above 0"),
        ({"batch": 0}, "batch must"),
        ({"lr": float("nan")}, "lr must"),
        ({"scales": (1.5,)}, "scales must"),
        ({"channels": 2}, "channels must"),
        ({"val_images": 0}, "give --val"),
        ({"precision": "fp8"}, "precision must be one of fp32, bf16, fp16"),
        ({"loss_scale": 8.0}, "a loss scale is for precision fp16"),
        ({"epochs": 2}, "--steps or --epochs, not both"),
        *(
            ({name: value}, f"{name.replace('_', ' ')} must ")
            for name, values in NONSENSE.items()
            for value in values
        ),
    ],
)
def test_impossible_settings_are_refused(config, change, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(config, **change)


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["none", "-o", "run", "--steps", "1"], 2, "no such folder"),
        (["empty", "-o", "run", "--steps", "1"], 2, "no image"),
        (["bad", "-o", "run", "--steps", "1"], 1, "text.png: not an image"),
        (["data", "-o", "run", "--steps", "1"], 1, "too few to hold out 8"),
        (["data", "-o", "run", "--steps", "1", "--val-images", "1", "--patch", "99"], 1, "99x99"),
        (["data", "-o", "run"], 2, "give --steps, --epochs or"),
        (["data", "-o", "run", "--steps", "1", "--sigma", "300"], 2, "0..255"),
        (["data", "-o", "run", "--steps", "1", "--sigma", "a,b"], 2, "--sigma: expected 2 numbers"),
        (["data", "-o", "run", "--steps", "1", "--precision", "int4"], 2, "'fp32', 'bf16', 'fp16'"),
        (["data", "-o", "run", "--steps", "1", "--device", "npu"], 2, "device 'npu'"),
    ],
)
def test_program_refuses_bad_input(cli_here, tmp_path, folder, arguments, status, part):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "text.png").write_text("text")
    result = cli_here(main, "adnet-train", *arguments, cwd=tmp_path)
    assert_clean_error(result, status, part)
    assert not (tmp_path / "run").exists()


def test_program_trains(cli, tmp_path, folder):
    result = cli(
        "adnet-train", folder, "-o", tmp_path / "run", "--steps", 2, "--batch", 2, "--patch", 16,
        "--val-images", 1, "--sigma", 25, "--channels", 3, "--precision", "bf16",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "best.pth" in result.stdout
    first, *_, last = result.stderr.splitlines()
    assert first.startswith("training ADNet (colour, sigma 25, ")
    assert "on CPU, " in first
    assert "; 3 images, 1 for validation; 2 steps of 2 patches of 16x16" in first
    assert last.startswith("done: step 2 after ")
    assert str(tmp_path / "run" / "best.pth") in last
    card = load_checkpoint(tmp_path / "run" / "best.pth").card
    assert (card.channels, card.sigma_range) == (3, (25.0, 25.0))


def test_program_measures_and_saves_nothing(cli, tmp_path, folder):
    result = cli(
        "adnet-train", folder, "--benchmark", 2, "--batch", 2, "--patch", 16, "--val-images", 1,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "patches/s of 16x16 in total" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("more", "network", "taught"),
    [
        ({}, "ADNet", False),
        ({"init": "gray-blind"}, "ADNet", False),
        ({"init": "gray-blind", "quantize": "int8"}, "QuantizedADNet", True),
    ],
)
def test_what_is_measured_is_what_would_be_trained(config, monkeypatch, more, network, taught):
    made = []

    class Watched(Learner):
        def __init__(self, *args):
            super().__init__(*args)
            state = copy.deepcopy(self.averaged.state_dict())
            made.append((type(self.averaged).__name__, self._teacher is not None, state))

    config = dataclasses.replace(config, steps=1, **more)
    for module in (benchmark, loop):
        monkeypatch.setattr(module, "Learner", Watched)
    benchmark.benchmark_training(config, None)
    train(config, Path(config.data[0]).parent / "run")
    (*measured, before), (*trained, after) = made
    assert measured == trained == [network, taught]
    assert all(torch.equal(before[name], after[name]) for name in before)
    shipped = weights(WEIGHTS / "gray-blind.onnx")["conv3.weight"]
    begun = torch.equal(before["conv3.weight"], shipped)
    assert begun == ("init" in more)


@pytest.mark.parametrize(
    ("more", "status", "part"),
    [
        (["--init", "none.pth"], 2, "none.pth"),
        (["--init", "color-blind"], 1, "has 3 channels, the run 1"),
        (["--init", "gray-25-int8", "--quantize", "int8"], 2, "int8"),
        (["--quantize", "int8"], 2, "give --init"),
    ],
)
def test_a_measurement_refuses_what_training_would(cli_here, folder, tmp_path, more, status, part):
    common = [folder, "--batch", 2, "--patch", 16, "--val-images", 1, *more]
    for length in (["--benchmark", 1], ["--steps", 1, "-o", tmp_path / "run"]):
        result = cli_here(main, "adnet-train", *common, *length, cwd=tmp_path)
        assert_clean_error(result, status, part)


@pytest.mark.slow
def test_program_follows_a_recipe(cli, tmp_path, folder):
    result = cli("adnet-data", "prepare", folder, "-o", tmp_path / "h5", "--patch", 16,
                 "--val-images", 1)  # fmt: skip
    assert result.returncode == 0, result.stderr
    run = tmp_path / "run"
    result = cli(
        "adnet-train", tmp_path / "h5", "-o", run, "--recipe", "modelzoo", "--epochs",
        1, "--batch", 8, "--patch", 16, "--sigma", 25, "--optimizer", "adam", "--quiet",
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    stored = json.loads((run / "config.json").read_text())
    assert (stored["precision"], stored["loss_scale"], stored["loss"]) == ("fp16", 8.0, "sum")
    assert (stored["optimizer"], stored["epochs"], stored["ema"]) == ("adam", 1, 0.0)
    assert stored["recipe"] == "modelzoo"
    assert load_checkpoint(run / "best.pth").card.training["config"] == stored
    without_store = cli("adnet-train", folder, "-o", run / "x", "--recipe", "paper")
    assert_clean_error(without_store, 2, "--epochs counts passes over an HDF5 store")


def test_resume_refuses_other_images(config, tmp_path, folder, make_image):
    train(config, tmp_path / "run")
    make_image(folder / "0.png", size=(64, 48), seed=99)
    with pytest.raises(UsageError, match="made with other images"):
        train(config, tmp_path / "run", resume=True)
