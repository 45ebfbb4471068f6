import dataclasses
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import assert_clean_error
from PIL import Image

from adnet.data.cli import main as data_main
from adnet.data.patch_store import StoreOptions, prepare_stores, read_images, read_patches
from adnet.errors import ImageError, TrainingError, UsageError
from adnet.images.levels import WHITE, from_levels
from adnet.models.checkpoint import load_checkpoint
from adnet.training.cli import main
from adnet.training.command import train_command
from adnet.training.config import TrainConfig, refuse_changes
from adnet.training.data import load_training_data
from adnet.training.recipes import make_config
from adnet.training.start import run_training


@pytest.fixture
def photos(tmp_path, make_image):
    for index in range(4):
        make_image(tmp_path / "photos" / f"{index}.png", size=(130, 91), seed=index)
    return tmp_path / "photos"


def options(**changes):
    return StoreOptions(**{"patch": 50, "scales": (1.0, 0.7), "val_images": 1} | changes)


@pytest.mark.parametrize(("mode", "per_image"), [("S", 3 * 2 + 2 * 1), ("B", 2 * (9 * 5 + 5 * 2))])
@pytest.mark.parametrize("channels", [1, 3])
def test_counts_and_shapes(photos, tmp_path, mode, per_image, channels):
    # 130x91: positions (130 - 50) // 40 + 1 = 3 by 2; at 0.7, 91x64: 2 by 1. Stride 10: 9x5, 5x2.
    report = prepare_stores(photos, tmp_path / "out", options(mode=mode, channels=channels))
    assert (report.patches, report.val_images, report.skipped) == (3 * per_image, 1, 0)
    patches = read_patches(report.train)
    assert patches.shape == (3 * per_image, channels, 50, 50)
    assert patches.dtype == np.uint8
    with h5py.File(report.train) as file:
        assert file["patches"].chunks[1:] == (channels, 50, 50)
        assert json.loads(file.attrs["options"])["mode"] == mode
        assert file.attrs["stride"] == (40 if mode == "S" else 10)
    (held_out,) = read_images(report.val)
    assert held_out.shape == ((91, 130) if channels == 1 else (91, 130, 3))
    assert sorted(os.listdir(tmp_path / "out")) == ["train.h5", "val.h5"]


def test_patches_are_pixels_of_the_images(photos, tmp_path):
    prepare_stores(photos, tmp_path, options(scales=(1.0,)))
    image = np.asarray(Image.open(photos / "1.png").copy())  # 0.png is held out
    patches = read_patches(tmp_path / "train.h5")
    expected = [image[r : r + 50, c : c + 50] for r in (0, 40) for c in (0, 40, 80)]
    assert np.array_equal(patches[:6, 0], expected)
    assert np.array_equal(read_images(tmp_path / "val.h5")[0], Image.open(photos / "0.png").copy())


def test_second_copies_are_turned_patches(photos, tmp_path):
    prepare_stores(photos, tmp_path, options(mode="B", scales=(1.0,)))
    patches = read_patches(tmp_path / "train.h5")[:, 0]
    row = 9  # positions of the first row of the grid, then their copies
    for patch, copy in zip(patches[:row], patches[row : 2 * row], strict=True):
        turns = [np.rot90(one, k) for one in (patch, patch.T) for k in range(4)]
        assert any(np.array_equal(copy, turned) for turned in turns[1:])


def test_same_seed_same_store(photos, tmp_path):
    for name in ("a", "b"):
        prepare_stores(photos, tmp_path / name, options(mode="B"))
    first, second = (read_patches(tmp_path / name / "train.h5") for name in ("a", "b"))
    assert np.array_equal(first, second)


def test_existing_stores_are_kept_and_failures_leave_nothing(photos, tmp_path):
    prepare_stores(photos, tmp_path, options())
    before = (tmp_path / "train.h5").read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        prepare_stores(photos, tmp_path, options())
    (photos / "z.png").write_text("not an image")
    with pytest.raises(ImageError, match="z.png"):
        prepare_stores(photos, tmp_path, options(), overwrite=True)
    assert (tmp_path / "train.h5").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["photos", "train.h5", "val.h5"]
    for name in ("train.h5", "val.h5"):
        (tmp_path / "other" / name / "mine").mkdir(parents=True)
        with pytest.raises(UsageError, match=f"{name}: is a folder"):
            prepare_stores(photos, tmp_path / "other", options(), overwrite=True)
        assert os.listdir(tmp_path / "other") == [name]
        (tmp_path / "other" / name / "mine").rmdir()
        (tmp_path / "other" / name).rmdir()


def test_images_smaller_than_a_patch(photos, tmp_path, make_image):
    make_image(photos / "tiny.png", size=(40, 300))
    assert prepare_stores(photos, tmp_path / "a", options()).skipped == 1
    with pytest.raises(TrainingError, match="99x99"):
        prepare_stores(photos, tmp_path / "b", options(patch=99))
    assert os.listdir(tmp_path / "b") == []


