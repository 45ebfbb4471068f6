import math

import numpy as np
import pytest

from adnet.images.metrics import psnr, ssim
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render


def test_psnr_of_a_known_error():
    clean = np.zeros((10, 20), np.float32)
    assert psnr(clean, clean + 0.1) == pytest.approx(20.0)
    assert psnr(clean, clean) == math.inf


def test_psnr_refuses_different_shapes():
    with pytest.raises(ValueError, match="one shape"):
        psnr(np.zeros((2, 3)), np.zeros((3, 2)))


def test_ssim_bounds_and_order():
    clean = render(80, 90)
    assert ssim(clean, clean) == pytest.approx(1.0)
    light, heavy = (ssim(clean, add_published_noise(clean, sigma)) for sigma in (10, 50))
    assert 0 < heavy < light < 1


def test_ssim_of_a_constant_shift_follows_the_formula():
    # No structure: variance and covariance are 0, only the luminance term is left.
    a, b = 0.3, 0.5
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert ssim(np.full((20, 20), a), np.full((20, 20), b)) == pytest.approx(expected)


def test_ssim_needs_a_window():
    with pytest.raises(ValueError, match="11x11"):
        ssim(np.zeros((10, 50)), np.zeros((10, 50)))
