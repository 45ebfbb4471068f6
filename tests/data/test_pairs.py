import dataclasses
import shutil

import numpy as np
import pytest
import torch
from conftest import assert_clean_error
from PIL import Image

from adnet.data import cli as cli_data
from adnet.data.pairs import hold_out_scenes, holds_pairs, load_pairs, scene_of, split_pairs
from adnet.errors import TrainingError, UsageError
from adnet.images.levels import WHITE
from adnet.models.checkpoint import load_checkpoint
from adnet.training import cli as cli_train
from adnet.training.config import TrainConfig
from adnet.training.data import load_training_data, make_batch
from adnet.training.start import run_training
from adnet.training.world import World

WORLD = World(torch.device("cpu"))


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def scenes():
    generator = np.random.default_rng(0)
    clean = [generator.integers(20, 200, (40, 36, 3), np.uint8) for _ in range(4)]
    return [(image + np.uint8(10 + index), image) for index, image in enumerate(clean)]


@pytest.fixture
def polyu(tmp_path, scenes):
    for index, (noisy, clean) in enumerate(scenes):
        write(tmp_path / "polyu" / f"desk{index // 2}_{index}_real.png", noisy)
        write(tmp_path / "polyu" / f"desk{index // 2}_{index}_mean.png", clean)
    return tmp_path / "polyu"


def test_both_layouts_are_read(tmp_path, polyu, scenes):
    for index, (noisy, clean) in enumerate(scenes):
        write(tmp_path / "two" / "noisy" / "deep" / f"{index}.png", noisy)
        write(tmp_path / "two" / "clean" / "deep" / f"{index}.bmp", clean)
    for folder in (polyu, tmp_path / "two"):
        pairs = load_pairs(folder, 3)
        assert len(pairs) == 4
        for pair, (noisy, clean) in zip(pairs, scenes, strict=True):
            assert np.array_equal(pair.noisy, noisy)
            assert np.array_equal(pair.clean, clean)


def test_what_is_no_pair_is_named(tmp_path, polyu, scenes):
    (polyu / "desk0_0_mean.png").unlink()
    with pytest.raises(TrainingError, match="'desk0_0' has no counterpart"):
        load_pairs(polyu, 3)
    write(polyu / "desk0_0_mean.png", scenes[0][1][:30])
    with pytest.raises(TrainingError, match="36x40 noisy and 36x30 clean"):
        load_pairs(polyu, 3)
    write(tmp_path / "alone" / "photo.png", scenes[0][0])
    with pytest.raises(TrainingError, match="no pair was found"):
        load_pairs(tmp_path / "alone", 3)


def test_scenes_are_held_out_whole():
    names = [f"{scene}_{crop}" for scene in ("desk", "door", "toy") for crop in range(4)]
    held = hold_out_scenes(names, 3)
    assert len(held) == 4
    assert len({names[index].split("_")[0] for index in held}) == 1
    assert len(hold_out_scenes([f"{index:03}" for index in range(10)], 3)) == 3
    assert hold_out_scenes(names, 0) == set()
    with pytest.raises(TrainingError, match="too few to hold out 12"):
        hold_out_scenes(names, 12)


def test_noisy_and_clean_are_cut_and_turned_alike(polyu):
    config = TrainConfig(
        data=(str(polyu),), noise="pairs", channels=3, scales=(1.0,), val_images=2, patch=16,
        batch=12, steps=1,
    )  # fmt: skip
    data = load_training_data(config, WORLD.device)
    assert len(data.val_images) == 2
    noisy, clean = make_batch(config, data, WORLD, 0)
    assert noisy.shape == clean.shape == (12, 3, 16, 16)
    # The fixture's noise is a constant of its own for every scene.
    shift = ((noisy - clean) * WHITE).round()
    assert all(len(one.unique()) == 1 for one in shift)
    assert set(shift.unique().tolist()) <= {10, 11, 12, 13}
    with pytest.raises(UsageError, match="scale 1"):
        dataclasses.replace(config, scales=(1.0, 0.9))


def test_training_on_pairs(polyu, tmp_path):
    config = TrainConfig(
        data=(str(polyu),), noise="pairs", channels=3, scales=(1.0,), val_images=2, patch=16,
        batch=2, steps=2, val_every=2,
    )  # fmt: skip
    card = load_checkpoint(run_training(config, tmp_path / "run")).card
    assert card.sigma_range is None
    assert card.training["source"] == "2 pairs"
    assert card.training["val_psnr"] > 10


