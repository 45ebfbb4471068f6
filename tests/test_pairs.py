import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from adnet.checkpoint import load_checkpoint
from adnet.errors import TrainingError, UsageError
from adnet.training.config import TrainConfig
from adnet.training.data import load_training_data, make_batch
from adnet.training.pairs import hold_out_scenes, load_pairs
from adnet.training.run import run_training
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
    shift = ((noisy - clean) * 255).round()
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
