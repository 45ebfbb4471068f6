"""The noise of an image estimated: on arrays whose noise is known."""

import numpy as np
import pytest

from adnet.images.levels import WHITE, to_levels
from adnet.images.noise import add_published_noise
from adnet.images.noise_level import HARDLY_ANY, NoiseMeter, estimate_sigma
from adnet.images.synthetic import render

SIGMAS = [5, 15, 25, 50]


def noisy_image(size, channels, sigma, seed=0):
    return add_published_noise(render(*size, channels, seed), sigma, seed) if sigma else (
        render(*size, channels, seed)
    )  # fmt: skip


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("channels", [1, 3])
def test_it_finds_what_was_added(sigma, channels):
    noisy = noisy_image((240, 320), channels, sigma)
    assert estimate_sigma(noisy) == pytest.approx(sigma, rel=0.06)
    assert estimate_sigma(to_levels(noisy)) == pytest.approx(sigma, rel=0.06)


@pytest.mark.parametrize("channels", [1, 3])
def test_clean_images_have_hardly_any(channels):
    assert estimate_sigma(render(240, 320, channels, 1)) < HARDLY_ANY
    assert estimate_sigma(np.zeros((64, 64), np.uint8)) == 0


@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", "<f2", ">f4", "<f8"])
@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_every_dtype_and_number_of_planes(kind, planes):
    colours = 3 if planes > 2 else 1
    noisy = noisy_image((96, 128), colours, 20).reshape(96, 128, colours)
    wanted = estimate_sigma(noisy)
    if planes > colours:  # alpha has no say
        noisy = np.concatenate([noisy, np.random.default_rng(0).random((96, 128, 1))], axis=2)
    dtype = np.dtype(kind)
    if dtype.kind == "u":
        white = np.iinfo(dtype).max
        noisy = np.clip(np.rint(noisy * white), 0, white)
    assert estimate_sigma(noisy.astype(dtype)) == pytest.approx(wanted, abs=0.7)


def test_another_range():
    noisy = noisy_image((96, 128), 1, 20)
    assert estimate_sigma(noisy * WHITE, (0, WHITE)) == pytest.approx(
        estimate_sigma(noisy), rel=1e-4
    )


@pytest.mark.parametrize("size", [(1, 1), (8, 500), (31, 31)])
def test_small_images_have_no_estimate(size):
    assert estimate_sigma(noisy_image(size, 1, 25)) is None


@pytest.mark.parametrize("size", [(32, 32), (63, 40), (65, 64), (131, 33)])
def test_odd_sizes_have_one(size):
    assert 8 < estimate_sigma(noisy_image(size, 1, 25)) < 50


def test_stripes_are_the_whole():
    noisy = noisy_image((200, 150), 3, 25)
    meter = NoiseMeter((200, 150))
    for top in range(0, 200, meter.block):
        meter.add(noisy[top : top + meter.block])
    assert meter.sigma() == estimate_sigma(noisy)


def test_of_a_large_image_a_part_is_enough():
    noise = np.random.default_rng(0).normal(0.5, 25 / WHITE, (2500, 3000)).astype(np.float32)
    meter = NoiseMeter(noise.shape)
    assert meter._step == 2
    assert estimate_sigma(noise) == pytest.approx(25, rel=0.02)
