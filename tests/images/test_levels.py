"""The 256 levels of 8-bit pixels and floats: one pair of functions, exact, and the only one."""

import re
from pathlib import Path

import numpy as np
import pytest

from adnet.images.levels import WHITE, from_levels, round_to_levels, to_levels

LEVELS = np.arange(256)
SHAPES = [(256,), (16, 16), (1, 1, 16, 16), (2, 4, 8, 4)]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_level_comes_back(dtype, shape):
    levels = LEVELS.astype(dtype).reshape(shape)
    floats = from_levels(levels)
    assert floats.dtype == np.float32
    assert floats.shape == shape
    assert (floats.min(), floats.max()) == (0, 1)
    back = to_levels(floats)
    assert back.dtype == np.uint8
    assert np.array_equal(back, levels)
    assert np.array_equal(to_levels(floats.astype(np.float64)), levels)
    assert np.array_equal(round_to_levels(floats), levels)


def test_what_lies_between_goes_to_the_nearest_and_what_lies_outside_is_clipped():
    off = np.float32(0.49 / WHITE)
    floats = from_levels(LEVELS)
    assert np.array_equal(to_levels(floats + off), LEVELS)
    assert np.array_equal(to_levels(floats - off), LEVELS)
    outside = np.array([-1e9, -0.1, -0.001, 1.001, 2.5, 1e9, -np.inf, np.inf])
    assert to_levels(outside).tolist() == [0, 0, 0, 255, 255, 255, 0, 255]


def test_halves_of_floats_and_views_are_taken_as_they_are():
    assert np.array_equal(to_levels(from_levels(LEVELS).astype(np.float16)), LEVELS)
    image = from_levels(LEVELS.reshape(16, 16))
    before = image.copy()
    assert np.array_equal(to_levels(image.T[::-2]), LEVELS.reshape(16, 16).T[::-2])
    assert np.array_equal(image, before)  # the argument stays as it is
    assert to_levels(np.float32(0.5)) == 128
    assert to_levels(np.empty((0, 3), np.float32)).shape == (0, 3)


def test_no_array_is_made_where_one_is_given():
    batch = from_levels(LEVELS).reshape(1, 1, 16, 16)
    out = np.full((1, 1, 16, 16), np.nan, np.float32)
    assert round_to_levels(batch, out=out) is out
    assert np.array_equal(out.ravel(), LEVELS)


def test_nobody_else_converts():
    """The network's own formulas (AIPP, the graph of 8-bit pixels) stand in these files."""
    root = Path(__file__).parents[2]
    own_formulas = {"export/ascend/atc_config.py", "export/variants.py"}
    own_formulas |= {"tests/runtime/test_om_backend.py"}
    found = set()
    for top in ("adnet", "benchmarks", "examples", "export", "runtime", "tests"):
        for path in (root / top).rglob("*.py"):
            name = path.relative_to(root).as_posix()
            if not name.startswith(("adnet/images/", "tests/images/")) and re.search(
                r"[*/] *(?:255|np\.float32\(255)", path.read_text(encoding="utf-8")
            ):
                found.add(name)
    assert found <= own_formulas
