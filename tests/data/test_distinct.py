"""The same pixels are never trained on and validated with, however they come twice."""

import dataclasses
import hashlib
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from adnet.data.cli import main as data_main
from adnet.data.pairs import load_pairs
from adnet.data.patch_store import StoreOptions, prepare_stores, read_images, read_patches
from adnet.errors import UsageError
from adnet.images.image import load_folder
from adnet.training.config import TrainConfig
from adnet.training.data import fingerprint, load_training_data
from adnet.training.judge import validation_set

CPU = torch.device("cpu")


@pytest.fixture
def photos(tmp_path, make_image):
    for index in range(6):
        make_image(tmp_path / "photos" / f"{index}.png", size=(40, 36), seed=index)
    return tmp_path / "photos"


@pytest.fixture
def pairs(tmp_path, make_image):
    for index, name in enumerate("abcdef"):
        for shift, kind in enumerate(("noisy", "clean")):
            make_image(
                tmp_path / "pairs" / kind / f"{name}.png", size=(40, 36), seed=index + 50 * shift
            )
    return tmp_path / "pairs"


def settings(*data, **changes):
    return TrainConfig(
        data=tuple(map(str, data)),
        **{"val_images": 2, "patch": 16, "batch": 2, "steps": 2, "scales": (1.0,)} | changes,
    )


def twice(photos, tmp_path, how):
    """Bring the images of a folder in twice; return the folders to train on."""
    other = tmp_path / "other"
    if how == "same folder":
        return [photos, photos]
    if how == "link":
        other.symlink_to(photos)
        return [photos, other]
    if how == "copy":
        shutil.copytree(photos, other)
        return [photos, other]
    if how == "sub-folder":  # read with its parent, and once more by itself
        (photos / "sub").mkdir()
        for path in sorted(photos.glob("*.png"))[:3]:
            path.rename(photos / "sub" / path.name)
        return [photos, photos / "sub"]
    for path in sorted(photos.glob("*.png")):  # "within": other names, another format
        with Image.open(path) as image:
            image.save(path.with_suffix(".bmp"))
    return [photos]


@pytest.mark.parametrize("how", ["same folder", "link", "copy", "sub-folder", "within"])
def test_an_image_that_comes_twice_is_used_once(photos, tmp_path, caplog, how):
    folders = twice(photos, tmp_path, how)
    data = load_training_data(settings(*folders), CPU)
    assert data.description == "4 images"
    assert len(data.val_images) == 2
    (line,) = [one.getMessage() for one in caplog.records if "pixel for pixel" in one.getMessage()]
    count = 3 if how == "sub-folder" else 6
    assert line == f"{count} of {6 + count} images equal others pixel for pixel: each is used once"
    held = {one.clean.tobytes() for one in data.val_images}
    assert len(held) == 2
    pixels = data.sampler._pixels.numpy().tobytes()
    assert all(one not in pixels for one in held)
    roots = {one.parent for one in folders}
    if len({one.name for one in folders}) == len(folders) and len(roots) == 1:
        judged = validation_set(settings(*folders).to_dict(), list(roots))
        assert [one.clean.tobytes() for one in judged.images] == [
            one.clean.tobytes() for one in data.val_images
        ]


def test_pairs_that_come_twice_are_used_once(pairs, tmp_path, caplog):
    shutil.copytree(pairs, tmp_path / "other")
    config = settings(pairs, tmp_path / "other", noise="pairs")
    data = load_training_data(config, CPU)
    assert (data.description, len(data.val_images)) == ("4 pairs", 2)
    assert "6 of 12 pairs equal others" in caplog.text
    assert validation_set(config.to_dict(), [tmp_path]).sha256 == fingerprint(
        part for one in data.val_images for part in (one.clean, one.noisy)
    )
    # The same noisy image of another clean one, and the reverse, is another pair.
    for kind in ("noisy", "clean"):
        shutil.rmtree(tmp_path / "other" / kind)
        shutil.copytree(pairs / kind, tmp_path / "other" / kind)
        for path in (tmp_path / "other" / kind).iterdir():
            Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        assert load_training_data(config, CPU).description == "10 pairs"
        shutil.rmtree(tmp_path / "other" / kind)
        shutil.copytree(pairs / kind, tmp_path / "other" / kind)