def modelzoo_store(path, shapes, values=None):
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for index, shape in enumerate(shapes):
            pixels = generator.integers(0, 256, shape) / WHITE
            file[str(index)] = np.asarray(pixels if values is None else values, np.float32)
    return path


def test_modelzoo_layout(tmp_path):
    path = modelzoo_store(tmp_path / "train.h5", [(1, 50, 50)] * 12)
    patches = read_patches(path)
    assert patches.shape == (12, 1, 50, 50)
    with h5py.File(path) as file:
        keys = list(file)
        for key, patch in zip(keys, patches, strict=True):
            assert np.allclose(file[key][...], from_levels(patch), atol=1e-7)
    images = read_images(modelzoo_store(tmp_path / "val.h5", [(1, 30, 40), (3, 50, 20)]))
    assert [image.shape for image in images] == [(30, 40), (50, 20, 3)]


@pytest.mark.parametrize(
    ("shapes", "values", "message"),
    [
        ([(1, 50, 50), (1, 40, 50)], None, "different shapes"),
        ([(50, 50)], None, r"expected datasets \(C, H, W\)"),
        ([], None, "empty HDF5 file"),
        ([(1, 2, 2)], [[[0, np.nan], [0, 0]]], "nan or values outside"),
        ([(1, 2, 2)], [[[0, 128], [0, 0]]], "nan or values outside"),
    ],
)
def test_unusable_stores(tmp_path, shapes, values, message):
    with pytest.raises(TrainingError, match=message):
        read_patches(modelzoo_store(tmp_path / "a.h5", shapes, values))


def test_damaged_stores(photos, tmp_path):
    prepare_stores(photos, tmp_path, options())
    whole = (tmp_path / "train.h5").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no store"):
        (tmp_path / "bad.h5").write_bytes(content)
        with pytest.raises(TrainingError, match="not an HDF5 file, or a truncated one"):
            read_patches(tmp_path / "bad.h5")
    with pytest.raises(TrainingError, match="no such HDF5 store"):
        read_patches(tmp_path / "none.h5")
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["patches"] = np.zeros((3, 50, 50), np.float32)
    with pytest.raises(TrainingError, match=r"got float32 \(3, 50, 50\)"):
        read_patches(tmp_path / "odd.h5")


@pytest.mark.slow
@pytest.mark.parametrize("given", ["h5", "h5/train.h5"])
def test_training_from_a_store(photos, tmp_path, monkeypatch, given):
    """The file, or the folder that `adnet-data prepare` made: the same data, val.h5 included."""
    prepare_stores(photos, tmp_path / "h5", options())
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(
        data=(given,), patch=50, batch=2, steps=2, val_every=2, val_images=0, val_sigma=5.0
    )
    data = load_training_data(config, torch.device("cpu"))
    assert len(data.val_images) == len(read_images(tmp_path / "h5" / "val.h5"))
    best = run_training(config, tmp_path / "run")
    assert load_checkpoint(best).card.training["source"] == "24 stored patches"
    assert load_checkpoint(best).card.training["data"] == [Path(given).name]


def test_a_store_beside_images_is_not_guessed(photos, tmp_path, make_image):
    prepare_stores(photos, tmp_path / "h5", options())
    (photos / "train.h5").write_bytes((tmp_path / "h5" / "train.h5").read_bytes())
    for data in ((photos,), (tmp_path / "h5", photos)):
        config = TrainConfig(data=tuple(map(str, data)), steps=2)
        with pytest.raises(UsageError, match=r"train\.h5, and 4 images: which are meant\? Give"):
            load_training_data(config, torch.device("cpu"))
    # Pairs are never in a store.
    for kind in ("noisy", "clean"):
        make_image(photos / kind / "a.png")
        make_image(tmp_path / "val" / kind / "b.png", seed=1)
    pairs = TrainConfig(
        data=(str(photos),), noise="pairs", scales=(1.0,), steps=2, patch=16,
        val=(str(tmp_path / "val"),),
    )  # fmt: skip
    assert load_training_data(pairs, torch.device("cpu")).description == "1 pairs"
    with pytest.raises(UsageError, match="--val-images 0"):
        dataclasses.replace(pairs, val=(), val_images=0)


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["h5/train.h5", "photos"], 2, "trained on alone"),
        (["h5", "photos"], 2, "trained on alone"),
        (["h5", "--pairs"], 2, "trained on alone"),
        (["h5", "--channels", "3"], 1, "the run expects (3, 50, 50)"),
        (["h5/train.h5", "--patch", "40"], 1, "holds patches of shape (1, 50, 50)"),
        (["h5/train.h5", "--channels", "3"], 1, "the run expects (3, 50, 50)"),
        (["lone.h5"], 2, "no val.h5 beside it"),
        (["bad.h5"], 1, "not an HDF5 file"),
    ],
)
def test_training_refuses_unfit_stores(cli_here, photos, tmp_path, arguments, status, part):
    prepare_stores(photos, tmp_path / "h5", options())
    (tmp_path / "lone.h5").write_bytes((tmp_path / "h5" / "train.h5").read_bytes())
    (tmp_path / "bad.h5").write_bytes(b"no store")
    result = cli_here(main, "adnet-train", *arguments, "-o", "run", "--steps", "1", cwd=tmp_path)
    assert_clean_error(result, status, part)
    assert not (tmp_path / "run").exists()


