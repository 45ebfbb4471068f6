"""The small modules that cut files into pieces: bytes in, the same bytes out."""

import io
import struct

import numpy as np
import pytest
from image_files import PROFILE, XMP, exif_block, make
from PIL import Image, ImageOps

from adnet.errors import ImageError
from adnet.images.formats import jpeg_segments, png_chunks, tiff_tags, webp_chunks
from adnet.images.formats.bits import narrowed, pack_bits, unpack_bits, widened
from adnet.images.formats.exif import exif_with_orientation, orientation_of
from adnet.images.formats.image_file import (
    Portable,
    upright,
)
from adnet.images.formats.jpeg_segments import Segment
from adnet.images.formats.tiff_tags import Directory, Kind, number_tag

PORTABLE = Portable(PROFILE, exif_block()[6:], XMP, (300.0, 150.0))
MODES = ["L", "RGB"]


@pytest.mark.parametrize("mode", MODES)
def test_png_chunks_join_to_the_same_file(mode):
    data = make("PNG", mode, metadata=True)
    chunks, notes = png_chunks.split_chunks(data)
    assert png_chunks.join_chunks(chunks) == data
    assert notes == []
    chunks, notes = png_chunks.split_chunks(data + b"more")
    assert png_chunks.join_chunks(chunks) == data
    assert notes == ["4 bytes after the end of the image were left out."]


@pytest.mark.parametrize("mode", MODES)
def test_jpeg_segments_join_to_the_same_file(mode):
    data = make("JPEG", mode, metadata=True)
    segments, scans, trailing = jpeg_segments.split_segments(data)
    assert jpeg_segments.join_segments(segments, scans) == data
    assert trailing == 0
    assert jpeg_segments.split_segments(data + b"\xff\xd8 next")[1:] == (scans, 7)


def test_webp_chunks_join_to_the_same_file():
    data = make("WEBP", "RGB", metadata=True)
    chunks = webp_chunks.split_chunks(data)
    assert data[:12] + webp_chunks.join_chunks(chunks) == data


@pytest.mark.parametrize("size", [(1, 1), (300, 2), (2, 300), (257, 129)])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"II*\0"}])
def test_webp_sizes_are_read_from_the_header(size, options):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "WEBP", **options)
    assert webp_chunks.canvas_size(webp_chunks.split_chunks(file.getvalue())) == size


@pytest.mark.parametrize("kind", [Kind("<"), Kind(">"), Kind("<", True), Kind(">", True)])
def test_tiff_directories_survive_any_byte_order(kind):
    old, (page,), _ = tiff_tags.read_directories(exif_block()[6:])
    page.tags[700] = number_tag(old, 3, 1, 2, 65535)
    page.tags[701] = number_tag(old, 12, 1, 2)
    page.tags[702] = number_tag(old, 5, 1, 2, 3, 4)
    turned = tiff_tags.reordered(page, old, kind)
    data = tiff_tags.write_directories(kind, [(turned, (273, 279), [])] * 2)
    again, pages, notes = tiff_tags.read_directories(data)
    assert (again, notes) == (kind, [])
    assert len(pages) == 2
    for one in pages:
        assert tiff_tags.reordered(one, kind, old) == page
        assert tiff_tags.values(one.tags[702], kind) == (1, 2, 3, 4)
        assert sorted(one.children) == [34665, 34853]


