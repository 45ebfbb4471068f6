import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adnet
from adnet.errors import BackendUnavailable, ModelError, ShapeError, UsageError
from adnet.images.levels import from_levels, to_levels
from adnet.images.metrics import psnr
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.shipped import WEIGHTS, default_model, pretrained_models, resolve_model
from adnet.runtime import registry
from adnet.runtime.backend import RunOptions
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.registry import BackendEntry, open_backend


@pytest.fixture(scope="module")
def denoiser():
    with Denoiser("gray-blind", tile=4096) as whole:
        yield whole


def noisy_image(height, width, channels=1, seed=0):
    return add_published_noise(render(height, width, channels, seed), 25)


@settings(max_examples=25)
@given(height=st.integers(1, 110), width=st.integers(1, 110), tile=st.integers(50, 96))
def test_tiled_equals_whole(denoiser, height, width, tile):
    noisy = noisy_image(height, width)
    with Denoiser("gray-blind", tile=tile) as tiled:
        assert np.abs(tiled(noisy) - denoiser(noisy)).max() < 1e-6


def test_the_smallest_tile(denoiser):
    noisy = noisy_image(44, 46)
    with Denoiser("gray-blind", tile=41) as tiled:  # cores of one pixel
        assert np.abs(tiled(noisy) - denoiser(noisy)).max() < 1e-6


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 97)])
def test_thin_images(denoiser, size):
    noisy = noisy_image(*size)
    with Denoiser("gray-blind", tile=64, batch=3) as tiled:
        assert np.abs(tiled(noisy) - denoiser(noisy)).max() < 1e-6


def test_it_denoises(denoiser):
    clean = render(120, 160)
    noisy = add_published_noise(clean, 25)
    assert psnr(clean, np.clip(denoiser(noisy), 0, 1)) > psnr(clean, np.clip(noisy, 0, 1)) + 6


@pytest.mark.parametrize("batch", [2, 3, 7])
def test_batches_equal_single_tiles(denoiser, batch):
    noisy = noisy_image(150, 170)
    with Denoiser("gray-blind", tile=64, batch=batch) as batched:
        assert np.abs(batched(noisy) - denoiser(noisy)).max() < 1e-6


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1), (40, 50, 2), (40, 50, 3), (40, 50, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.float16])
def test_shapes_and_types_are_kept_and_alpha_is_copied(denoiser, shape, dtype):
    generator = np.random.default_rng(0)
    image = generator.random(shape)
    if np.dtype(dtype).kind == "u":
        image = image * np.iinfo(dtype).max
    image = image.astype(dtype)
    before = image.copy()
    result = denoiser(image)
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    assert np.array_equal(image, before)
    if shape[-1] in (2, 4) and len(shape) == 3:
        assert np.array_equal(result[..., -1], image[..., -1])
    assert not np.array_equal(result, image)


def test_integers_are_the_rounded_floats(denoiser):
    noisy = to_levels(noisy_image(60, 70))
    floats = denoiser(from_levels(noisy))
    assert np.array_equal(denoiser(noisy), to_levels(floats))


def test_colour_with_the_gray_model_is_plane_by_plane(denoiser):
    noisy = noisy_image(50, 60, 3)
    planes = [denoiser(np.ascontiguousarray(noisy[..., plane])) for plane in range(3)]
    assert np.allclose(denoiser(noisy), np.dstack(planes), atol=1e-6)


