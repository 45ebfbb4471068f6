"""Files in bands of rows: the same pixels and the same metadata as whole ones."""

import io
from dataclasses import replace
from itertools import product

import numpy as np
import PIL
import pytest
from image_files import SHAPES, make, pixels_of, png_blocks, tiff_blocks
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats import png_filter, png_rows, tiff_rows
from adnet.images.formats.codec import decode_image, encode_image
from adnet.images.formats.image_file import ImageFile, planes
from adnet.images.formats.png import PngLayout
from adnet.images.formats.rows import open_sink, source_of
from adnet.images.formats.tiff import TiffLayout
from adnet.images.formats.tiff_data import WRITABLE
from adnet.images.formats.tiff_tags import Kind
from adnet.images.formats.tiff_write import plain_layout

LIMIT = 10_000_000


SLOW = pytest.mark.slow


@pytest.fixture(
    params=[200, pytest.param(1, marks=SLOW), pytest.param(1 << 20, marks=SLOW)], autouse=True
)
def _bands(request, monkeypatch):
    """Bands of a few rows, of one, of all."""
    monkeypatch.setattr(png_filter, "_BAND", request.param)
    monkeypatch.setattr(png_filter.unpack_rows, "__defaults__", (request.param,))
    monkeypatch.setattr(tiff_rows, "_BAND", request.param)
    monkeypatch.setattr(tiff_rows, "_STRIP", request.param)
    monkeypatch.setattr(png_rows, "_CHUNK", request.param)


def copied(data, wanted=None, cut=5):
    """Read and write in bands; (the file that was read, the new file)."""
    source = source_of(data, "a", LIMIT)
    file = io.BytesIO()
    sink = open_sink(file, source.file, wanted or source.file.format)
    for page in range(len(source.file.frames)):
        for band in source.bands(page):
            for start in range(0, len(band), cut):
                sink.put(band[start : start + cut])
        sink.end_page()
    sink.close()
    return source.file, file.getvalue()


def assert_same(data, wanted=None):
    whole = decode_image(data, "a")
    header, new = copied(data, wanted)
    assert [one.shape for one in header.frames] == [one.shape for one in whole.frames]
    assert [one.dtype for one in header.frames] == [one.dtype for one in whole.frames]
    assert header.portable == whole.portable
    assert header.notes == whole.notes
    expected = decode_image(encode_image(whole.frames, whole, wanted), "b")
    got = decode_image(new, "c")
    for one, two in zip(expected.frames, got.frames, strict=True):
        assert one.dtype == two.dtype
        assert np.array_equal(one, two)
    assert got.portable == expected.portable
    assert got.notes == expected.notes
    return expected, got, new


@pytest.mark.parametrize("wanted", ["PNG", "TIFF"])
@pytest.mark.parametrize("metadata", [False, True])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        (kind, mode)
        for kind in ("PNG", "TIFF")
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr")
        if kind == "TIFF" or mode not in ("CMYK", "LAB", "YCbCr")
    ],
)
def test_every_kind_is_the_same(kind, mode, metadata, wanted):
    data = make(kind, mode, metadata)
    _, _, new = assert_same(data, wanted)
    if kind == wanted and metadata and mode in ("L", "RGB", "RGBA"):
        blocks = {"PNG": png_blocks, "TIFF": tiff_blocks}[kind]
        assert blocks(new) == blocks(data)
    with Image.open(io.BytesIO(new)) as shown:
        shown.load()


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1), (40, 1, 3), (1, 50, 4)])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_png_of_every_depth(shape, dtype):
    pixels = pixels_of(shape, dtype)
    data = encode_image(pixels, ImageFile(pixels, "PNG"))
    for wanted in ("PNG", "TIFF"):
        _, got, _ = assert_same(data, wanted)
        assert np.array_equal(got.pixels, pixels)


@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize(
    "compression", [pytest.param(one, marks=SLOW if one == 34925 else ()) for one in WRITABLE]
)
def test_tiff_of_every_arrangement(compression, tile):
    if compression == 50000 and int(PIL.__version__.partition(".")[0]) < 12:
        pytest.skip("Zstandard: the libtiff in Pillow 11 does not write it")
    for order, big, planar, dtype, strip in product(
        "<>", (False, True), (False, True), ("u1", "u2", "f4"), (7, 40)
    ):
        kind, pixels = Kind(order, big), pixels_of((40, 50, 3), dtype)
        plain = plain_layout(pixels, kind)
        block = replace(plain.block, compression=compression)
        block = block if compression not in (1, 32773) else replace(block, predictor=1)
        page = replace(plain, block=block, planar=planar, tile=tile, strip=strip)
        data = encode_image(pixels, ImageFile(pixels, "TIFF", TiffLayout(kind, (page,))))
        expected, got, _ = assert_same(data)
        assert np.array_equal(got.pixels, pixels)
        assert got.layout.kind == expected.layout.kind
        assert got.layout.pages[0].tile == tile
        assert got.layout.pages[0].block == expected.layout.pages[0].block
        assert got.layout.pages[0].planar == planar


def test_pages_and_samples_beyond_alpha():
    pages = [pixels_of(shape, dtype) for shape in SHAPES for dtype in ("u1", "u2", "f4")]
    data = encode_image(pages, ImageFile(pages[0], "TIFF", more=tuple(pages[1:])))
    assert len(assert_same(data)[1].frames) == 12
    pixels, extras = pixels_of((20, 9, 4), "u1"), pixels_of((20, 9, 3), "u1", 5)
    page = replace(plain_layout(pixels, Kind()), extras=extras, extra_codes=(2, 0, 0, 0))
    data = encode_image(pixels, ImageFile(pixels, "TIFF", TiffLayout(Kind(), (page,))))
    _, got, _ = assert_same(data)
    assert np.array_equal(got.layout.pages[0].extras, extras)
    assert np.array_equal(assert_same(data, "PNG")[1].pixels, planes(pixels))


def test_white_is_zero():
    pixels = pixels_of((20, 9), "u1")
    page = replace(plain_layout(pixels, Kind()), photometric=0)
    data = encode_image(pixels, ImageFile(pixels, "TIFF", TiffLayout(Kind(), (page,))))
    assert np.array_equal(assert_same(data)[1].pixels, pixels)


def test_damage_is_found_on_the_way():
    for kind, dtype in (("PNG", "u1"), ("PNG", "u2"), ("TIFF", "u1")):
        pixels = pixels_of((40, 50, 3), dtype)
        data = encode_image(pixels, ImageFile(pixels, kind))
        for length in range(40, len(data) - 4, 311):
            with pytest.raises(ImageError):
                copied(data[:length])
        if kind == "PNG":
            bad = bytearray(data)
            bad[len(data) // 2] ^= 1
            with pytest.raises(ImageError, match="damaged"):
                copied(bytes(bad))


def test_interlaced_and_animated_are_for_the_whole():
    pixels = pixels_of((9, 9), "u1")
    data = encode_image(pixels, ImageFile(pixels, "PNG", PngLayout(interlaced=True)))
    assert "interlaced" in source_of(data, "a", LIMIT).why_not
    with pytest.raises(ImageError, match="--max-pixels 81"):
        source_of(data, "a", 80)
