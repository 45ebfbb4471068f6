"""Damaged and malicious files: an ImageError with the reason, soon, in little memory."""

import os
import socket
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from image_files import make, pixels_of

from adnet.errors import ImageError
from adnet.images.formats.codec import decode_image, encode_image
from adnet.images.formats.image_file import ImageFile
from adnet.images.formats.png_chunks import Chunk, join_chunks
from adnet.images.formats.tiff_tags import Directory, Kind, Tag, number_tag, write_directories
from adnet.images.image import read_image
from adnet.runtime.jobs import Job
from adnet.runtime.loading import Limits, examine, load

KINDS = ["PNG", "TIFF", "JPEG", "WEBP", "BMP", "GIF"]


def large(kind):
    """A file of some kilobytes."""
    pixels = pixels_of((60, 50, 3), "u1")
    return encode_image(pixels, ImageFile(pixels, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_at_every_kilobyte(kind):
    data = large(kind)
    assert len(data) > 2000
    for length in [*range(0, len(data) - 8, 1024), 1, 2, 8, 13, 30, 60, len(data) - 20]:
        with pytest.raises(ImageError, match="early|damaged|not an image|empty|not a"):
            decode_image(data[:length], "a")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metadata", [False, True])
def test_any_byte_may_be_wrong(kind, metadata):
    """Whatever is wrong, it is an ImageError or an image of no other size than it says."""
    data = bytearray(make(kind, "RGB", metadata))
    random = np.random.default_rng(0)
    places = [*range(min(60, len(data))), *random.integers(0, len(data), 40)]
    for place in places:
        for value in (0, 255, data[place] ^ 1):
            broken = bytes(data[:place]) + bytes((value,)) + bytes(data[place + 1 :])
            try:
                file = decode_image(broken, "a", 4_000_000)
            except ImageError as err:
                assert str(err).startswith("a: ")  # noqa: PT017
            else:
                encode_image(file.frames, file)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_names_are_no_matter(tmp_path, kind):
    for suffix in (".png", ".tif", ".jpg", ".webp", ".bmp", ".gif"):
        (tmp_path / f"a{suffix}").write_bytes(large(kind))
        assert read_image(tmp_path / f"a{suffix}").format == kind


def header_only(kind, side):
    if kind == "PNG":
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        return join_chunks([Chunk(b"IHDR", head), Chunk(b"IDAT", zlib.compress(bytes(99)))])
    if kind == "BMP":
        head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 99, 0, 0, 54) + head + bytes(40)
    if kind == "GIF":
        return b"GIF89a" + struct.pack("<HH", side, side) + large("GIF")[10:]
    if kind == "TIFF":
        return tiff_with({256: side, 257: side})
    if kind == "WEBP":
        size = (side - 1).to_bytes(3, "little") * 2
        body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size + large("WEBP")[12:]
        return b"RIFF" + struct.pack("<I", len(body)) + body
    data = bytearray(large("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def tiff_with(tags, segments=(b"abc",), types=None):
    kind = Kind()
    base = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 277: 1, 278: 4} | tags
    page = Directory({code: number_tag(kind, 4, value) for code, value in base.items()})
    page.tags |= types or {}
    return write_directories(kind, [(page, (273, 279), segments)])


@pytest.mark.parametrize("kind", KINDS)
def test_huge_headers_cost_no_memory(kind):
    data = header_only(kind, 16_000 if kind == "WEBP" else 60_000)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="--max-pixels"):
            decode_image(data, "a", 1_000_000)
        try:
            decode_image(header_only(kind, 2000), "a", 30_000_000)
        except ImageError:
            pass
        else:
            assert kind in ("JPEG", "GIF")  # their decoders fill up what is missing
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


def test_pages_and_frames_count_together():
    pixels = pixels_of((100, 100), "u1")
    data = encode_image([pixels] * 5, ImageFile(pixels, "TIFF", more=(pixels,) * 4))
    with pytest.raises(ImageError, match="in 5 frames or pages .* --max-pixels 50000"):
        decode_image(data, "a", 49_999)
    assert len(decode_image(data, "a", 50_000).frames) == 5


def test_zip_bombs_stay_small():
    bomb = zlib.compress(bytes(100_000_000), 9)
    head = Chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    rows = Chunk(b"IDAT", zlib.compress(bytes(20)))
    files = [
        join_chunks([head, Chunk(b"IDAT", bomb)]),
        join_chunks([head, Chunk(b"iCCP", b"x\0\0" + bomb), rows]),
        join_chunks([head, Chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb), rows]),
        join_chunks([head, Chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb), rows]),
        tiff_with({259: 8}, [bomb]),
    ]
    tracemalloc.start()
    try:
        for data in files:
            file = decode_image(data, "a")
            assert file.pixels.shape == (4, 4)
            assert encode_image(file.frames, file)
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "tags",
    [
        {256: 2**31, 257: 2}, {277: 60_000}, {258: 0}, {258: 99}, {278: 0}, {278: 2**31},
        {322: 65_000, 323: 65_000}, {259: 7}, {259: 5}, {259: 50000}, {256: 0}, {284: 2, 277: 3},
        {262: 3}, {262: 3, 320: 7}, {317: 9},
    ],
)  # fmt: skip
def test_senseless_tiff_tags(tags):
    with pytest.raises(ImageError):
        decode_image(tiff_with(tags), "a")