def test_views_and_strides_are_accepted(denoiser):
    noisy = noisy_image(60, 70)
    view = noisy[::-1, ::2]
    assert np.array_equal(denoiser(view), denoiser(view.copy()))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 5), np.float32), "C from 1 to 4"),
        (np.zeros(7, np.float32), "C from 1 to 4"),
        (np.zeros((0, 7), np.float32), "C from 1 to 4"),
        (np.zeros((4, 5), np.int32), "uint8, uint16 or float"),
        (np.zeros((4, 5), bool), "uint8, uint16 or float"),
    ],
)
def test_other_arrays_are_refused(denoiser, image, message):
    with pytest.raises(ShapeError, match=message):
        denoiser(image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 40}, "at least 41 pixels"),
        ({"batch": 0}, "batch must be"),
        ({"threads": 0}, "threads must be"),
        ({"backend": "tpu"}, "unknown backend 'tpu'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Denoiser("gray-blind", **options)


def test_options_come_whole_or_by_name():
    whole = RunOptions(threads=1, streams=2)
    with (
        Denoiser("gray-blind", options=whole) as first,
        Denoiser("gray-blind", threads=1, streams=2) as second,
        Denoiser("gray-blind", options=whole, streams=1) as third,
    ):
        facts = [one.model_for(1).describe() for one in (first, second, third)]
    assert [(one["threads"], one["streams"]) for one in facts] == [("1", "2")] * 2 + [("1", "1")]
    with pytest.raises(TypeError, match="thread"):
        Denoiser("gray-blind", thread=1)


def test_what_is_asked_for_is_told():
    assert RunOptions().given() == {}
    assert RunOptions(threads=1, device="cpu").given() == {"threads": 1, "device": "cpu"}


def test_progress_adds_up_to_the_pixels():
    seen = []
    with Denoiser("gray-blind", tile=64) as tiled:
        tiled(noisy_image(90, 110, 3), seen.append)
    assert sum(seen) == pytest.approx(90 * 110, abs=len(seen))


def test_public_names():
    assert adnet.Denoiser is Denoiser
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = adnet.nothing


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    pytest.importorskip("torch", reason="needs torch: exports a model")
    path = tmp_path_factory.mktemp("fixed") / "fixed.onnx"
    from adnet.export.to_onnx import checkpoint_to_onnx
    from adnet.export.torch_to_onnx import OnnxShape

    checkpoint_to_onnx(WEIGHTS / "gray-blind.onnx", path, OnnxShape(2, (64, 48)))
    return path


def test_fixed_shapes_are_tiled_and_filled(denoiser, fixed):
    noisy = noisy_image(101, 83)
    with Denoiser(fixed) as on_fixed:
        assert np.abs(on_fixed(noisy) - denoiser(noisy)).max() < 1e-6
        with pytest.raises(ShapeError, match="image 60x83 fits none of the model's sizes 64x48"):
            on_fixed(noisy_image(60, 83))


def test_backend_checks_batches_and_closes(fixed):
    with open_backend(fixed) as backend:
        good = np.zeros((2, 1, 64, 48), np.float32)
        assert backend.infer(good).shape == good.shape
        assert backend.describe()["provider"] == "cpu"
        for bad, message in (
            (good.astype(np.float64), "float32 values"),
            (good[0], "non-empty batch"),
            (good[:, :, ::-1], "C-contiguous"),
            (np.zeros((2, 3, 64, 48), np.float32), "expected 1 channels, got 3"),
            (good[:1].copy(), "a batch of 2, got 1"),
            (np.zeros((2, 1, 48, 64), np.float32), "64x48 .* got 48x64"),
        ):
            with pytest.raises(ShapeError, match=message):
                backend.infer(bad)
    backend.close()
    with pytest.raises(UsageError, match="after close"):
        backend.infer(good)


def test_missing_package_names_the_remedy(monkeypatch, fixed):
    entry = BackendEntry("no_such_package.backend:X", (".onnx",), "pip install it")
    monkeypatch.setitem(registry.BACKENDS, "onnx", entry)
    with pytest.raises(
        BackendUnavailable, match="No module named 'no_such_package'.*pip install it"
    ):
        open_backend(fixed)


def test_model_names(tmp_path):
    assert resolve_model("gray-blind").suffix == ".onnx"
    with pytest.raises(ModelError, match="Did you mean gray-blind"):
        resolve_model("gray_blind")
    with pytest.raises(ModelError, match="does not exist"):
        resolve_model("gray-blnd.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        resolve_model(f"{tmp_path}/.")


def test_files_that_nothing_runs(tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"")
    with pytest.raises(UsageError, match="no backend runs .tflite files.*adnet-export onnx"):
        open_backend(tmp_path / "m.tflite")


@pytest.mark.torch
def test_shipped_models_match_their_cards():
    import hashlib

    from adnet.models.checkpoint import load_checkpoint

    for model in pretrained_models():
        assert hashlib.sha256(model.path.read_bytes()).hexdigest() == model.sha256
        if not model.name.endswith("-int8"):  # whose trained network is not in the file
            assert load_checkpoint(model.path).card == model.card
        with open_backend(model.path) as backend:
            assert backend.card == model.card
    assert default_model(1).card.channels == 1
    assert default_model(3).card.channels in (1, 3)


@pytest.mark.dataset
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sigma", "expected"),
    [("gray_sigma15", 15, 31.7386), ("gray_sigma25", 25, 29.2523), ("gray_sigma50", 50, 26.2875)],
)
def test_published_weights_reach_their_psnr(shared, tmp_path, name, sigma, expected):
    from adnet.images.evaluate import evaluate, mean_psnr
    from adnet.images.image import load_folder

    path = tmp_path / "a.onnx"
    from adnet.export.to_onnx import checkpoint_to_onnx
    from adnet.export.torch_to_onnx import OnnxShape

    checkpoint_to_onnx(shared / "weights" / "author" / f"{name}.pth", path, OnnxShape())
    images = load_folder(shared / "data" / "BSD68", 1).values()
    assert len(images) == 68
    with Denoiser(path) as published:
        results = evaluate(published, (from_levels(image) for image in images), sigma)
    assert mean_psnr(results) == pytest.approx(expected, abs=0.002)
