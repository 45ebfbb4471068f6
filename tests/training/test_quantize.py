"""adnet-train --quantize int8: from a trained network to a file, in one command."""

import dataclasses
import json
import signal

import numpy as np
import onnx
import pytest
import torch
from conftest import assert_clean_error

from adnet.errors import UsageError
from adnet.images.levels import WHITE
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.checkpoint import load_checkpoint
from adnet.models.network import fold_batch_norm
from adnet.models.quantized import QuantizedADNet
from adnet.models.shipped import WEIGHTS
from adnet.training import initial
from adnet.training import train as loop
from adnet.training.cli import main
from adnet.training.learner import Learner, level_weights
from adnet.training.recipes import make_config
from adnet.training.world import World


@pytest.fixture
def folder(tmp_path, make_image):
    for index in range(3):
        make_image(tmp_path / "data" / f"{index}.png", size=(64 + index, 48), seed=index)
    return tmp_path / "data"


@pytest.fixture
def config(folder):
    return make_config(
        [folder], quantize="int8", init="gray-25", sigma=(25.0, 25.0), val_images=1, patch=24,
        batch=2, steps=4, warmup_steps=1, log_every=1, scales=(1.0,),
    )  # fmt: skip


def train(config, run, **options):
    return loop.train(config, run, World(torch.device("cpu")), **options)


def test_what_quantize_changes_by_default(folder):
    config = make_config([folder], quantize="int8", init="gray-25")
    assert (config.steps, config.batch, config.lr, config.weight_bits) == (400, 8, 1e-4, 7)
    assert (config.ema, config.clip_norm, config.final_lr_ratio) == (0.0, None, 0.0)
    own = make_config([folder], quantize="int8", init="gray-25", batch=4, max_minutes=3.0)
    assert (own.batch, own.steps, own.max_minutes) == (4, None, 3.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int8", "steps": 4}, "give --init"),
        ({"quantize": "int8", "init": "gray-25", "optimizer": "muon"}, "use adam"),
        ({"loss": "twin", "steps": 4}, "give --quantize"),
        ({"quantize": "int4", "init": "gray-25"}, "quantize must be one of int8, got 'int4'"),
        ({"quantize": "int8", "init": "gray-25", "weight_bits": 6}, "must be one of 7, 8, got 6"),
        ({"weight_bits": 8, "steps": 4}, "--weight-bits has no effect"),
        ({"quantize": "int8", "init": "gray-25", "freeze_norm": True}, "--freeze-norm has no"),
    ],
)
def test_settings_that_make_no_sense(folder, options, message):
    with pytest.raises(UsageError, match=message):
        make_config([folder], **options)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [7, 8])
def test_a_run(config, tmp_path, bits, caplog):
    caplog.set_level("INFO", "adnet")
    best = train(dataclasses.replace(config, weight_bits=bits), tmp_path / "run")
    loaded = load_checkpoint(best)
    assert isinstance(loaded.network, QuantizedADNet)
    assert loaded.network.weight_bits == bits
    record = loaded.card.training
    assert record["config"]["quantize"] == "int8"
    whole = load_checkpoint(WEIGHTS / "gray-25.onnx")
    assert record["init"]["weights_sha256"] == whole.card.weights_sha256
    assert "int8 against the float network as it came" in caplog.text
    assert abs(record["val_psnr"] - record["float_val_psnr"]) < 0.3
    assert record["val_psnr"] > 25


