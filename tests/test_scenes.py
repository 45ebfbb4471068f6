import numpy as np
import pytest

from adnet.scenes import SCENES


@pytest.mark.parametrize("title", SCENES)
@pytest.mark.parametrize("size", [(118, 200), (61, 83)])
def test_scenes_are_images_and_always_the_same(title, size):
    image = SCENES[title](*size)
    assert image.shape[:2] == size
    assert image.shape[2:] in ((), (3,))
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.std() > 0.03  # there is something to see
    assert np.array_equal(image, SCENES[title](*size))


def test_the_lamps_of_the_night_blow_out():
    image = SCENES["night"](118, 200)
    assert (image == 1).mean() > 0.005
    assert (image < 0.1).mean() > 0.3
