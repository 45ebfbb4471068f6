"""Strength, ensemble and colour mode against their definitions, on arrays of every kind."""

import numpy as np
import pytest

from adnet.errors import ImageError, UsageError
from adnet.images.levels import WHITE
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.runtime.backend import InputSpec
from adnet.runtime.bands import windows
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.planning import require_turnable
from adnet.runtime.treatment import Treatment

DTYPES = ["u1", "<u2", ">u2", "<f2", "<f4", ">f4", "<f8", ">f8"]
SHAPES = [(20, 27), (20, 27, 1), (20, 27, 2), (20, 27, 3), (20, 27, 4)]


@pytest.fixture(scope="module")
def plain():
    with Denoiser("gray-blind", tile=4096) as denoiser:
        yield denoiser


def noisy_image(shape, dtype, seed=0):
    planes = shape[2] if len(shape) == 3 else 1
    colours = 3 if planes >= 3 else 1
    image = add_published_noise(render(*shape[:2], colours, seed), 25, seed).reshape(
        *shape[:2], colours
    )
    if planes > colours:
        alpha = np.linspace(0, 1, shape[0] * shape[1]).reshape(*shape[:2], 1)
        image = np.concatenate([image, alpha], axis=2)
    image = image.reshape(shape)
    kind = np.dtype(dtype)
    if kind.kind == "u":
        white = np.iinfo(kind).max
        image = np.clip(np.rint(image * white), 0, white)
    return image.astype(kind)


def as_floats(image):
    white = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    return np.asarray(image, np.float64) / white


def stored(values, dtype):
    """Round and clip as a file of this kind holds it."""
    kind = np.dtype(dtype)
    if kind.kind != "u":
        return values.astype(kind)
    white = np.iinfo(kind).max
    return np.clip(np.rint(values * white), 0, white).astype(kind)


def close(one, other):
    """Equal up to one rounding: floats by 1e-5, or a half-precision step; integers by a level."""
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    exact = as_floats(one) - as_floats(other)
    step = {"u1": 1 / WHITE, "u2": 2 / 65535, "f2": 2**-9}.get(one.dtype.str[1:], 1e-5)
    assert np.abs(exact).max() <= step * 1.01
    assert np.abs(exact).mean() < step / 10


def alpha_is_untouched(image, result):
    if image.ndim == 3 and image.shape[2] in (2, 4):
        assert np.array_equal(image[..., -1], result[..., -1])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_strength_is_the_linear_blend_before_rounding(plain, shape, dtype):
    image = noisy_image(shape, dtype)
    floats = as_floats(image)
    denoised = plain(floats)
    with Denoiser("gray-blind", strength=0.3, tile=64) as third:
        result = third(image)
    close(result, stored(0.7 * floats + 0.3 * denoised, dtype))
    alpha_is_untouched(image, result)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_strength(plain, dtype):
    image = noisy_image((50, 60, 4), dtype)
    with Denoiser("gray-blind", strength=0) as none, Denoiser("gray-blind", strength=1) as whole:
        assert np.array_equal(none(image), image)
        assert np.array_equal(whole(image), plain(image))


@pytest.mark.parametrize("values", [(0, 255), (-5.0, 3.0)])
def test_strength_in_another_range(plain, values):
    black, white = values
    floats = noisy_image((50, 60), "f8")
    image = floats * (white - black) + black
    with Denoiser("gray-blind", strength=0.25, value_range=values) as quarter:
        result = quarter(image)
    wanted = (0.75 * floats + 0.25 * plain(floats)) * (white - black) + black
    assert np.abs(result - wanted).max() < 1e-5 * (white - black)


def turns(image):
    for mirrored in (False, True):
        for quarter in range(4):
            turned = np.rot90(image, quarter)
            yield (turned[:, ::-1] if mirrored else turned), mirrored, quarter


def mean_of_whole(denoise, image):
    """The definition, on the whole image: KAIR's x8, geometric self-ensemble."""
    results = []
    for turned, mirrored, quarter in turns(image):
        result = denoise(np.ascontiguousarray(turned))
        results.append(np.rot90(result[:, ::-1] if mirrored else result, -quarter))
    return np.mean(results, axis=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["u1", ">u2", "<f4"])
def test_ensemble_is_the_mean_over_eight_orientations(plain, shape, dtype):
    image = noisy_image(shape, dtype)
    floats = as_floats(image)
    with Denoiser("gray-blind", ensemble=True) as ensemble:
        result = ensemble(image)
    close(result, stored(mean_of_whole(plain, floats), dtype))
    alpha_is_untouched(image, result)


@pytest.mark.parametrize("size", [(44, 81), (1, 90), (97, 2)])
def test_ensemble_tile_by_tile_is_that_of_the_whole(plain, size):
    image = noisy_image(size, "f4")
    with Denoiser("gray-blind", ensemble=True, tile=64, batch=3) as ensemble:
        assert np.abs(ensemble(image) - mean_of_whole(plain, image)).max() < 1e-6