def test_pages_that_form_a_circle():
    data = bytearray(tiff_with({}, [bytes(16)]))
    data[-4:] = data[4:8]
    with pytest.raises(ImageError, match="circle"):
        decode_image(bytes(data), "a")


def test_a_bad_tag_costs_the_tag_and_a_line():
    good = tiff_with({}, [bytes(16)])
    bad = {65001: Tag(1, 2**31, b"abc"), 34665: number_tag(Kind(), 4, 99_999), 305: Tag(99, 1, b"")}
    for code, tag in bad.items():
        file = decode_image(tiff_with({}, [bytes(16)], {code: tag}), "a")
        assert np.array_equal(file.pixels, decode_image(good, "a").pixels)
        assert len(file.notes) == 1
        assert "left out" in file.notes[0]


@pytest.mark.parametrize(
    "exif", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"junk" * 20, bytes(70_000)]
)
@pytest.mark.parametrize("target", ["PNG", "TIFF", "JPEG", "WEBP", "BMP"])
def test_bad_exif_and_profiles_never_cost_the_image(exif, target):
    pixels = pixels_of((8, 8, 3), "u1")
    plain = ImageFile(pixels, "PNG")
    chunks = [Chunk(b"eXIf", exif), Chunk(b"iCCP", b"no profile"), Chunk(b"pHYs", b"short")]
    data = encode_image(pixels, plain)
    data = data[:33] + join_chunks(chunks)[8:-12] + data[33:]
    file = decode_image(data, "a")
    again = decode_image(encode_image(pixels, file, target), "b")
    assert again.pixels.shape == pixels.shape
    assert decode_image(encode_image(pixels, file), "c").layout == file.layout


def test_a_damaged_chunk_of_metadata_is_left_out():
    data = make("PNG", "RGB", metadata=True)
    at = data.index(b"parameters")
    file = decode_image(data[:at] + b"P" + data[at + 1 :], "a")
    assert file.notes == ("the chunk tEXt is damaged and was left out.",)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.png"))
        for name in ("pipe", "folder", "socket", "loop", "gone"):
            with pytest.raises(ImageError, match="not a file|cannot be read|no such file"):
                read_image(tmp_path / f"{name}.png")
    with pytest.raises(ImageError, match="not a file"):
        read_image(type(tmp_path)("/dev/zero"))


def test_files_too_large_for_any_image_are_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ImageError, match="1000000 MB are too much"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\0\0\0\x18ftypheic", "heif-dec"), (b"\0\0\0\x18ftypavif", "avifdec"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heif-dec"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "avifdec"),
        (b"\0\0\0\x18ftypcrx ", "camera raw"), (b"II*\0\x10\0\0\0CR\x02\0", "camera raw"),
        (b"FUJIFILMCCD-RAW ", "camera raw"), (b"\xff\x0a", "djxl"), (b"8BPS", "Photoshop"),
        (b"P6\n", "not an image"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(start, words):
    with pytest.raises(ImageError, match=words):
        decode_image(start + bytes(40), "a")


@pytest.mark.parametrize(
    ("marker", "bits", "words"),
    [(0xC1, 12, "a JPEG of 12 bits"), (0xC2, 12, "of 12 bits"), (0xC3, 8, "a lossless JPEG"),
     (0xC3, 16, "a lossless JPEG"), (0xCB, 8, "a lossless JPEG")],
)  # fmt: skip
def test_rare_jpegs_are_named(marker, bits, words):
    data = bytearray(make("JPEG", "RGB", metadata=True))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    with pytest.raises(ImageError, match=f"{words}, which is not supported. Convert"):
        decode_image(bytes(data), "a")


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "GIF", "WEBP", "PNG", "TIFF"])
def test_bombs_are_called_bombs(tmp_path, kind):
    """Where memory is short, too, --max-pixels comes first."""
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(header_only(kind, 16_000 if kind == "WEBP" else 60_000))
    with pytest.raises(ImageError, match="--max-pixels"):
        load(examine(Job(path, tmp_path / path.name), Limits(), 2**20, lambda *_: 512), Limits())
