"""Good TIFFs of old and odd programs: lengths that are not told, old palettes, JPEG by planes."""

import io
import struct
import zlib

import numpy as np
import pytest
from image_helpers import HEIGHT, PIXELS, WIDTH, copy, packed, tiff
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats import tiff_tags
from adnet.images.formats.source import FileBytes
from adnet.images.formats.tiff_rows import TiffSource
from adnet.images.formats.tiff_tags import Directory, Kind, Tag, number_tag
from adnet.images.image import read_image

SMOOTH = np.asarray(Image.fromarray(PIXELS[:4, :5, :4]).resize((WIDTH, HEIGHT), 2))


def in_bands(path):
    with path.open("rb") as file:
        source = TiffSource(FileBytes(file), 10**6)
        return np.concatenate(list(source.bands(0)))


def file_of(path, segments, codes=(273, 279), *, order="<", big=False, **tags):
    """Write a TIFF of given segments; a tag that is None is left out, counts included."""
    kind = Kind(order, big=big)
    entries = {256: (4, WIDTH), 257: (4, HEIGHT), 258: (3, 8), 259: (3, 1), 262: (3, 1)}
    page = Directory({code: number_tag(kind, *value) for code, value in entries.items()})
    data = bytearray(tiff_tags.start_of_file(kind))
    places = []
    for segment in segments:
        places.append(len(data))
        data += segment
    data += bytes(len(data) % 2)
    long = 16 if big else 4
    page.tags[codes[0]] = number_tag(kind, long, *places)
    page.tags[codes[1]] = number_tag(kind, long, *map(len, segments))
    for name, value in tags.items():
        code = int(name[1:])
        page.tags.pop(code, None)
        if value is not None:
            type_ = 4 if code in (278, 279, 325) else 3
            page.tags[code] = number_tag(kind, type_, *np.ravel(value).tolist())
    writer = tiff_tags.Writer(kind, len(data))
    writer.page(page, codes, [])
    struct.pack_into(order + writer.letter, data, 8 if big else 4, writer.first)
    path.write_bytes(bytes(data) + bytes(writer.out))
    return path


UNTOLD = {
    "missing": lambda counts: None,
    "zero": lambda counts: [0] * len(counts),
    "the last zero": lambda counts: [*counts[:-1], 0],
    "too few": lambda counts: counts[:1],
}


@pytest.mark.parametrize("told", UNTOLD)
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("rows", [None, 5, HEIGHT])
@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (3, 8), (3, 16), (1, 1), (1, 4)])
@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_lengths_of_uncompressed_strips(tmp_path, told, separate, rows, channels, bits, order, big):
    if separate and channels == 1:
        return
    stored = PIXELS[..., :channels].astype(order + ("u2" if bits == 16 else "u1"))
    if bits < 8:
        stored = stored & (2**bits - 1)
    planes = [stored[..., i : i + 1] for i in range(channels)] if separate else [stored]
    step = rows or HEIGHT
    segments = [
        (packed(part[..., 0], bits) if bits < 8 else np.ascontiguousarray(part)).tobytes()
        for plane in planes
        for part in (plane[top : top + step] for top in range(0, HEIGHT, step))
    ] if bits >= 8 else [
        packed(stored[..., 0], bits)[top : top + step].tobytes() for top in range(0, HEIGHT, step)
    ]  # fmt: skip
    counts = UNTOLD[told]([len(one) for one in segments])
    tags = {"t278": rows} if rows else {}
    tags |= {"t258": [bits] * channels, "t277": channels, "t262": 2 if channels == 3 else 1}
    tags |= {"t284": 2 if separate else 1, "t279": counts}
    source = file_of(tmp_path / "a.tif", segments, order=order, big=big, **tags)
    expected = stored * (255 // (2**bits - 1)) if bits < 8 else stored
    expected = np.squeeze(expected).astype(expected.dtype.newbyteorder("="))
    assert np.array_equal(read_image(source).pixels, expected)
    assert np.array_equal(np.squeeze(in_bands(source)), expected)
    assert np.array_equal(read_image(copy(source, tmp_path / "b.tif")).pixels, expected)


@pytest.mark.parametrize("told", UNTOLD)
@pytest.mark.parametrize("separate", [False, True])
def test_lengths_of_uncompressed_tiles(tmp_path, told, separate):
    stored = PIXELS[..., :3]
    full = np.pad(stored, ((0, 32 - HEIGHT), (0, 48 - WIDTH), (0, 0)))
    planes = [full[..., i : i + 1] for i in range(3)] if separate else [full]
    segments = [
        np.ascontiguousarray(plane[top : top + 16, left : left + 16]).tobytes()
        for plane in planes
        for top in (0, 16)
        for left in (0, 16, 32)
    ]
    source = file_of(
        tmp_path / "a.tif", segments, (324, 325), t322=16, t323=16, t258=[8] * 3, t277=3, t262=2,
        t284=2 if separate else 1, t325=UNTOLD[told]([len(one) for one in segments]),
    )  # fmt: skip
    assert np.array_equal(read_image(source).pixels, stored)
    assert np.array_equal(in_bands(source), stored)


@pytest.mark.parametrize("step", [11, HEIGHT])
def test_lengths_that_are_too_small_are_damaged(tmp_path, step):
    gray = np.ascontiguousarray(PIXELS[..., 0])
    strips = [gray[top : top + step].tobytes() for top in range(0, HEIGHT, step)]
    counts = [300, *map(len, strips[1:])]
    source = file_of(tmp_path / "a.tif", strips, t278=step, t279=counts)
    for read in (read_image, in_bands):
        with pytest.raises(ImageError, match="pixels are missing"):
            read(source)


@pytest.mark.parametrize("told", ["missing", "zero"])
def test_what_is_cut_off_or_packed_is_damaged_all_the_same(tmp_path, told):
    gray = np.ascontiguousarray(PIXELS[..., 0]).tobytes()
    source = file_of(tmp_path / "a.tif", [gray], t257=60_000, t278=60_000,
                     t279=UNTOLD[told]([1]))  # fmt: skip
    with pytest.raises(ImageError, match="damaged"):
        read_image(source)
    source = file_of(tmp_path / "b.tif", [zlib.compress(gray)], t259=8, t279=UNTOLD[told]([1]))
    with pytest.raises(ImageError, match="damaged"):
        read_image(source)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("alpha", [False, True])
def test_palettes_of_8_bits(tmp_path, bits, alpha):
    if alpha and bits != 8:
        return
    values = PIXELS[..., 0] & (2**bits - 1)
    colours = np.random.default_rng(2).integers(0, 256, (3, 2**bits), np.uint8)
    rows = np.dstack([values, PIXELS[..., 1]]) if alpha else packed(values, bits)
    tags = {"t338": 2, "samples": 2} if alpha else {"samples": 1}
    for factor in (1, 256, 257):
        table = (colours.astype(int) * factor).ravel().tolist()
        source = tiff(tmp_path / "a.tif", rows, bits=bits, t262=3, t320=table, **tags)
        assert np.array_equal(read_image(source).pixels[..., :3], colours.T[values])
        assert np.array_equal(in_bands(source)[..., :3], colours.T[values])
    black = tiff(tmp_path / "a.tif", rows, bits=bits, t262=3, t320=[0] * 3 * 2**bits, **tags)
    assert not read_image(black).pixels[..., :3].any()


def jpeg_of(plane):
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(plane)).save(out, "JPEG", quality=95)
    return out.getvalue()


