"""float16 and int8 variants, and 8-bit pixels in and out."""

import json

import numpy as np
import onnx
import pytest
from conftest import assert_clean_error

from adnet.errors import ExportError, ParityError, PrecisionError, UsageError
from adnet.export import calibration, verify
from adnet.export.to_onnx import Variant, checkpoint_to_onnx
from adnet.export.torch_to_onnx import OnnxShape
from adnet.images.levels import WHITE, to_levels
from adnet.images.metrics import psnr
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.checkpoint import load_checkpoint, save_checkpoint
from adnet.models.shipped import WEIGHTS
from adnet.runtime.backend import RunOptions
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.registry import open_backend

GRAY, COLOUR = (WEIGHTS / f"{name}-blind.onnx" for name in ("gray", "color"))


def export(folder, precision="fp32", io="fp32", checkpoint=GRAY, **options):
    path = folder / f"{checkpoint.stem}-{precision}-{io}.onnx"
    variant = Variant(precision, io)
    return checkpoint_to_onnx(checkpoint, path, OnnxShape(), variant=variant, **options)


@pytest.fixture(scope="module", autouse=True)
def _few_small_images():
    """Calibrating on 32 images of 160x160 takes ten seconds and more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "COUNT", 10)
        patch.setattr(calibration, "_SIDE", 96)
        yield


@pytest.fixture(scope="module")
def int8(tmp_path_factory, _few_small_images):
    return export(tmp_path_factory.mktemp("int8"), "int8")


def eight_bit_image(height, width, channels=1, seed=0, sigma=20):
    noisy = add_published_noise(render(height, width, channels, seed), sigma)
    return to_levels(noisy)


@pytest.mark.slow
def test_half_precision(tmp_path):
    sizes = {}
    for io in ("fp32", "fp16"):
        result = export(tmp_path, "fp16", io)
        assert 1e-5 < result.variant.max_abs_error < 5e-3
        assert abs(result.variant.delta_psnr) < 0.02
        sizes[io] = result.path.stat().st_size
        with open_backend(result.path) as backend:
            assert backend.spec.dtype == {"fp32": "float32", "fp16": "float16"}[io]
            assert backend.describe()["precision"] == "fp16"
            batch = add_published_noise(render(50, 60), 20)[None, None].astype(np.float32)
            with open_backend(WEIGHTS / "gray-blind.onnx") as exact:
                assert np.abs(backend.infer(batch) - exact.infer(batch)).max() < 5e-3
        weights = onnx.load(result.path).graph.initializer
        assert all(one.data_type != onnx.TensorProto.FLOAT or not one.dims for one in weights)
    assert max(sizes.values()) < 0.6 * (WEIGHTS / "gray-blind.onnx").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", [GRAY, COLOUR])
def test_8_bit_pixels_equal_the_float_path(tmp_path, checkpoint):
    result = export(tmp_path, io="uint8", checkpoint=checkpoint)
    assert result.variant.max_abs_error <= 1.01 / WHITE
    channels = 1 if checkpoint == GRAY else 3
    image = eight_bit_image(75, 66, channels)
    with (
        Denoiser(result.path) as denoise,
        Denoiser(WEIGHTS / f"{checkpoint.stem}.onnx") as floating,
    ):
        assert denoise.model_for(channels).spec.dtype == "uint8"
        assert np.array_equal(denoise(image), floating(image))


def test_int8(int8):
    assert int8.variant.delta_psnr > -0.3
    assert int8.path.stat().st_size < 1.3e6
    model = onnx.load(int8.path)
    types = [node.op_type for node in model.graph.node]
    assert types.count("Conv") == 17
    quantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert sum(node.input[1] in quantised for node in convolutions) == 15
    assert [entry.domain for entry in model.opset_import] == [""]
    clean = render(120, 160)
    noisy = add_published_noise(clean, 25)
    with Denoiser(int8.path) as denoise, Denoiser("gray-blind") as floating:
        assert denoise.describe()[0]["precision"] == "int8"
        got, expected = (np.clip(one(noisy), 0, 1) for one in (denoise, floating))
    assert psnr(clean, got) > psnr(clean, expected) - 0.5


@pytest.mark.slow
def test_int8_with_8_bit_pixels(tmp_path, int8):
    result = export(tmp_path, "int8", "uint8")
    image = eight_bit_image(60, 70)
    with Denoiser(result.path) as denoise, Denoiser(int8.path) as floating:
        assert np.abs(denoise(image).astype(int) - floating(image)).max() <= 1


@pytest.mark.slow
def test_calibration_takes_photographs(tmp_path, make_image):
    for index in range(10):
        make_image(tmp_path / "photos" / f"{index}.png", size=(100, 97), seed=index)
    variant = Variant("int8", calibration=tmp_path / "photos")
    result = checkpoint_to_onnx(GRAY, tmp_path / "m.onnx", OnnxShape(), variant=variant)
    assert result.variant.delta_psnr > -0.3
    (tmp_path / "photos" / "9.png").unlink()
    with pytest.raises(UsageError, match="at least 10 images of 96x96 pixels or more, found 9"):
        checkpoint_to_onnx(GRAY, tmp_path / "n.onnx", OnnxShape(), variant=variant)
    assert not (tmp_path / "n.onnx").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "--precision must be"),
        ({"io": "int8"}, "--io must be"),
        ({"io": "fp16"}, "goes with --precision fp16"),
        ({"precision": "int8", "io": "fp16"}, "goes with --precision fp16"),
        ({"calibration": GRAY}, "goes with --precision int8"),
    ],
)
def test_variants_that_do_not_exist(options, message):
    with pytest.raises(UsageError, match=message):
        Variant(**options)


@pytest.mark.parametrize(
    ("precision", "io", "opset", "message"),
    [("int8", "fp32", 11, "int8 needs opset 13"), ("fp32", "uint8", 10, "needs opset 11")],
)
def test_opsets_that_are_too_old(tmp_path, precision, io, opset, message):
    with pytest.raises(ExportError, match=message):
        export(tmp_path, precision, io, opset=opset, verify=False)
    assert list(tmp_path.iterdir()) == []


def hot_checkpoint(path, layer, factor):
    checkpoint = load_checkpoint(GRAY)
    state = checkpoint.network.state_dict()
    state[layer] *= factor
    save_checkpoint(path, state, checkpoint.card)
    return path


def test_weights_beyond_half_precision_are_refused(tmp_path):
    hot = hot_checkpoint(tmp_path / "hot.pth", "conv1_16.weight", 1e6)
    with pytest.raises(ExportError, match="which float16 cannot"):
        export(tmp_path, "fp16", checkpoint=hot, verify=False)


@pytest.mark.slow
def test_a_variant_that_loses_too_much_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setitem(verify.LARGEST_LOSS, "int8", 1e-4)
    with pytest.raises(ParityError, match="the int8 model loses"):
        export(tmp_path, "int8")
    assert list(tmp_path.iterdir()) == []


def test_overflow_at_run_time_is_an_error(tmp_path):
    # Within range as weights, but the products are not.
    hot = hot_checkpoint(tmp_path / "hot.pth", "conv1_5.1.weight", 1e4)
    result = export(tmp_path, "fp16", checkpoint=hot, verify=False)
    batch = add_published_noise(render(40, 40), 50)[None, None].astype(np.float32)
    with (
        open_backend(result.path, "onnx", RunOptions()) as backend,
        pytest.raises(PrecisionError, match="exported with --precision fp32"),
    ):
        backend.infer(batch)


@pytest.mark.slow
def test_program_prints_the_loss(cli_here, tmp_path):
    from adnet.export.cli import main

    result = cli_here(
        main, "adnet-export", "onnx", GRAY, "-o", tmp_path / "m.onnx", "--precision", "int8",
        "--io", "uint8", "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)["variant"]
    assert facts["precision"] == "int8"
    assert -0.3 < facts["delta_psnr"] < 0.1
    again = cli_here(
        main, "adnet-export", "onnx", GRAY, "-o", tmp_path / "n.onnx", "--calibrate", tmp_path
    )
    assert_clean_error(again, 2, "--calibrate goes with --precision int8")


def test_torch_refuses_weights_that_are_not_float32(tmp_path, int8):
    half = export(tmp_path, "fp16").path
    for path in (half, int8.path):
        with pytest.raises(Exception, match="float32 ADNets only"):
            open_backend(path, "torch", RunOptions(device="cpu"))
