"""Every kind of TIFF that Pillow opens is read and written back right, or refused."""

import numpy as np
import pytest
from image_helpers import HEIGHT, PIXELS, WIDTH, copy, packed, tiff

from adnet.errors import ImageError
from adnet.images.image import read_image


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
    expected = PIXELS[..., 0] if channels == 1 else PIXELS[..., :channels]
    assert np.array_equal(read_image(source).pixels, expected)
    assert np.array_equal(read_image(copy(source, tmp_path / "b.tif")).pixels, expected)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(
    ("channels", "tags", "kept"),
    [
        (2, {"t338": 0}, (2, 0)), (2, {"t338": 1}, (2, 0)), (2, {}, (2, 0)),
        (4, {"t338": 0}, (4, 0)), (4, {"t338": 1}, (4, 0)),
        (5, {"t338": [0, 0]}, (4, 1)), (5, {"t338": [2, 0]}, (4, 1)), (5, {"t338": [1, 0]}, (4, 1)),
        (5, {"t338": [2, 0, 0, 0], "t262": 1}, (2, 3)), (5, {"t338": [0] * 4, "t262": 0}, (2, 3)),
        (1, {"t262": None}, (1, 0)),
    ],
)  # fmt: skip
def test_further_tiff_samples_are_kept(tmp_path, compressed, separate, channels, tags, kept):
    stored = PIXELS[..., :channels]
    source = tiff(tmp_path / "a.tif", stored, separate=separate, compressed=compressed, **tags)
    file = read_image(source)
    (page,) = file.layout.pages
    assert file.pixels.reshape(HEIGHT, WIDTH, -1).shape[2] == kept[0]
    assert (0 if page.extras is None else page.extras.shape[2]) == kept[1]
    copied = read_image(copy(source, tmp_path / "b.tif"))
    assert np.array_equal(copied.pixels, file.pixels)
    assert copied.layout.pages[0].extra_codes == page.extra_codes
    assert kept[1] == 0 or np.array_equal(copied.layout.pages[0].extras, stored[..., -kept[1] :])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("channels", "tags"),
    [
        (1, {"t339": 2}), (3, {"t339": [2, 2, 2]}), (1, {"t262": 6}), (3, {"t262": 5}),
        (3, {"t258": [5, 6, 5]}), (1, {"t262": 4}), (3, {"t262": 34892}), (3, {"t50706": [1, 4]}),
        (3, {"t259": 34712}), (3, {"t317": 3}), (3, {"t262": 10}),
    ],
)  # fmt: skip
def test_other_tiffs_are_refused(tmp_path, compressed, channels, tags):
    source = tiff(tmp_path / "a.tif", PIXELS[..., :channels], compressed=compressed, **tags)
    if "t317" in tags and not compressed:
        return  # no prediction without compression
    with pytest.raises(ImageError, match="not supported|Convert it"):
        read_image(source)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", ["u2", "f2", "f4", "f8"])
def test_deep_tiffs_are_exact(tmp_path, compressed, separate, order, channels, kind):
    deep = PIXELS[..., :channels].astype(order + kind) * (257 if kind == "u2" else 1 / 256)
    deep = deep.astype(order + kind)
    tags = {"t338": 2} if channels == 4 else {}
    tags |= {} if kind == "u2" else {"t339": [3] * channels}
    source = tiff(
        tmp_path / "a.tif", deep, bits=8 * deep.itemsize, separate=separate, order=order,
        compressed=compressed, **tags,
    )  # fmt: skip
    for path in (source, copy(source, tmp_path / "b.tif")):
        pixels = read_image(path).pixels
        assert pixels.dtype == np.dtype(kind)
        assert np.array_equal(pixels.reshape(deep.shape), deep)
    assert (tmp_path / "b.tif").read_bytes()[:2] == (b"II" if order == "<" else b"MM")


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
    colours = np.random.default_rng(2).integers(0, 256, (3, 2**bits), np.uint8)
    tags = {"t320": (colours.astype(int) * 257).ravel().tolist()} if photometric == 3 else {}
    source = tiff(
        tmp_path / "a.tif", rows, bits=bits, compressed=compressed, t262=photometric,
        mirrored=reversed_bits, t284=2 if separate else 1, **tags,
    )  # fmt: skip
    expected = {
        0: 255 - values * (255 // top),
        1: values * (255 // top),
        3: colours.T[values],
    }[photometric]
    assert np.array_equal(read_image(source).pixels, expected)
    assert np.array_equal(read_image(copy(source, tmp_path / "b.tif")).pixels, expected)