def test_program_prepares(cli, photos, tmp_path, make_image):
    for index in range(4):
        make_image(tmp_path / "val" / f"{index}.png", seed=10 + index)
    result = cli("adnet-data", "prepare", photos, "-o", tmp_path / "h5", "--val", tmp_path / "val")
    assert result.returncode == 0, result.stderr
    assert "patches of 50x50, mode S" in result.stdout
    assert len(read_images(tmp_path / "h5" / "val.h5")) == 4


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["none"], 2, "no such folder"),
        (["photos"], 1, "too few to hold out 8"),
        (["photos", "--mode", "X"], 2, "'S', 'B'"),
        (["photos", "--scales", "1,2"], 2, "scales must lie in 0..1"),
        (["photos", "--channels", "4"], 2, "'1', '3'"),
        (["photos", "--seed", "-1", "--mode", "B"], 2, "seed must not be negative"),
        (["photos", "--patch", "-1"], 2, "patch must be at least 8"),
        (["photos", "--scales", "nan"], 2, "scales must lie in 0..1"),
    ],
)
def test_program_refuses_bad_input(cli, photos, tmp_path, arguments, status, part):
    result = cli("adnet-data", "prepare", *arguments, "-o", "h5", cwd=tmp_path)
    assert_clean_error(result, status, part)
    assert not (tmp_path / "h5").exists()


@pytest.mark.parametrize("count", ["0", "-1"])
def test_a_store_has_images_to_validate_on(cli_here, photos, tmp_path, make_image, count):
    make = ["adnet-data", "prepare", photos, "-o", tmp_path / "h5", "--val-images", count]
    result = cli_here(data_main, *make)
    assert_clean_error(result, 2, "--val-images: hold out at least 1")
    assert not (tmp_path / "h5").exists()
    make_image(tmp_path / "val" / "v.png", seed=9)
    assert cli_here(data_main, *make, "--val", tmp_path / "val").returncode == 0
    # As an earlier version made it, and one in ModelZoo's layout.
    for group in (True, False):
        with h5py.File(tmp_path / "h5" / "val.h5", "w") as file:
            if group:
                file.create_group("images")
        for more in ([], ["--val", tmp_path / "h5" / "val.h5"]):
            result = cli_here(
                main, "adnet-train", tmp_path / "h5", "-o", tmp_path / "run", "--steps", 1, *more
            )
            assert_clean_error(result, 1, "holds no image" if group else "an empty HDF5 file")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("data", ["h5", "h5/train.h5"])
def test_what_changes_nothing_with_a_store_is_refused(photos, tmp_path, monkeypatch, data):
    prepare_stores(photos, tmp_path / "h5", options())
    monkeypatch.chdir(tmp_path)
    for given in ({"scales": (1.0,)}, {"val_images": 3}, {"val_images": 0}):
        (name,) = given
        flag = f"--{name.replace('_', '-')}"
        with pytest.raises(UsageError, match=f"{flag} has no effect with a store"):
            make_config([data], steps=1, **given)
        assert make_config(["photos"], steps=1, **given | {"val": ("photos",)})
    config = make_config([data], steps=1)
    # A run from when they were let pass goes on; its line names them no more.
    before = config.to_dict() | {"scales": [1.0], "val_images": 3, "data": ["train.h5"]}
    refuse_changes(before, config, tmp_path)
    assert train_command(before) == "adnet-train train.h5 -o RUN --steps 1"
    with pytest.raises(UsageError, match="scales was"):
        refuse_changes(before, make_config(["photos"], steps=1), tmp_path)


@pytest.mark.parametrize("val", ["h5", "h5/val.h5"])
@pytest.mark.parametrize("data", ["others", "lone.h5"])
def test_a_store_is_validated_on_by_its_folder_or_its_file(
    photos, tmp_path, monkeypatch, make_image, val, data
):
    prepare_stores(photos, tmp_path / "h5", options(val_images=2))
    monkeypatch.chdir(tmp_path)
    for index in range(2):
        make_image(tmp_path / "others" / f"{index}.png", size=(60, 60), seed=20 + index)
    (tmp_path / "lone.h5").write_bytes((tmp_path / "h5" / "train.h5").read_bytes())
    config = make_config([data], steps=1, val=(val,))
    assert len(load_training_data(config, torch.device("cpu")).val_images) == 2
    make_image(tmp_path / "h5" / "image.png", size=(60, 60), seed=30)
    if val == "h5":
        with pytest.raises(UsageError, match=r"val\.h5, and 1 images: which are meant\? Give"):
            load_training_data(config, torch.device("cpu"))
    (tmp_path / "h5" / "image.png").unlink()
    (tmp_path / "h5" / "val.h5").unlink()
    with pytest.raises((UsageError, TrainingError), match="no image in this|no such HDF5 store"):
        load_training_data(config, torch.device("cpu"))
