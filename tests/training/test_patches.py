import numpy as np
import pytest
import torch

from adnet.errors import TrainingError
from adnet.training.patches import PatchSampler, StoreSampler

CPU = torch.device("cpu")
ALL = slice(None)


def test_patches_are_cut_out_of_the_images_in_all_orientations():
    # Every pixel's value tells its place: patches can be traced back.
    image = np.arange(9 * 11, dtype=np.uint8).reshape(9, 11)
    sampler = PatchSampler([image, image[:4, :4]], 5, CPU)
    assert sampler.skipped == 1
    assert len(sampler) == 5 * 7
    patches = sampler.sample(0, 600, ALL)
    assert patches.shape == (600, 1, 5, 5)
    orientations, places = set(), set()
    for patch in patches[:, 0].numpy().astype(int):
        corner = patch.min()
        row, column = divmod(corner, 11)
        cut = image[row : row + 5, column : column + 5].astype(int)
        turns = [np.rot90(one, k) for one in (cut, cut.T) for k in range(4)]
        (which,) = [index for index, turned in enumerate(turns) if np.array_equal(turned, patch)]
        orientations.add(which)
        places.add((row, column))
    assert orientations == set(range(8))
    assert len(places) == 5 * 7


def test_sampler_keeps_planes_apart_and_images_too():
    first = np.full((8, 9, 3), (1, 2, 3), np.uint8)
    second = np.full((20, 7, 3), (4, 5, 6), np.uint8)
    patches = PatchSampler([first, second], 6, CPU).sample(0, 50, ALL)
    kinds = {tuple(map(int, patch.reshape(3, -1).T.unique(dim=0)[0])) for patch in patches}
    assert kinds == {(1, 2, 3), (4, 5, 6)}
    assert all(patch.reshape(3, -1).T.unique(dim=0).shape[0] == 1 for patch in patches)


def test_store_sampler_draws_turned_patches():
    patches = np.arange(3 * 16, dtype=np.uint8).reshape(3, 1, 4, 4)
    sampler = StoreSampler(patches, CPU, seed=0, augment=True)
    seen = set()
    for step in range(150):
        for drawn in sampler.sample(step, 3, ALL)[:, 0].numpy():
            index = int(drawn.min()) // 16
            turns = [np.rot90(one, k) for one in (patches[index, 0], patches[index, 0].T)
                     for k in range(4)]  # fmt: skip
            (which,) = [k for k, turned in enumerate(turns) if np.array_equal(turned, drawn)]
            seen.add((index, which))
    assert len(seen) == 3 * 8


def test_an_epoch_of_a_store_shows_every_patch_once():
    patches = np.arange(11, dtype=np.uint8).reshape(11, 1, 1, 1)
    sampler = StoreSampler(patches, CPU, seed=5, augment=False)
    epochs = [
        torch.cat([sampler.sample(epoch * 5 + k, 2, ALL) for k in range(5)]).flatten().tolist()
        for epoch in range(2)
    ]
    assert all(len(set(epoch)) == 10 for epoch in epochs)
    assert epochs[0] != epochs[1]
    # A step's patches do not depend on what was drawn before.
    fresh = StoreSampler(patches, CPU, seed=5, augment=False)
    assert fresh.sample(7, 2, ALL).flatten().tolist() == epochs[1][4:6]
    with pytest.raises(TrainingError, match="less than one batch of 12"):
        sampler.sample(0, 12, ALL)


@pytest.mark.parametrize("kind", ["store", "images"])
def test_shards_are_the_rows_of_one_batch(kind):
    generator = np.random.default_rng(0)
    if kind == "store":
        patches = generator.integers(0, 256, (40, 1, 6, 6), np.uint8)
        sampler = StoreSampler(patches, CPU, seed=1, augment=True)
    else:
        image = generator.integers(0, 256, (40, 30), np.uint8)
        sampler = PatchSampler([image], 6, CPU, seed=1)
    whole = sampler.sample(3, 8, ALL)
    parts = [sampler.sample(3, 8, slice(start, start + 2)) for start in (0, 2, 4, 6)]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(sampler.sample(4, 8, ALL), whole)
