"""int8 files: what is in 8 bits, that they compute what was trained, and who reads them."""

import json

import numpy as np
import onnx
import pytest
import torch
from conftest import assert_clean_error
from onnx import numpy_helper

from adnet.errors import ExportError, ModelError, ParityError, UsageError
from adnet.export import calibration, verify
from adnet.export.inspect_model import inspect_file
from adnet.export.to_onnx import Variant, checkpoint_to_onnx
from adnet.export.torch_to_onnx import OnnxShape
from adnet.images.levels import WHITE, from_levels, to_levels
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.card import ModelCard
from adnet.models.checkpoint import load_checkpoint, save_checkpoint
from adnet.models.shipped import WEIGHTS
from adnet.models.structure import check_structure, without_qdq
from adnet.runtime.registry import open_backend
from adnet.training.quantization import quantized_from

NAMES = {1: "gray-25", 3: "color-blind"}


@pytest.fixture(autouse=True)
def _few_small_images(monkeypatch):
    monkeypatch.setattr(calibration, "COUNT", 5)
    monkeypatch.setattr(calibration, "_SIDE", 64)


def batch(channels, height=40, width=56, seed=0):
    clean = np.atleast_3d(render(height, width, channels, seed))
    noisy = add_published_noise(clean, 25).astype(np.float32)
    return np.ascontiguousarray(noisy.transpose(2, 0, 1)[None])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """(channels, bits) -> an int8 checkpoint."""
    folder = tmp_path_factory.mktemp("int8")
    found = {}
    for channels, name in NAMES.items():
        source = load_checkpoint(WEIGHTS / f"{name}.onnx")
        for bits in (7, 8):
            noisy = [torch.from_numpy(batch(channels, seed=9))]
            network = quantized_from(source.network, noisy, bits)
            path = folder / f"{name}-{bits}.pth"
            save_checkpoint(path, network.state_dict(), ModelCard(channels, (25, 25), "mine"))
            found[channels, bits] = path
    return found


def network_in_float(channels, image):
    network = load_checkpoint(WEIGHTS / f"{NAMES[channels]}.onnx").network
    with torch.inference_mode():
        return network(torch.from_numpy(image)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [7, 8])
def test_the_file_computes_what_the_network_imitates(checkpoints, tmp_path, channels, bits):
    path = tmp_path / "m.onnx"
    result = checkpoint_to_onnx(checkpoints[channels, bits], path, OnnxShape())
    assert result.variant is not None
    assert abs(result.variant.delta_psnr) < 0.01
    network = load_checkpoint(checkpoints[channels, bits]).network
    with open_backend(path) as backend:
        assert backend.describe()["precision"] == "int8"
        assert backend.card == load_checkpoint(checkpoints[channels, bits]).card
        for size in ((40, 56), (33, 71)):
            image = batch(channels, *size)
            with torch.inference_mode():
                expected = network(torch.from_numpy(image)).numpy()
                exact = network_in_float(channels, image)
            difference = backend.infer(image) - expected
            # A value between two levels is rounded up by one and down by the other, and the next
            # layers spread that: they differ by no more than the rounding itself, and not in mean.
            assert difference.std() < 1.2 * (expected - exact).std()
            assert abs(difference.mean()) < 2e-4
            assert np.abs(difference).max() < 0.02


@pytest.mark.parametrize("bits", [7, 8])
def test_what_is_in_8_bits(checkpoints, tmp_path, bits):
    path = tmp_path / "m.onnx"
    checkpoint_to_onnx(checkpoints[1, bits], path, OnnxShape())
    assert path.stat().st_size < 0.6e6  # float32 has 2.1 MB
    model = onnx.load(path)
    assert [entry.domain for entry in model.opset_import] == [""]
    layers = list(load_checkpoint(checkpoints[1, bits]).network.quantized_layers())
    made_by = {node.output[0]: node for node in model.graph.node}
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 17
    for index, node in enumerate(convolutions, start=1):
        quantised = [made_by[name].op_type for name in node.input if name in made_by]
        if 2 <= index <= 16:
            assert quantised[:2] == ["DequantizeLinear"] * 2
            before = made_by[made_by[node.input[0]].input[0]]
            assert before.op_type == "QuantizeLinear"
            assert made_by[before.input[0]].op_type == "Relu"
            assert constants[before.input[2]] == 0
            assert constants[before.input[2]].dtype == np.uint8
            weight, scale, _ = (constants[name] for name in made_by[node.input[1]].input)
            layer = layers[index - 2]
            assert np.array_equal(weight, layer.integers().detach().numpy())
            assert np.array_equal(scale, layer.log_weight_scale.exp().detach().numpy())
            assert constants[before.input[1]] == layer.log_input_scale.exp().item()
            if index < 16:
                levels, step, _ = (constants[name] for name in made_by[node.input[2]].input)
                assert levels.dtype == np.int32
                bias = layer.bias.detach().numpy()
                assert np.abs(levels * step - bias).max() <= step.max()
            assert weight.dtype == np.int8
            assert np.abs(weight.astype(int)).max() == 2 ** (bits - 1) - 1
        else:
            assert "DequantizeLinear" not in quantised
        assert len(node.input) == (2 if index == 16 else 3)
    kinds = {one.dtype for one in constants.values() if one.size > 1000}
    assert kinds == {np.dtype(np.int8)}
    check_structure(without_qdq(model))
    with pytest.raises(ParityError):
        check_structure(model)
    facts = inspect_file(path)
    assert facts["structure"].endswith("attention intact; quantised to int8")
    assert facts["name"] == "mine"


