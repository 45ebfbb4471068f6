"""A run directory inside the folder that it learns from, in every arrangement."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from adnet.data.folders import find_data
from adnet.data.patch_store import StoreOptions, prepare_stores
from adnet.errors import UsageError
from adnet.training import train as loop
from adnet.training.config import TrainConfig
from adnet.training.data import load_training_data
from adnet.training.samples import Samples
from adnet.training.world import World

CPU = torch.device("cpu")


def train(config, run, **options):
    return loop.train(config, run, World(CPU), **options)


@pytest.fixture
def photos(tmp_path, make_image):
    for index in range(4):
        make_image(tmp_path / "photos" / f"{index}.png", size=(40, 36), seed=index)
    return tmp_path / "photos"


def settings(data, **changes):
    return TrainConfig(
        data=(str(data),), **{"val_images": 1, "patch": 16, "batch": 2, "steps": 2, "val_every": 1,
                              "scales": (1.0,)} | changes
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "itself", "below", "link", "parent", "val", "killed"])
def test_pictures_of_runs_are_no_data(photos, tmp_path, make_image, kind):
    """Whatever leads from the data to the run, it is resumed, and a second run sees the same."""
    run, config = photos / "run", settings(photos)
    if kind == "itself":
        run = photos
    elif kind == "below":
        (photos / "a").mkdir()
        run = photos / "a" / "b" / "run"
    elif kind == "link":
        run = tmp_path / "elsewhere"
    elif kind == "parent":
        (tmp_path / "runs").mkdir()
        run, config = tmp_path / "runs" / "run", settings(tmp_path)
    elif kind == "val":
        make_image(tmp_path / "val" / "v.png", size=(40, 36), seed=9)
        run, config = tmp_path / "val" / "run", settings(photos, val=(str(tmp_path / "val"),))
    train(config, run)
    if kind == "link":
        os.symlink(run, photos / "run")
        os.symlink(run / "samples", photos / "pictures")
    if kind == "killed":  # between the first pictures and their list
        (run / "samples" / "samples.json").unlink()
    before = load_training_data(config, CPU).fingerprint
    train(dataclasses.replace(config, val_every=2), run, resume=True)
    train(config, run.with_name("run-2"))
    assert load_training_data(config, CPU).fingerprint == before


def test_a_store_with_a_run_beside_it_is_a_store(photos, tmp_path):
    prepare_stores(photos, tmp_path / "h5", StoreOptions(patch=16, val_images=1))
    config = settings(tmp_path / "h5")
    train(config, tmp_path / "h5" / "run")
    train(config, tmp_path / "h5" / "run", resume=True)
    train(config, tmp_path / "h5" / "run-2")


def test_pairs_with_a_run_among_them(photos, tmp_path):
    for index, path in enumerate(sorted(photos.iterdir())):
        for kind in ("noisy", "clean"):
            (tmp_path / "pairs" / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "pairs" / kind / f"{'abcd'[index]}.png")
    config = settings(tmp_path / "pairs", noise="pairs")
    for run in (tmp_path / "pairs" / "run", tmp_path / "pairs" / "noisy" / "run"):
        train(config, run)
        train(config, run, resume=True)


def test_every_picture_of_a_run_and_nothing_else_is_left_out(photos, tmp_path):
    data = load_training_data(settings(photos), CPU)
    network = torch.nn.Identity()
    run = photos / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    samples = Samples(run, data.val_images, 25.0, 0)
    for step in (0, 7, 123_456_789):
        samples.draw(network, CPU, step)
    assert len(list((run / "samples").glob("*.png"))) == 5
    assert {path.parent for path in find_data(photos)} == {photos}
    # A user's own folder of that name, beside a run or not, and a user's own images in it.
    (photos / "samples").mkdir()
    for path in (photos / "samples" / "noisy-0.png", run / "samples" / "mine.png"):
        Image.fromarray(np.zeros((20, 20), np.uint8)).save(path)
        assert path in find_data(photos)
    (run / "samples" / "mine.png").unlink()
    with pytest.raises(UsageError, match="no image in this folder but sample pictures"):
        find_data(run)