def test_tiff_of_4_gigabytes_is_refused(monkeypatch):
    page = Directory({700: tiff_tags.Tag(1, 8, bytes(8))})
    assert tiff_tags.write_directories(Kind(), [(page, (273, 279), [])])
    monkeypatch.setattr(tiff_tags, "_MOST", 16)
    with pytest.raises(ImageError, match="4 GB"):
        tiff_tags.write_directories(Kind(), [(page, (273, 279), [b"x" * 30])])


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (png_chunks.portable_chunks, png_chunks.read_portable),
        (jpeg_segments.portable_segments, jpeg_segments.read_portable),
        (webp_chunks.portable_chunks, webp_chunks.read_portable),
    ],
)
@pytest.mark.parametrize("some", [(), ("icc",), ("exif", "dpi"), ("icc", "exif", "xmp", "dpi")])
def test_portable_metadata_survives(write, read, some):
    given_ = Portable(**{name: getattr(PORTABLE, name) for name in some})
    found = read(write(given_))
    assert (found.icc, found.exif, found.xmp) == (given_.icc, given_.exif, given_.xmp)
    if given_.dpi and write is not webp_chunks.portable_chunks:
        assert found.dpi == pytest.approx(given_.dpi, rel=1e-3)


def test_what_is_too_long_for_jpeg_is_found():
    block = b"some"
    sizes = {"exif": 65_527, "xmp": 65_504, "icc": 255 * 65_519}
    names = {"exif": "Exif", "xmp": "XMP", "icc": "ICC profile"}
    for name, most in sizes.items():
        fits = Portable(**{name: block.ljust(most, b"x")})
        assert jpeg_segments.too_long(fits) == []
        found = jpeg_segments.read_portable(jpeg_segments.portable_segments(fits))
        assert getattr(found, name) == getattr(fits, name)
        over = Portable(**{name: block.ljust(most + 1, b"x")})
        assert jpeg_segments.too_long(over) == [names[name]]
        parts = jpeg_segments.portable_segments(over)
        assert getattr(jpeg_segments.read_portable(parts), name) is None


def test_icc_parts_in_any_order():
    profile = bytes(range(256)) * 1000
    parts = jpeg_segments.icc_segments(profile)
    assert len(parts) == 4
    assert jpeg_segments.read_portable(parts[::-1]).icc == profile


def test_the_second_picture_of_an_mpo_is_named():
    kept, notes = jpeg_segments.carried(
        [Segment(0xE2, b"MPF\0II*\0"), Segment(0xEE, b"Adobe\0\x64"), Segment(0xFE, b"hi")]
    )
    assert kept == [Segment(0xFE, b"hi")]
    assert notes == ["the further pictures beside the main one (MPO) were left out."]


@pytest.mark.parametrize("bits", range(1, 17))
def test_samples_of_any_bits(bits):
    dtype = np.uint8 if bits <= 8 else np.uint16
    values = np.random.default_rng(bits).integers(0, 2**bits, (7, 13)).astype(dtype)
    values[0, :2] = 0, 2**bits - 1
    if bits not in (8, 16):
        rows = pack_bits(values, bits)
        text = "".join(f"{value:0{bits}b}" for value in values[3])
        assert rows[3].tobytes() == int(text.ljust(len(rows[3]) * 8, "0"), 2).to_bytes(
            len(rows[3]), "big"
        )
        assert np.array_equal(unpack_bits(rows, bits, 13), values)
    wide = widened(values, bits)
    assert (wide.min(), wide.max()) == (0, np.iinfo(dtype).max)
    assert np.array_equal(narrowed(wide, bits), values)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_in_exif(orientation, order):
    kind = Kind(order)
    page = Directory({271: tiff_tags.Tag(2, 2, b"x\0"), 274: number_tag(kind, 3, orientation)})
    block = tiff_tags.write_directories(kind, [(page, (273, 279), [])])
    valid = orientation if 1 <= orientation <= 8 else 1
    assert orientation_of(block) == valid
    small = exif_with_orientation(valid)
    assert orientation_of(small) == valid
    assert (small is None) == (valid == 1)


def test_orientation_of_damaged_exif():
    for block in (None, b"", b"II*\0", b"junkjunk", b"II*\0" + struct.pack("<I", 2**32 - 1)):
        assert orientation_of(block) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_pillow_does(orientation):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    image = Image.fromarray(pixels)
    image.getexif()[274] = orientation
    assert np.array_equal(upright(pixels, orientation), ImageOps.exif_transpose(image))