@pytest.mark.parametrize("noise", ["awgn", "pairs"])
@pytest.mark.parametrize("how", ["same", "link", "copy", "part", "store"])
def test_validation_images_that_are_trained_on_are_refused(
    photos, pairs, tmp_path, make_image, noise, how
):
    data = val = photos if noise == "awgn" else pairs
    if how == "link":
        (val := tmp_path / "val").symlink_to(data)
    elif how == "copy":
        shutil.copytree(data, val := tmp_path / "val")
    elif how == "part":  # one clean image among others, and other noise of it
        val = tmp_path / "val"
        kinds = [""] if noise == "awgn" else ["noisy", "clean"]
        for seed, kind in enumerate(kinds, 70):
            make_image(val / kind / "x.png", size=(40, 36), seed=seed)
            make_image(val / kind / "y.png", size=(40, 36), seed=seed + 5)
        shutil.copy(*((photos / "0.png", val / "x.png") if noise == "awgn"
                      else (pairs / "clean" / "a.png", val / "clean" / "x.png")))  # fmt: skip
    elif how == "store":
        if noise == "pairs":
            pytest.skip("a store holds no pairs")
        prepare_stores(photos, tmp_path / "h5", StoreOptions(patch=16, val_images=1))
        val = tmp_path / "h5" / "val.h5"
    config = settings(data, noise=noise, val=(str(val),))
    counts = {"part": "1 of 2", "store": "1 of 1"}
    with pytest.raises(UsageError, match=f"--val: {counts.get(how, '6 of 6')} validation images"):
        load_training_data(config, CPU)
    for index, kind in enumerate(("noisy", "clean")):
        make_image(tmp_path / "fresh" / kind / "a.png", size=(40, 36), seed=90 + index)
    fresh = tmp_path / "fresh" / ("clean" if noise == "awgn" else "")
    fresh = dataclasses.replace(config, val=(str(fresh),))
    assert load_training_data(fresh, CPU).description.startswith("6 ")


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_the_fingerprint_of_data_without_repetition_is_as_ever(
    photos, pairs, tmp_path, make_image, pair, given
):
    """Checkpoints name it, and a resumed run compares it."""
    for index, kind in enumerate(("noisy", "clean")):
        make_image(tmp_path / "val" / kind / "v.png", size=(40, 36), seed=90 + index)
    data = pairs if pair else photos
    val = tmp_path / "val" / ("" if pair else "clean")
    config = settings(data, noise="pairs" if pair else "awgn", val=(str(val),) if given else ())
    if pair:
        found = [np.dstack([one.noisy, one.clean]) for one in load_pairs(data, 1)]
        other = [[one.clean, one.noisy] for one in load_pairs(val, 1)]
        aside = [[one.clean, one.noisy] for one in load_pairs(data, 1)]
    else:
        found = list(load_folder(data, 1).values())
        other = [[one] for one in load_folder(val, 1).values()]
        aside = [[one] for one in found]
    held = [] if given else [0, 3]
    arrays = [one for index, one in enumerate(found) if index not in held]
    for parts in other if given else [aside[index] for index in held]:
        arrays += parts
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(array.tobytes())
    assert load_training_data(config, CPU).fingerprint == digest.hexdigest()


@pytest.mark.parametrize("how", ["sub-folder", "within"])
def test_a_store_holds_an_image_once(photos, tmp_path, how):
    options = StoreOptions(patch=16, val_images=2, scales=(1.0,))
    before = prepare_stores(photos, tmp_path / "a", options)
    twice(photos, tmp_path, how)
    if how == "sub-folder":
        shutil.copytree(photos / "sub", photos / "again")
    after = prepare_stores(photos, tmp_path / "b", options)
    assert (after.patches, after.val_images) == (before.patches, before.val_images)
    held = {one[:16, :16].tobytes() for one in read_images(after.val)}
    assert not held & {one[0].tobytes() for one in read_patches(after.train)}


def test_the_program_refuses_a_store_that_validates_what_it_trains(cli_here, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "copy")
    for val in (photos, tmp_path / "copy"):
        result = cli_here(
            data_main, "adnet-data", "prepare", photos, "-o", tmp_path / "h5", "--patch", 16,
            "--val", val,
        )  # fmt: skip
        assert result.returncode == 2
        assert "--val: 6 of 6 validation images are trained on, too" in result.stderr
    assert not (tmp_path / "h5").exists()
