"""Every kind of TIFF that Pillow opens is read and written back right, or refused."""

import numpy as np
import pytest
from image_helpers import PIXELS, copy, packed, tiff

from adnet.errors import ImageError
from adnet.image import read_image


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("channels", "tags"),
    [(1, {}), (2, {"t338": 2}), (3, {}), (4, {"t338": 2}), (4, {})],
)
def test_tiff_layouts_are_read_exactly(tmp_path, compressed, separate, order, channels, tags):
    source = tiff(
        tmp_path / "a.tif", PIXELS[..., :channels], separate=separate, order=order,
        compressed=compressed, **tags,
    )  # fmt: skip
    if separate and (channels == 2 or (channels == 4 and not tags)):
        with pytest.raises(ImageError, match="separate planes"):
            read_image(source)
        return
    expected = PIXELS[..., 0] if channels == 1 else PIXELS[..., :channels]
    assert np.array_equal(read_image(source).pixels, expected)
    assert np.array_equal(read_image(copy(source, tmp_path / "b.tif")).pixels, expected)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(
    ("channels", "tags"),
    [
        (2, {"t338": 0}), (2, {"t338": 1}), (2, {}),
        (4, {"t338": 0}), (4, {"t338": 1}),
        (5, {"t338": [0, 0]}), (5, {"t338": [2, 0]}), (5, {"t338": [1, 0]}),
        (2, {"t338": 0, "t262": 3, "t320": [257 * (i % 256) for i in range(768)]}),
        (1, {"t339": 2}), (3, {"t339": [2, 2, 2]}),
        (1, {"t262": None}),
        (4, {"t262": 5}), (3, {"t262": 8}),
        (1, {"t262": 3, "t320": [i % 256 for i in range(768)]}),
        (1, {"t262": 6}),
    ],
)  # fmt: skip
def test_tiff_samples_without_a_place_are_refused(tmp_path, compressed, separate, channels, tags):
    source = tiff(
        tmp_path / "a.tif", PIXELS[..., :channels], separate=separate, compressed=compressed, **tags
    )
    with pytest.raises(ImageError, match="not supported yet|pixels are of kind"):
        read_image(source)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [2, 4])
def test_deep_tiffs_are_refused(tmp_path, compressed, separate, order, channels, size):
    deep = PIXELS[..., :channels].astype(f"u{size}") * 257
    tags = {"t338": 2} if channels == 4 else {}
    source = tiff(
        tmp_path / "a.tif", deep, bits=8 * size, separate=separate, order=order,
        compressed=compressed, **tags,
    )  # fmt: skip
    with pytest.raises(ImageError, match="more than 8 bits|not supported yet"):
        read_image(source)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("reversed_bits", [False, True])
@pytest.mark.parametrize("photometric", [0, 1, 3])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_packed_and_inverted_tiffs(
    tmp_path, compressed, separate, reversed_bits, photometric, bits
):
    top = 2**bits - 1
    values = PIXELS[..., 0] & top
    rows = packed(values, bits)
    if reversed_bits:
        rows = np.packbits(np.unpackbits(rows[..., None], axis=2, bitorder="little"), axis=2)[
            ..., 0
        ]
    colours = np.random.default_rng(2).integers(0, 256, (3, 2**bits), np.uint8)
    tags = {"t320": (colours.astype(int) * 257).ravel().tolist()} if photometric == 3 else {}
    source = tiff(
        tmp_path / "a.tif", rows, bits=bits, compressed=compressed, t262=photometric,
        t266=2 if reversed_bits else 1, t284=2 if separate else 1, **tags,
    )  # fmt: skip
    expected = {
        0: 255 - values * (255 // top),
        1: values * (255 // top),
        3: colours.T[values],
    }[photometric]
    try:
        pixels = read_image(source).pixels
    except ImageError as err:
        known = separate or reversed_bits  # rare, and Pillow cannot
        if not known:
            raise AssertionError(source) from err
        return
    assert np.array_equal(pixels, expected)
    assert np.array_equal(read_image(copy(source, tmp_path / "b.tif")).pixels, expected)