@pytest.mark.slow
def test_8_bit_pixels_too(checkpoints, tmp_path):
    plain, levels = tmp_path / "p.onnx", tmp_path / "u.onnx"
    checkpoint_to_onnx(checkpoints[1, 7], plain, OnnxShape())
    checkpoint_to_onnx(checkpoints[1, 7], levels, OnnxShape(), variant=Variant(io="uint8"))
    image = from_levels(to_levels(batch(1)))
    with open_backend(plain) as one, open_backend(levels) as other:
        assert other.spec.dtype == "uint8"
        got, expected = other.infer(image), np.clip(one.infer(image), 0, 1)
        assert np.abs(got - expected).max() <= 0.51 / WHITE + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("shape", [OnnxShape(2, (40, 56)), OnnxShape(3), OnnxShape(None, (70, 96))])
@pytest.mark.parametrize("variant", [Variant("int8"), Variant("fp16"), Variant(io="uint8")])
def test_fixed_shapes_too(checkpoints, tmp_path, shape, variant):
    """Their images are of another size than those that variants are measured on."""
    path = tmp_path / "m.onnx"
    source = checkpoints[1, 8] if variant.precision == "int8" else WEIGHTS / "gray-25.onnx"
    result = checkpoint_to_onnx(source, path, shape, variant=variant)
    assert result.variant.shape == (shape.batch or 1, 1, *(shape.size or (64, 64)))
    with open_backend(path) as backend:
        assert backend.spec.shapes == ((shape.batch, *(shape.size or (None, None))),)


@pytest.mark.slow
def test_calibrated_files_lose_little(tmp_path):
    """Whatever else of the float network is changed for it: the file is measured, not the idea."""
    for name, bound in (("gray-25", 0.15), ("gray-blind", 0.3), ("color-blind", 0.6)):
        path = tmp_path / f"{name}.onnx"
        source = WEIGHTS / f"{name}.onnx"
        result = checkpoint_to_onnx(source, path, OnnxShape(), variant=Variant("int8"))
        assert result.is_calibrated
        assert abs(result.variant.delta_psnr) < bound, name


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (Variant("fp16"), "--precision fp16 needs the float checkpoint"),
        (Variant("int8", calibration=WEIGHTS), "--calibrate needs the float checkpoint"),
    ],
)
def test_an_int8_checkpoint_becomes_nothing_else(checkpoints, tmp_path, variant, message):
    with pytest.raises(UsageError, match=message):
        checkpoint_to_onnx(checkpoints[1, 8], tmp_path / "m.onnx", OnnxShape(), variant=variant)
    with pytest.raises(ExportError, match="int8 needs opset 13"):
        checkpoint_to_onnx(checkpoints[1, 8], tmp_path / "m.onnx", OnnxShape(), opset=11)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_from_its_checkpoint_is_not_written(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setitem(verify.LARGEST_LOSS, verify.TRAINED, -1.0)
    with pytest.raises(ParityError, match="the trained int8 model loses"):
        checkpoint_to_onnx(checkpoints[1, 8], tmp_path / "m.onnx", OnnxShape())
    assert list(tmp_path.iterdir()) == []


def test_int8_files_are_not_trained_on(checkpoints, tmp_path):
    path = tmp_path / "m.onnx"
    checkpoint_to_onnx(checkpoints[1, 8], path, OnnxShape())
    with pytest.raises(ModelError, match="float32 ADNets only"):
        load_checkpoint(path)


@pytest.mark.slow
def test_the_program_writes_qdq_and_says_what_training_gains(checkpoints, cli_here, tmp_path):
    from adnet.export.cli import main

    trained = cli_here(
        main, "adnet-export", "onnx", checkpoints[1, 7], "-o", tmp_path / "q.onnx", "--json"
    )
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["variant"]["precision"] == "int8"
    assert "note" not in trained.stderr
    calibrated = cli_here(
        main, "adnet-export", "onnx", "gray-25", "-o", tmp_path / "c.onnx", "--precision", "int8"
    )
    assert calibrated.returncode == 0, calibrated.stderr
    assert "adnet-train DATA -o RUN --quantize int8 --init gray-25" in calibrated.stderr
    refused = cli_here(
        main, "adnet-export", "onnx", checkpoints[1, 7], "-o", tmp_path / "h.onnx",
        "--precision", "fp16",
    )  # fmt: skip
    assert_clean_error(refused, 2, "was fine-tuned for int8")
