"""What 0.1.0 made still loads and gives the same results (tests/samples)."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from adnet.images.image import load_image
from adnet.images.levels import from_levels
from adnet.models.card import ModelCard
from adnet.runtime.denoiser import Denoiser

SAMPLES = Path(__file__).parent / "samples"
MADE_BY_0_1_0 = SAMPLES / "adnet-0.1.0.zip"

TRAINING = {
    "config": {"noise": "awgn", "steps": 3},
    "device": "cpu",
    "test_psnr": {"BSD68": {"25": 29.1}},
}
DIGESTS = {  # as 0.1.0 told them
    "gray": "ece058b05e5e625e31cd1d3508adc3a265af9b1b2834dcc238ceb6122900e228",
    "colour": "f8dc3f702206131be73047b37403efd4ab2b404693f929e540d2bf9a797cd68a",
}


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made-by-0.1.0")
    with zipfile.ZipFile(MADE_BY_0_1_0) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def expected(old):
    with np.load(old / "expected.npz") as found:
        return dict(found)


def denoised(path, expected, colour="gray", **options):
    with Denoiser(path, **options) as denoise:
        result = denoise(from_levels(expected[f"{colour}-noisy"]))
        return result, denoise.model_for(3).card


def require_same_card(card, colour):
    assert card.weights_sha256 == DIGESTS[colour]
    assert (card.name, card.channels) == (f"sample-{colour}", 1 if colour == "gray" else 3)
    assert card.sigma_range == ((0.0, 55.0) if colour == "gray" else (25.0, 25.0))
    assert card.training == TRAINING
    assert card.receptive_radius == 20


def test_samples_are_small():
    size = sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.suffix != ".pyc")
    assert size < 100_000


@pytest.mark.parametrize("colour", ["gray", "colour"])
def test_onnx(old, expected, colour):
    result, card = denoised(old / f"{colour}.onnx", expected, colour)
    assert np.abs(result - expected[f"{colour}-denoised"]).max() < 1e-5
    require_same_card(card, colour)


@pytest.mark.parametrize(("name", "error"), [("gray-fp16", 5e-3), ("gray-uint8", 0.00393)])
def test_other_precisions_of_onnx(old, expected, name, error):
    result, card = denoised(old / f"{name}.onnx", expected)
    wanted = expected["gray-denoised"]
    if name == "gray-uint8":
        wanted = np.clip(wanted, 0, 1)
    assert np.abs(result - wanted).max() < error
    require_same_card(card, "gray")


@pytest.mark.torch
@pytest.mark.parametrize("suffix", [".pth", ".onnx"])
@pytest.mark.parametrize("colour", ["gray", "colour"])
def test_checkpoints_and_onnx_on_torch(old, expected, colour, suffix):
    path = old / f"{colour}{suffix}"
    result, card = denoised(path, expected, colour, backend="torch", device="cpu")
    assert np.abs(result - expected[f"{colour}-denoised"]).max() < 1e-4
    require_same_card(card, colour)


@pytest.mark.torch
def test_plain_weights_of_bgr_planes(old):
    from adnet.models.checkpoint import load_checkpoint, reverse_planes, weights_digest

    network = load_checkpoint(old / "plain-bgr.pth").network
    reverse_planes(network)
    assert weights_digest(network) == DIGESTS["colour"]


@pytest.mark.torch
@pytest.mark.parametrize("source", ["gray.pth", "gray.onnx"])
def test_training_and_export_start_from_them(old, tmp_path, source):
    from adnet.export.to_onnx import checkpoint_to_onnx
    from adnet.export.torch_to_onnx import OnnxShape

    checkpoint_to_onnx(old / source, tmp_path / "again.onnx", OnnxShape())
    with Denoiser(tmp_path / "again.onnx") as denoise:
        require_same_card(denoise.model_for(1).card, "gray")


def test_an_om_and_its_sidecar(acl, old, expected):
    result, card = denoised(old / "gray.om", expected)  # in half precision, ATC's default
    assert np.abs(result - expected["gray-denoised"]).max() < 5e-3
    require_same_card(card, "gray")
    with Denoiser(old / "gray.om") as denoise:
        assert sorted(denoise.model_for(1).spec.shapes) == [(1, 64, 48), (2, 64, 48)]


@pytest.mark.slow
def test_a_backend_of_another_package(cli, tmp_path, make_image):
    environment = os.environ | {"PYTHONPATH": str(SAMPLES / "plugin")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    model = tmp_path / "m.inverse"
    model.write_text(ModelCard(1, name="inverse").to_json())
    source = make_image(tmp_path / "a.png", size=(50, 40))
    for options in ([], ["--backend", "inverse", "--threads", "2"]):
        result = cli(
            "adnet-run", source, "-o", tmp_path / "out", "--model", model, "--overwrite", *options,
            env=environment,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        before, after = (load_image(one, 1) for one in (source, tmp_path / "out" / "a.png"))
        assert np.array_equal(after, 255 - before)
    listed = cli("adnet-run", "--list-backends", env=environment).stdout
    assert "inverse" in listed
    refused = cli(
        "adnet-run", source, "-o", tmp_path / "x", "--model", model, "--streams", "2",
        env=environment,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "inverse backend: has no --streams" in refused.stderr
