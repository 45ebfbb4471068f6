"""Images in work are limited by their bytes."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from image_files import pixels_of

from adnet.errors import ShapeError
from adnet.images.formats.codec import encode_image
from adnet.images.formats.image_file import ImageFile
from adnet.images.formats.need import whole_bytes
from adnet.images.image import read_image
from adnet.runtime import folder as folder_module
from adnet.runtime.budget import ByteBudget, free_memory
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import plan_jobs
from adnet.runtime.loading import Limits


class Identity:
    card = SimpleNamespace(channels=1, name="identity")
    spec = SimpleNamespace(dtype="float32")
    sigma = color_mode = None

    def __init__(self, lanes=1, fails=()):
        self.lanes, self.fails, self.seen = lanes, fails, 0
        self.lock = threading.Lock()

    def __call__(self, image, on_pixels, *, sigma=None):
        with self.lock:
            self.seen += 1
            number = self.seen
        time.sleep(0.01)
        if number in self.fails:
            raise ShapeError("as asked")
        return image

    def model_for(self, channels, sigma=None):
        return self

    def choice(self, channels, sigma=None):
        return None

    def plan_bands(self, size, channels, most=None, sigma=None):
        return [(slice(0, size[0]), slice(0, size[0]))]


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(9):
        pixels = pixels_of((40, 50), "u1", number)
        (tmp_path / "in" / f"{number}.png").write_bytes(
            encode_image(pixels, ImageFile(pixels, "PNG"))
        )
    (tmp_path / "in" / "4.png").write_bytes(b"no image")
    return plan_jobs([tmp_path / "in"], tmp_path / "out")


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize(("images", "most"), [(0, 1), (1, 1), (2, 2), (100, 6)])
def test_images_in_work_are_bounded(pictures, monkeypatch, images, most, lanes):
    file = read_image(pictures[0].source)
    one = whole_bytes(file, "PNG", pictures[0].source.stat().st_size)
    budgets = []

    def make(limit):
        budgets.append(ByteBudget(limit))
        return budgets[0]

    monkeypatch.setattr(folder_module, "ByteBudget", make)
    room = int((images + 0.5) * one) if images else 1
    summary = run_jobs(
        pictures, Identity(lanes, fails=(2,)), limits=Limits(memory=room, most=2**40)
    )
    assert (len(summary.written), len(summary.failed)) == (7, 2)
    assert 0.99 * one <= budgets[0].most
    assert budgets[0].most <= 1.01 * one * (most + 2 * (lanes - 1) if images == 100 else most)


def test_an_interrupted_run_ends_though_the_reader_waits(pictures):
    class Interrupted(Identity):
        def model_for(self, channels, sigma=None):
            raise KeyboardInterrupt

    done = threading.Event()

    def run():
        with pytest.raises(KeyboardInterrupt):
            run_jobs(pictures, Interrupted(), limits=Limits(memory=1, most=2**40))
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(20)


def test_default_is_a_share_of_what_is_free():
    assert 0 < ByteBudget().limit <= free_memory()
    assert np.iinfo(np.int64).max > free_memory() > 1_000_000
