"""Images in work are limited by their bytes, tiles by what is left."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from image_files import pixels_of

from adnet.benchmarks.studies.memory import save_identity
from adnet.errors import ShapeError, UsageError
from adnet.images.formats.codec import encode_image
from adnet.images.formats.image_file import ImageFile
from adnet.images.formats.need import whole_bytes
from adnet.images.image import read_image
from adnet.runtime import budget, loading
from adnet.runtime import folder as folder_module
from adnet.runtime.budget import (
    ByteBudget,
    free_memory,
    split_memory,
    told_pixels,
    usual_pixels,
)
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import plan_jobs
from adnet.runtime.loading import Limits

MIB = 1 << 20


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


def test_tiles_become_smaller_with_the_memory():
    assert split_memory(4 << 30, 100 * MIB, None, 1)[1] == 1024**2
    assert split_memory(4 << 30, 100 * MIB, None, 8)[1] == 512**2
    pixels = [split_memory(limit * MIB, 100 * MIB, None, 2)[1] for limit in (900, 500, 350, 260)]
    assert pixels == sorted(pixels, reverse=True)
    assert split_memory(158 * MIB, 100 * MIB, None, 2)[1] == 128**2
    for limit in range(158, 4000, 13):
        left, most = split_memory(limit * MIB, 100 * MIB, None, 2)
        assert left >= 32 * MIB
        assert left + 100 * MIB + 2 * most * 600 == limit * MIB
    with pytest.raises(UsageError, match="100M is too little.*151M are needed"):
        split_memory(100 * MIB, 100 * MIB, None, 2)
    with pytest.raises(UsageError, match="too little"):
        split_memory(300 * MIB, 100 * MIB, 512, 2)
    assert split_memory(4 << 30, 0, 512, 1) == ((4 << 30) - 512**2 * 600, 512**2)
    assert split_memory(1 << 30, 0, None, 1, fixed=321 * 481)[0] == (1 << 30) - 321 * 481 * 600


@pytest.mark.parametrize(
    ("device", "at_once", "free", "side"),
    [
        ("cpu", 1, 16 << 30, 1024), ("cpu", 2, 16 << 30, 724), ("cpu", 8, 16 << 30, 512),
        ("cpu", 1, 600 * MIB, 512), ("cpu", 1, 300 * MIB, 362), ("cpu", 1, 0, 128),
        ("cpu", 8, 1 << 30, 236), ("cuda:0", 1, 16 << 30, 512), ("npu:0", 4, 0, 512),
    ],
)  # fmt: skip
def test_default_tiles_follow_the_free_memory(device, at_once, free, side):
    pixels = usual_pixels(device, at_once, free)
    assert abs(pixels**0.5 - side) < 1 or (free == 600 * MIB and 500 < pixels**0.5 < 513)
    assert pixels * at_once * 600 <= max(free / 4, 128**2 * 600 * at_once) or device != "cpu"
    told = told_pixels(pixels, at_once)
    assert bool(told) == (pixels < 512**2)
    assert (f"for {at_once} tiles at once" in told, "--batch" in told) == (
        bool(told and at_once > 1),
    ) * 2


@pytest.mark.parametrize(("free", "told"), [(400 * MIB, True), (1 << 40, False)])
def test_small_default_tiles_are_told(tmp_path, monkeypatch, make_image, free, told):
    monkeypatch.setattr(budget, "free_memory", lambda: free)
    pixels = pixels_of((700, 700), "u1")
    with Denoiser(save_identity(tmp_path / "i.onnx", 1)) as denoiser:
        rows = max(rows.stop - rows.start for rows, _ in denoiser.plan_bands((700, 700), 1))
        assert (rows < 512) == told
        assert bool(denoiser.tiles_note) == told
        assert np.array_equal(denoiser(pixels), pixels)
    with Denoiser(save_identity(tmp_path / "i.onnx", 1), tile=128) as denoiser:
        assert denoiser.tiles_note == ""


def test_the_program_tells_of_small_default_tiles(tmp_path, monkeypatch, make_image):
    from typer.testing import CliRunner

    from adnet.runtime.cli import app

    make_image(tmp_path / "a.png")
    for free, told in ((400 * MIB, True), (1 << 40, False)):
        monkeypatch.setattr(budget, "free_memory", lambda free=free: free)
        monkeypatch.setattr(loading, "free_memory", lambda free=free: free)
        result = CliRunner().invoke(
            app, [str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--overwrite"]
        )
        assert result.exit_code == 0, result.output
        assert ("tiles of about 418x418" in result.output) == told
