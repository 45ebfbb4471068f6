import numpy as np
import pytest
import torch

from adnet.images.levels import WHITE
from adnet.images.noise import add_published_noise, published_noise


@pytest.mark.parametrize(
    "shape", [(321, 481), (4, 4), (3, 5), (17,), (7,), (1, 1), (2, 9), (5, 7, 3)]
)
def test_equals_torch_generator(shape):
    torch.manual_seed(0)
    expected = torch.empty(shape).normal_(mean=0, std=25 / WHITE).numpy()
    assert np.abs(published_noise(shape, 25) - expected).max() < 3e-7


def test_seed_changes_the_noise_and_sigma_scales_it():
    first, second = published_noise((64, 64), 25), published_noise((64, 64), 25, seed=1)
    assert not np.allclose(first, second)
    assert np.allclose(published_noise((64, 64), 50), 2 * first, atol=1e-7)
    assert first.std() == pytest.approx(25 / WHITE, rel=0.05)


def test_noise_is_added_and_not_clipped():
    clean = np.ones((32, 32), np.float32)
    noisy = add_published_noise(clean, 50)
    assert noisy.dtype == np.float32
    assert noisy.max() > 1