@pytest.mark.slow
def test_weights_and_scales_learn(config, tmp_path):
    quick = dataclasses.replace(config, lr=2e-4, steps=30, val_every=1)
    train(quick, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    psnr = [json.loads(line)["val_psnr"] for line in lines if "val_psnr" in line]
    assert psnr[-1] > psnr[0]
    before, after = (
        load_checkpoint(tmp_path / "run" / name).network for name in ("best.pth", "last.pth")
    )
    assert isinstance(after, QuantizedADNet)
    assert isinstance(before, QuantizedADNet)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_to_the_twin_alone(config, precision, tmp_path):
    """Where it rounds nothing, nothing is left to learn: no clean image pulls."""
    config = dataclasses.replace(config, loss="twin", precision=precision, sigma=(0.0, 55.0))
    best = train(config, tmp_path / "run")
    assert load_checkpoint(best).card.training["config"]["loss"] == "twin"
    whole = load_checkpoint(WEIGHTS / "gray-25.onnx")
    start = dataclasses.replace(whole, network=fold_batch_norm(whole.network).requires_grad_())
    learner = Learner(config, World(torch.device("cpu")), start, whole.network)
    clean = torch.rand(2, 1, 24, 24)
    noisy = clean + 0.1 * torch.randn_like(clean)
    learner.learn(noisy, clean, 1e-4)
    gradients = [one.grad.abs().max() for one in learner.network.parameters()]
    assert (max(gradients) < 1e-6) == (precision == "fp32")  # bf16: of the student's rounding


def test_levels_are_weighed():
    clean = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    noisy = clean + noise * torch.tensor([0.0, 5.0, 25.0]).reshape(3, 1, 1, 1) / WHITE
    assert level_weights(noisy, clean).flatten().tolist() == pytest.approx([6, 3, 1], rel=0.05)


@pytest.mark.slow
def test_resume_is_exact(config, tmp_path):
    train(config, tmp_path / "straight")

    def interrupt(progress):
        if progress.step == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "broken", on_progress=interrupt)
    plain = dataclasses.replace(config, quantize=None)
    with pytest.raises(UsageError, match="quantize was int8, is None"):
        train(plain, tmp_path / "broken", resume=True)
    train(config, tmp_path / "broken", resume=True)
    expected, got = (
        load_checkpoint(tmp_path / name / "last.pth").network.state_dict()
        for name in ("straight", "broken")
    )
    assert all(torch.equal(expected[key], got[key]) for key in expected)


def test_a_resumed_run_learns_from_the_same_network(config, tmp_path):
    train(config, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "last.pth", weights_only=True)
    state["training"]["origin"]["weights_sha256"] = "0" * 64
    torch.save(state, tmp_path / "run" / "last.pth")
    with pytest.raises(UsageError, match="began with other weights than --init has now"):
        train(config, tmp_path / "run", resume=True)


def test_runs_from_before_there_was_int8_go_on(config, tmp_path):
    """What their record lacks had its default."""
    plain = dataclasses.replace(config, quantize=None, init=None)
    train(plain, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "last.pth", weights_only=True)
    del state["training"]["config"]["quantize"], state["training"]["config"]["weight_bits"]
    torch.save(state, tmp_path / "run" / "last.pth")
    train(plain, tmp_path / "run", resume=True)


def test_an_int8_network_is_no_start(config, tmp_path):
    best = train(dataclasses.replace(config, steps=1), tmp_path / "run")
    for quantize in ("int8", None):
        again = dataclasses.replace(config, init=str(best), quantize=quantize)
        with pytest.raises(UsageError, match="is an int8 model. Give --init the float one"):
            train(again, tmp_path / "again")


def test_every_worker_begins_alike(config, monkeypatch):
    """The patches that are calibrated with are those of the whole batch, not a worker's share."""
    from adnet.training.data import load_training_data

    data = load_training_data(config, torch.device("cpu"))
    network = load_checkpoint(WEIGHTS / "gray-25.onnx").network
    monkeypatch.setattr(initial, "_CALIBRATION_PATCHES", 2)
    one, other = (
        initial._quantized(config, data, World(torch.device("cpu"), rank, 2), network).state_dict()
        for rank in (0, 1)
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_from_a_shipped_model_to_a_file(cli_here, folder, tmp_path):
    """The one command, and the export of what it leaves."""
    from adnet.export import cli as export_cli
    from adnet.runtime.registry import open_backend

    trained = cli_here(
        main, "adnet-train", folder, "-o", tmp_path / "run", "--quantize", "int8", "--init",
        "gray-25", "--sigma", "25", "--steps", "2", "--patch", "24", "--batch", "2",
        "--val-images", "1",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    path = tmp_path / "g25-int8.onnx"
    exported = cli_here(
        export_cli.main, "adnet-export", "onnx", tmp_path / "run" / "best.pth", "-o", path,
        "--name", "mine-int8",
    )  # fmt: skip
    assert exported.returncode == 0, exported.stderr
    noisy = add_published_noise(render(40, 50), 25)[None, None].astype(np.float32)
    with open_backend(path) as backend, open_backend(WEIGHTS / "gray-25.onnx") as floating:
        assert backend.describe()["precision"] == "int8"
        assert backend.card.name == "mine-int8"
        assert np.abs(backend.infer(noisy) - floating.infer(noisy)).max() < 0.05
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("QuantizeLinear") == 15
    refused = cli_here(
        main, "adnet-train", folder, "-o", tmp_path / "b", "--quantize", "int8", "--steps", "2"
    )
    assert_clean_error(refused, 2, "give --init")
