import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import assert_clean_error

from adnet import device, train
from adnet.checkpoint import load_checkpoint
from adnet.dataset import PatchSampler, rescaled
from adnet.errors import BackendUnavailable, TrainingError, UsageError
from adnet.train_config import TrainConfig


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


def read_metrics(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(path):
    return load_checkpoint(path).network.state_dict()


def test_a_run_leaves_everything_that_is_promised(config, tmp_path):
    progress = []
    best = train.train(config, tmp_path / "run", on_progress=progress.append)
    names = {path.name.split(".")[0] for path in (tmp_path / "run").iterdir()}
    assert names == {"best", "last", "config", "metrics", "events"}
    loaded = load_checkpoint(best)
    assert loaded.card.sigma_range == (0.0, 55.0)
    assert loaded.card.training["steps"] in (3, 6)
    assert loaded.card.training["data"] == ["data"]
    assert loaded.card.training["val_psnr"] > 10
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6]
    assert [line["step"] for line in lines if "val_psnr" in line] == [3, 6]
    assert [one.step for one in progress] == [1, 2, 3, 4, 5, 6]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["steps"] == 6


@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_resume_is_exact(config, tmp_path, stop_at):
    train.train(config, tmp_path / "straight")

    def interrupt(progress):
        if progress.step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train(config, tmp_path / "broken", on_progress=interrupt)
    with pytest.raises(UsageError, match="--resume"):
        train.train(config, tmp_path / "broken")
    train.train(config, tmp_path / "broken", resume=True)
    for name in ("last.pth", "best.pth"):
        expected, got = weights(tmp_path / "straight" / name), weights(tmp_path / "broken" / name)
        assert all(torch.equal(expected[key], got[key]) for key in expected)
    lines = read_metrics(tmp_path / "broken" / "metrics.jsonl")
    assert [line["step"] for line in lines if "val_psnr" in line] == [3, 6]


def test_resume_with_other_settings_names_them(config, tmp_path):
    train.train(config, tmp_path / "run")
    changed = dataclasses.replace(config, lr=5e-4, batch=4, val_every=9)
    with pytest.raises(UsageError, match=r"batch was 2, is 4; lr was 0.001, is 0.0005\."):
        train.train(changed, tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match="nothing to resume"):
        train.train(config, tmp_path / "other", resume=True)


def test_training_learns(folder, tmp_path):
    config = TrainConfig(
        data=(str(folder),), val=(str(folder),), patch=32, batch=4, steps=40, warmup_steps=5,
        lr=2e-3, sigma=(25.0, 25.0), val_every=40, log_every=10, ema=0.9,
    )  # fmt: skip
    train.train(config, tmp_path / "run")
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    losses = [line["loss"] for line in lines if "loss" in line]
    # The noise itself has a mean square of (25 / 255)^2 = 0.0096.
    assert losses[-1] < 0.5 * losses[0]
    assert losses[-1] < 0.0096


def test_start_from_a_checkpoint(config, tmp_path):
    first = train.train(config, tmp_path / "a")
    tuned = dataclasses.replace(config, init=str(first), steps=1, lr=1e-9, ema=0.0)
    second = train.train(tuned, tmp_path / "b")
    expected, got = weights(first), weights(second)
    assert torch.allclose(expected["conv3.weight"], got["conv3.weight"], atol=1e-6)
    origin = load_checkpoint(second).card.training["init"]
    assert origin["weights_sha256"] == load_checkpoint(first).card.weights_sha256
    colour = dataclasses.replace(tuned, channels=3)
    with pytest.raises(TrainingError, match="has 1 channels, the run 3"):
        train.train(colour, tmp_path / "c")


def test_frozen_norms_keep_their_statistics(config, tmp_path):
    first = train.train(config, tmp_path / "a")
    tuned = dataclasses.replace(config, init=str(first), freeze_norm=True)
    before, after = weights(first), weights(train.train(tuned, tmp_path / "b"))
    for name, tensor in before.items():
        same = torch.equal(tensor, after[name])
        assert same == name.endswith(("running_mean", "running_var", "num_batches_tracked")), name


def test_time_budget_ends_the_run(config, tmp_path):
    timed = dataclasses.replace(config, steps=None, max_minutes=0.02)
    train.train(timed, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "best.pth").card.training["steps"] >= 1


def test_a_loss_that_is_not_finite_stops_the_run(config, tmp_path, monkeypatch):
    monkeypatch.setattr(
        train.nn.functional, "mse_loss", lambda a, b: (a - b).square().mean() * float("nan")
    )
    with pytest.raises(TrainingError, match="the loss is nan"):
        train.train(config, tmp_path / "run")