def test_the_object_is_the_scene_whatever_the_camera():
    for name in (
        "Canon5D2_5_200_3200_toy_12", "Canon600D_4-5_125_1600_toy_1", "Sony_4-5_125_1600_toy_10",
        "real/Sony_4-5_125_1600_toy_10", "NikonD800_6-3_125_5000_toy__4",
    ):  # fmt: skip
        assert scene_of(name) == "toy"
    assert scene_of("0001_001_S6_00100_00060_3200_L_0001") == "0001_001_S6_00100_00060_3200_L"
    assert scene_of("kitchen_night_3") == "kitchen_night"


def scenes_in(folder):
    return {scene_of(pair.name) for pair in load_pairs(folder, 3)}


@pytest.mark.parametrize("linked", [True, False])
def test_a_split_shares_no_scene(linked, tmp_path, scenes, monkeypatch, cli_here):
    """Same objects, two cameras, two layouts: every scene lies in one part, every pair in one."""
    if not linked:
        monkeypatch.setattr("pathlib.Path.symlink_to", lambda *_: (_ for _ in ()).throw(OSError))
    noisy, clean = scenes[0]
    flat, deep = tmp_path / "flat", tmp_path / "deep"
    for word in ("toy", "door", "wall", "desk", "book", "stair", "photo", "ball", "chair"):
        for number, camera in enumerate(("Sony_4_200_3200", "NikonD800_6-3_125_5000")):
            name = f"{camera}_{word}_{number}"
            write(flat / f"{name}_real.png", noisy)
            write(flat / f"{name}_mean.png", clean)
            write(deep / "noisy" / f"{name}.png", noisy)
            write(deep / "clean" / f"{name}.png", clean)
    parts = {}
    for folder in (flat, deep):
        for _again in range(2):
            result = cli_here(cli_data.main, "adnet-data", "split-pairs", folder, "-o", tmp_path)
            assert result.returncode == 0, result.stderr
        parts[folder] = [
            scenes_in(tmp_path / f"{folder.name}-{part}") for part in ("train", "val", "test")
        ]
        assert sum(map(len, parts[folder])) == len(set.union(*parts[folder])) == 9
    assert parts[flat] == parts[deep]
    assert (tmp_path / "flat-train").is_dir()
    assert any(path.is_symlink() for path in (tmp_path / "flat-test").iterdir()) == linked
    write(tmp_path / "flat-test" / "other_real.png", noisy)
    with pytest.raises(UsageError, match="flat-test: holds other files.*other_real"):
        split_pairs(flat, tmp_path)
    with pytest.raises(TrainingError, match="too few scenes"):
        split_pairs(tmp_path / "flat-val", tmp_path / "again")


@pytest.fixture
def many(tmp_path, scenes):
    """Nine scenes, which fill all three parts."""
    for index, word in enumerate(
        ("toy", "door", "wall", "desk", "book", "stair", "photo", "ball", "chair")
    ):
        for end, pixels in zip(("real", "mean"), scenes[index % 4], strict=True):
            write(tmp_path / "many" / f"Sony_4_200_3200_{word}_{index}_{end}.png", pixels)
    return tmp_path / "many"


def test_what_is_there_already_must_be_the_same_file(tmp_path, many):
    before = split_pairs(many, tmp_path / "out")
    first = min((tmp_path / "out" / "many-train").iterdir())
    first.unlink()  # as in a split that was not finished
    assert split_pairs(many, tmp_path / "out") == before
    source = first.resolve()
    for make in (
        first.mkdir,
        first.touch,
        lambda: write(first, np.zeros((9, 9, 3), np.uint8)),
        lambda: first.symlink_to(min((tmp_path / "out" / "many-val").iterdir()).resolve()),
    ):
        first.unlink()
        make()
        with pytest.raises(UsageError, match="is there already, but is not"):
            split_pairs(many, tmp_path / "out")
        if first.is_dir():
            first.rmdir()
            first.touch()
    first.unlink()
    shutil.copyfile(source, first)  # a copy is as good
    assert split_pairs(many, tmp_path / "out") == before


def test_a_split_of_another_folder_of_the_same_name_is_told(tmp_path, many):
    shutil.copytree(many, tmp_path / "other" / "many")
    for path in (tmp_path / "other" / "many").iterdir():
        write(path, 255 - np.asarray(Image.open(path)))
    before = split_pairs(many, tmp_path / "out")
    assert split_pairs(many, tmp_path / "out") == before
    with pytest.raises(UsageError, match="is there already, but is not.*other"):
        split_pairs(tmp_path / "other" / "many", tmp_path / "out")


