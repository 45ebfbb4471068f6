"""A Denoiser that is told the noise level, or to estimate it, chooses among the shipped models."""

import numpy as np
import pytest

from adnet.errors import UsageError
from adnet.images.noise import add_published_noise
from adnet.images.noise_level import estimate_sigma
from adnet.images.synthetic import render
from adnet.runtime.denoiser import Denoiser


def noisy_image(sigma, channels=1, size=(72, 80)):
    return add_published_noise(render(*size, channels, 0), sigma)


@pytest.mark.parametrize(
    ("sigma", "channels", "name"),
    [(25, 1, "gray-25"), (20, 1, "gray-blind"), (30, 3, "color-blind"), (80, 1, "gray-blind")],
)
def test_a_level_that_is_told(sigma, channels, name):
    noisy = noisy_image(25, channels)
    with Denoiser(sigma=sigma) as chosen, Denoiser(name) as named:
        assert np.array_equal(chosen(noisy), named(noisy))
        assert chosen.choice(channels).model.name == name


def test_auto_is_the_estimate_of_each_image():
    with Denoiser(sigma="auto") as auto:
        for sigma, name in ((25, "gray-25"), (37, "gray-blind"), (25, "gray-25")):
            noisy = noisy_image(sigma, size=(128, 128))
            found = estimate_sigma(noisy)
            assert auto.choice(1, found).model.name == name
            with Denoiser(name) as named:
                assert np.array_equal(auto(noisy), named(noisy))
                assert np.array_equal(auto(noisy, sigma=25.0), auto(noisy, sigma=25))
        small = noisy_image(25, size=(20, 20))
        with Denoiser("gray-blind") as blind:
            assert np.array_equal(auto(small), blind(small))
        assert len(auto.describe()) == 2


def test_the_sigma_of_one_image_without_auto_is_refused():
    for denoiser in (Denoiser(), Denoiser("gray-25"), Denoiser(sigma=25)):
        with denoiser, pytest.raises(UsageError, match="sigma of one image is for"):
            denoiser(noisy_image(25), sigma=25)


def test_luma_has_less_noise_than_the_planes():
    with Denoiser(sigma=37.4, color_mode="luma") as denoise:  # the luma's noise is 25
        assert denoise.choice(3).model.name == "gray-25"
        assert denoise.choice(1).model.name == "gray-blind"
    with Denoiser(sigma=25, color_mode="planes") as denoise:
        assert denoise.choice(3).model.name == "gray-25"


def test_a_model_and_a_level_must_agree():
    with Denoiser("gray-25", sigma=25) as denoise:
        assert denoise.choice(1) is None
    with Denoiser("gray-blind", sigma="auto") as denoise:
        assert denoise.choice(1, 60.0) is None
        assert denoise.model_for(1, 25.0).card.name == "gray-blind"
    with pytest.raises(UsageError, match="sigma 40 does not suit the model gray-25, which was tra"):
        Denoiser("gray-25", sigma=40)
    for kind in (int, float, np.int64, np.float32):
        with pytest.raises(UsageError, match="sigma 50 does not suit the model gray-25"):
            Denoiser("gray-25", sigma=kind(50))
    for sigma in (-1, 300):
        with pytest.raises(UsageError, match="sigma must be from 0 to 255"):
            Denoiser(sigma=sigma)