def test_ensemble_in_bands_is_that_of_the_whole(plain):
    image = noisy_image((150, 30), "f4")
    with Denoiser("gray-blind", ensemble=True, tile=80) as ensemble:
        whole = ensemble(image)
        plan = ensemble.plan_bands(image.shape, 1)
        assert len(plan) > 1
        parts = [
            ensemble(window[..., 0])[core.start - place.start : core.stop - place.start]
            for window, (place, core) in zip(windows(iter([image[..., None]]), plan), plan,
                                             strict=True)
        ]  # fmt: skip
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<f4", "<f8"])
@pytest.mark.parametrize("planes", [3, 4])
def test_luma_keeps_the_chroma(plain, dtype, planes):
    image = noisy_image((24, 28, planes), dtype)
    floats = as_floats(image)[..., :3]
    luma = floats @ [0.299, 0.587, 0.114]
    chroma = [(floats[..., 2] - luma) / 1.772, (floats[..., 0] - luma) / 1.402]
    y = plain(luma)
    red, blue = y + 1.402 * chroma[1], y + 1.772 * chroma[0]
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    with Denoiser("gray-blind", color_mode="luma", tile=64) as denoise:
        result = denoise(image)
    close(result[..., :3], stored(np.dstack([red, green, blue]), dtype))
    alpha_is_untouched(image, result)


def test_planes_go_through_the_gray_model_one_by_one(plain):
    image = noisy_image((24, 28, 3), "f4")
    with Denoiser(color_mode="planes") as denoise:  # no model named: the gray one is taken
        result = denoise(image)
        assert denoise.model_for(3).card.channels == 1
    wanted = np.dstack([plain(np.ascontiguousarray(image[..., plane])) for plane in range(3)])
    assert np.abs(result - wanted).max() < 1e-6


def test_a_gray_image_has_no_colour_mode(plain):
    image = noisy_image((24, 28), "f4")
    with Denoiser(color_mode="luma") as denoise:
        assert np.array_equal(denoise(image), plain(image))


def test_all_at_once(plain):
    image = noisy_image((66, 44, 3), "f4")
    luma = image @ np.array([0.299, 0.587, 0.114], np.float32)
    wanted = image + 0.4 * (mean_of_whole(plain, luma) - luma)[..., None]
    with Denoiser(color_mode="luma", ensemble=True, strength=0.4, tile=64, streams=2) as denoise:
        assert np.abs(denoise(image) - wanted).max() < 2e-6


def test_impossible_wishes():
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="strength must be from 0 to 1"):
            Treatment(strength=strength)
    with pytest.raises(UsageError, match="color_mode must be planes or luma"):
        Denoiser(color_mode="lab")
    with pytest.raises(UsageError, match="is for gray models"):
        Denoiser("color-blind", color_mode="luma")
    oblong = InputSpec(1, ((1, 321, 481),))
    with pytest.raises(UsageError, match="takes only 321x481"):
        require_turnable(oblong, "om")
    both = InputSpec(1, ((1, 321, 481), (2, 481, 321), (1, 481, 321), (4, 64, 64)))
    assert require_turnable(both, "om").shapes == ((1, 321, 481), (1, 481, 321), (4, 64, 64))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("shape", [(50, 60), (50, 60, 2), (50, 60, 3)], ids=str)
def test_floats_that_cannot_be_meant_are_refused(plain, shape, dtype):
    image = noisy_image(shape, dtype)
    for spoilt in (np.nan, np.inf, -np.inf):
        wrong = image.copy()
        wrong[7, 9] = spoilt
        with pytest.raises(ImageError, match=r"not numbers|infinite"):
            plain(wrong)
    if dtype != "<f2":
        with pytest.raises(ImageError, match=r"value_range=\(0,255\)"):
            plain(np.clip(image, 0, 1) * WHITE)
    with Denoiser("gray-blind", value_range=(0, 1)) as told:
        assert np.isfinite(told(image * 3)).all()
        with pytest.raises(ImageError, match="not numbers"):
            told(image * np.nan)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<u2", ">f4", "<f4", ">f8", "<f8", "<f2"])
def test_any_byte_order_and_strides(plain, dtype):
    image = noisy_image((60, 80, 3), dtype)
    native = image.astype(image.dtype.newbyteorder("="))
    result = plain(image)
    assert result.dtype == image.dtype
    assert np.array_equal(result, plain(native))
    view = image.swapaxes(0, 1)[::-1, ::2]
    assert np.array_equal(plain(view), plain(np.ascontiguousarray(view)))
    fortran = np.asfortranarray(image)
    assert np.array_equal(plain(fortran), result)