@pytest.mark.parametrize(
    ("one", "other", "side"),
    [
        ("noisy/a.png", "noisy/a.bmp", "noisy"),
        ("clean/a.png", "clean/a.bmp", "clean"),
        ("a_real.png", "a_real.bmp", "noisy"),
        ("a_mean.png", "a_mean.bmp", "clean"),
        ("b/a_noisy.png", "b/a_noisy.bmp", "noisy"),
        ("a_clean.png", "a_clean.bmp", "clean"),
        ("a_real.png", "a_noisy.png", "noisy"),
        ("a_mean.png", "clean/a.png", "clean"),
    ],
)
def test_two_images_of_one_name_are_refused(tmp_path, scenes, one, other, side):
    """Not one of them taken in silence."""
    counterpart = {"noisy": "clean/a.png", "clean": "noisy/a.png"}[side]
    if one.startswith("b/"):
        counterpart = "b/a_clean.png"
    for name in (one, other, counterpart):
        write(tmp_path / name, scenes[0][0])
    with pytest.raises(TrainingError, match=f"are both the {side} image of '") as told:
        load_pairs(tmp_path, 3)
    assert one in str(told.value)
    assert other in str(told.value)
    (tmp_path / other).unlink()
    assert len(load_pairs(tmp_path, 3)) == 1


@pytest.mark.parametrize("layout", ["polyu", "folders", "polyu and photos", "folders, not all"])
@pytest.mark.parametrize("place", ["data", "val", "prepare", "prepare --val"])
def test_pairs_are_not_learned_as_clean_images(
    cli_here, tmp_path, polyu, scenes, make_image, layout, place
):
    pairs = polyu
    if layout.startswith("folders"):
        pairs = tmp_path / "two"
        for index, (noisy, clean) in enumerate(scenes):
            write(pairs / "noisy" / f"{index}.png", noisy)
            write(pairs / "clean" / f"{index}.bmp", clean)
    if layout == "polyu and photos":
        make_image(pairs / "photo.png")
    if layout == "folders, not all":
        (pairs / "noisy" / "0.png").unlink()
    for index in range(2):
        make_image(tmp_path / "photos" / f"{index}_clean.png", seed=index)
        make_image(tmp_path / "photos" / f"other{index}_noisy.png", seed=index + 5)  # no pair
    common = ["--patch", 16, "--val-images", 1]
    photos = tmp_path / "photos"
    if place.startswith("prepare"):
        where = [pairs] if place == "prepare" else [photos, "--val", pairs]
        arguments = ["prepare", *where, "-o", tmp_path / "h5", *common]
        result = cli_here(cli_data.main, "adnet-data", *arguments)
    else:
        where = [photos, pairs] if place == "data" else [photos, "--val", pairs]
        arguments = [*where, "-o", tmp_path / "run", "--steps", 1, *common]
        result = cli_here(cli_train.main, "adnet-train", *arguments)
    count = 3 if layout == "folders, not all" else 4
    assert_clean_error(result, 2, f"{pairs}: holds pairs", f"({count}, such", "--pairs")
    if place == "prepare":  # the clean ones alone, and names that only look so
        result = cli_here(
            cli_data.main, "adnet-data", "prepare", photos, "-o", tmp_path / "h5", *common
        )
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("output", ["polyu", "polyu/parts", "link", "polyu/../polyu", "."])
def test_the_parts_of_a_split_never_lie_among_its_pairs(
    cli_here, tmp_path, polyu, output, monkeypatch
):
    (tmp_path / "link").symlink_to(polyu)
    monkeypatch.chdir(polyu if output == "." else tmp_path)
    folder = "." if output == "." else "polyu"
    result = cli_here(cli_data.main, "adnet-data", "split-pairs", folder, "-o", output)
    assert_clean_error(result, 2, "taken for more pairs")
    assert len(list(polyu.rglob("*"))) == 8


def test_pairs_are_told_from_clean_images(tmp_path, polyu, scenes):
    assert holds_pairs(polyu)
    write(polyu / "photo.png", scenes[0][0])
    assert not holds_pairs(polyu)
    write(tmp_path / "alone" / "photo.png", scenes[0][0])
    assert not holds_pairs(tmp_path / "alone")


@pytest.mark.dataset
def test_polyu_is_split_by_its_23_scenes(shared, tmp_path):
    counts = split_pairs(shared / "data" / "PolyU", tmp_path)
    assert counts == {"PolyU-train": 55, "PolyU-val": 24, "PolyU-test": 21}
    parts = [scenes_in(tmp_path / name) for name in counts]
    assert [len(part) for part in parts] == [9, 8, 6]
    assert len(set.union(*parts)) == 23