@pytest.mark.parametrize("strip", [8, HEIGHT])
@pytest.mark.parametrize(
    ("channels", "tags"),
    [
        (2, {"t262": 1, "t338": 2}), (3, {"t262": 2}), (4, {"t262": 2, "t338": 2}),
        (4, {"t262": 5}), (3, {"t262": 1, "t338": [2, 0]}), (2, {"t262": 0, "t338": 2}),
    ],
)  # fmt: skip
def test_jpeg_with_a_plane_for_each_sample(tmp_path, strip, channels, tags):
    """Equal to the same planes without JPEG."""
    planes = [SMOOTH[..., i] for i in range(channels)]
    parts = [plane[top : top + strip] for plane in planes for top in range(0, HEIGHT, strip)]
    more = {"t277": channels, "t258": [8] * channels, "t284": 2, "t278": strip, **tags}
    packed_ = file_of(tmp_path / "a.tif", [jpeg_of(part) for part in parts], t259=7, **more)
    decoded = [np.asarray(Image.open(io.BytesIO(jpeg_of(part)))).tobytes() for part in parts]
    plain = file_of(tmp_path / "b.tif", decoded, **more)
    found, expected = read_image(packed_), read_image(plain)
    assert np.array_equal(found.pixels, expected.pixels)
    extras = [file.layout.pages[0].extras for file in (found, expected)]
    assert np.array_equal(*extras) or extras == [None, None]
    assert np.array_equal(in_bands(packed_), in_bands(plain))
    assert np.array_equal(read_image(copy(packed_, tmp_path / "c.tif")).pixels, found.pixels)


def test_ycbcr_in_jpeg_by_planes_is_refused_by_name(tmp_path):
    planes = [jpeg_of(SMOOTH[..., i]) for i in range(3)]
    source = file_of(
        tmp_path / "a.tif", planes, t259=7, t262=6, t277=3, t258=[8] * 3, t284=2, t278=HEIGHT
    )
    with pytest.raises(ImageError, match="YCbCr in JPEG with a plane for each .* not supported"):
        read_image(source)


@pytest.mark.parametrize("code", [270, 258, 320, 34675, 65000, 34665])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("big", [False, True])
def test_a_tag_that_is_there_twice_is_told(tmp_path, code, same, big):
    kind = Kind("<", big=big)
    numbers = {256: 8, 257: 1, code: 8, code + 1: 8 if same else 1}
    page = Directory({one: number_tag(kind, 3, number) for one, number in numbers.items()})
    page.tags.setdefault(258, number_tag(kind, 3, 8))
    page.tags[700] = Tag(1, 3, b"<x>")
    data = bytearray(tiff_tags.write_directories(kind, [(page, (273, 279), [bytes(8)])]))
    struct.pack_into("<H", data, data.index(struct.pack("<HH", code + 1, 3)), code)
    (tmp_path / "a.tif").write_bytes(data)
    told = () if same else (f"tag {code} is there twice; the second was left out.",)
    file = read_image(tmp_path / "a.tif")
    assert file.notes == told
    assert file.portable.xmp == b"<x>"


def test_one_bit_is_no_bits(tmp_path):
    for tags in ({"t259": 34712}, {"t339": 2}, {"t339": 3}):
        with pytest.raises(ImageError, match=r"\b1 bit\b"):
            read_image(tiff(tmp_path / "a.tif", packed(PIXELS[..., 0] & 1, 1), bits=1, **tags))
    source = tiff(tmp_path / "a.tif", packed(PIXELS[..., 0] & 1, 1), bits=1, t262=2, t277=1)
    with pytest.raises(ImageError, match=r"samples of 1 bit, 1 per pixel"):
        read_image(source)