def test_schedule_warms_up_and_ends_low(config):
    config = dataclasses.replace(config, warmup_steps=10, steps=100)
    rates = [train._learning_rate(config, step, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4, rel=0.01)
    assert max(rates) == pytest.approx(1e-3, rel=0.05)
    assert rates[100] == pytest.approx(1e-6)
    assert all(a >= b for a, b in pairwise(rates[10:]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": ()}, "no folder"),
        ({"sigma": (-1.0, 5.0)}, "0..255"),
        ({"sigma": (30.0, 5.0)}, "0..255"),
        ({"sigma": (0.0, 256.0)}, "0..255"),
        ({"steps": None}, "give --steps or --max-minutes"),
        ({"steps": 0}, "steps must be above 0"),
        ({"batch": 0}, "batch must"),
        ({"lr": float("nan")}, "lr must"),
        ({"scales": (1.5,)}, "scales must"),
        ({"channels": 2}, "channels must"),
    ],
)
def test_impossible_settings_are_refused(config, change, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(config, **change)


def test_patches_are_cut_out_of_the_images_in_all_orientations():
    # Every pixel's value tells its place: patches can be traced back.
    image = np.arange(9 * 11, dtype=np.uint8).reshape(9, 11)
    sampler = PatchSampler([image, image[:4, :4]], 5, torch.device("cpu"))
    assert sampler.skipped == 1
    assert len(sampler) == 5 * 7
    patches = sampler.sample(600, torch.Generator().manual_seed(0))
    assert patches.shape == (600, 1, 5, 5)
    orientations, places = set(), set()
    for patch in patches[:, 0].numpy().astype(int):
        corner = patch.min()
        row, column = divmod(corner, 11)
        cut = image[row : row + 5, column : column + 5].astype(int)
        turns = [np.rot90(one, k) for one in (cut, cut.T) for k in range(4)]
        (which,) = [index for index, turned in enumerate(turns) if np.array_equal(turned, patch)]
        orientations.add(which)
        places.add((row, column))
    assert orientations == set(range(8))
    assert len(places) == 5 * 7


def test_sampler_keeps_planes_apart_and_images_too():
    first = np.full((8, 9, 3), (1, 2, 3), np.uint8)
    second = np.full((20, 7, 3), (4, 5, 6), np.uint8)
    patches = PatchSampler([first, second], 6, torch.device("cpu")).sample(
        50, torch.Generator().manual_seed(0)
    )
    kinds = {tuple(map(int, patch.reshape(3, -1).T.unique(dim=0)[0])) for patch in patches}
    assert kinds == {(1, 2, 3), (4, 5, 6)}
    assert all(patch.reshape(3, -1).T.unique(dim=0).shape[0] == 1 for patch in patches)


def test_rescaled_sizes():
    image = np.zeros((100, 50, 3), np.uint8)
    assert [one.shape for one in rescaled([image], (1.0, 0.7))] == [(100, 50, 3), (70, 35, 3)]


def test_devices_that_are_not_there():
    assert device.available_devices()[0] == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(BackendUnavailable, match=r"device 'cuda'.*Available here: cpu"):
            device.resolve_device("cuda")
    with pytest.raises(BackendUnavailable, match="device 'quantum'"):
        device.resolve_device("quantum")


def test_npu_without_its_package_or_without_cann(monkeypatch):
    import builtins

    original = builtins.__import__

    def without(error):
        def importer(name, *args, **kwargs):
            if name == "torch_npu":
                raise error
            return original(name, *args, **kwargs)

        return importer

    missing = ModuleNotFoundError("No module named 'torch_npu'", name="torch_npu")
    monkeypatch.setattr(builtins, "__import__", without(missing))
    with pytest.raises(BackendUnavailable, match="pip install 'torch-npu=="):
        device.resolve_device("npu:0")
    no_cann = ImportError("libhccl.so: cannot open shared object file")
    monkeypatch.setattr(builtins, "__import__", without(no_cann))
    with pytest.raises(BackendUnavailable, match="set_env.sh"):
        device.resolve_device("npu:0")


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["none", "-o", "run", "--steps", "1"], 2, "no such folder"),
        (["empty", "-o", "run", "--steps", "1"], 2, "no image"),
        (["bad", "-o", "run", "--steps", "1"], 1, "text.png: not an image"),
        (["data", "-o", "run", "--steps", "1"], 1, "too few to hold out 8"),
        (["data", "-o", "run", "--steps", "1", "--val", "data", "--patch", "99"], 1, "99x99"),
        (["data", "-o", "run"], 2, "give --steps or --max-minutes"),
        (["data", "-o", "run", "--steps", "1", "--sigma", "300"], 2, "0..255"),
        (["data", "-o", "run", "--steps", "1", "--sigma", "a,b"], 2, "--sigma: expected 2 numbers"),
        (["data", "-o", "run", "--steps", "1", "--precision", "int4"], 2, "fp32 or bf16"),
        (["data", "-o", "run", "--steps", "1", "--device", "npu"], 2, "device 'npu'"),
    ],
)
def test_program_refuses_bad_input(cli, tmp_path, folder, arguments, status, part):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "text.png").write_text("text")
    assert_clean_error(cli("adnet-train", *arguments, cwd=tmp_path), status, part)
    assert not (tmp_path / "run").exists()


def test_program_trains(cli, tmp_path, folder):
    result = cli(
        "adnet-train", folder, "-o", tmp_path / "run", "--steps", 2, "--batch", 2, "--patch", 16,
        "--val-images", 1, "--sigma", 25, "--channels", 3, "--precision", "bf16",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "best.pth" in result.stdout
    card = load_checkpoint(tmp_path / "run" / "best.pth").card
    assert (card.channels, card.sigma_range) == (3, (25.0, 25.0))
