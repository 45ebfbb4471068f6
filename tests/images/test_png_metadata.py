"""PNG chunks that count in pixels, or hold nothing that another format could take."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import exif_block, pixels_of
from PIL import Image

from adnet.images.formats.codec import check_writable, decode_image, encode_image
from adnet.images.formats.png_chunks import Chunk, join_chunks, split_chunks

TARGETS = {"JPEG": ".jpg", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif"}
SUFFIXES = {**TARGETS, "PNG": ".png"}
KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)]
COLOURS = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)


def png(colour, depth, *chunks):
    bits = depth * (3 if colour == 2 else 1)
    row = b"\0" + bytes(-(-6 * bits // 8))
    head = Chunk(b"IHDR", struct.pack(">IIBBBBB", 6, 5, depth, colour, 0, 0, 0))
    return join_chunks([head, *chunks, Chunk(b"IDAT", zlib.compress(row * 5))])


def chunk_of(data, kind):
    return [chunk.data for chunk in split_chunks(data)[0] if chunk.kind == kind]


@pytest.mark.parametrize(("colour", "depth"), KINDS)
@pytest.mark.parametrize("clear", [False, True])
def test_the_background_is_the_same_colour(colour, depth, clear):
    """The first pixel has that colour, so the result tells what it became."""
    chunks, most = [], (1 << depth) - 1
    if colour == 3:
        value = b"\1"
        chunks.append(Chunk(b"PLTE", COLOURS[: 1 << depth].tobytes()))
        expected = COLOURS[1].astype(int)
    else:
        stored = np.array([most // 3 + 1] if colour == 0 else [3, most // 2, most])
        value = struct.pack(f">{len(stored)}H", *stored)
        expected = stored * 255 // most if depth < 8 else stored
    if clear:
        chunks.append(Chunk(b"tRNS", b"\x80" if colour == 3 else value))
    data = png(colour, depth, *chunks, Chunk(b"bKGD", value))
    file = decode_image(data, "a")
    again = encode_image(file.frames, file)
    (found,) = chunk_of(again, b"bKGD")
    assert struct.unpack(f">{len(expected)}H", found) == tuple(expected)
    assert all("bKGD" not in note for note in file.notes)
    assert chunk_of(encode_image(file.frames, decode_image(again, "b")), b"bKGD") == [found]
    assert "bKGD" in check_writable(file, Path("b.tif"))[0]


@pytest.mark.parametrize(("colour", "depth"), [one for one in KINDS if one[0] == 3 or one[1] < 8])
@pytest.mark.parametrize("value", [b"", b"\0" * 3, b"\0" * 6])
def test_a_damaged_background_is_told(colour, depth, value):
    palette = [Chunk(b"PLTE", COLOURS[: 1 << depth].tobytes())] if colour == 3 else []
    file = decode_image(png(colour, depth, *palette, Chunk(b"bKGD", value)), "a")
    assert not chunk_of(encode_image(file.frames, file), b"bKGD")
    assert file.notes[-1] == "bKGD would be wrong for the new pixels and was left out."


def test_the_histogram_of_a_palette_is_told():
    palette = Chunk(b"PLTE", COLOURS[:4].tobytes())
    file = decode_image(png(3, 2, palette, Chunk(b"hIST", bytes(8))), "a")
    assert file.notes[-1] == "hIST would be wrong for the new pixels and was left out."


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0)), Chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1)),
        Chunk(b"pHYs", b"short"), Chunk(b"iCCP", b"x\0\0garbage"), Chunk(b"iCCP", b""),
        Chunk(b"iCCP", b"x\0\0" + zlib.compress(b"cut off")[:-4]),
        Chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0garbage"), Chunk(b"iTXt", b"XML:com.adobe.xmp"),
    ],
)  # fmt: skip
def test_what_is_not_readable_is_told(chunk, target):
    data = png(2, 8, chunk)
    file = decode_image(data, "a")
    lines = check_writable(file, Path(f"b{TARGETS[target]}"))
    name = chunk.kind.decode()
    assert lines[0] == f"PNG's {name} cannot be carried into {target} and was left out."
    assert check_writable(file, Path("b.png")) == ()
    assert chunk_of(encode_image(file.frames, file), chunk.kind) == [chunk.data]
    assert encode_image(file.frames, file, target)


def test_what_is_there_twice_is_told():
    profile = [Chunk(b"iCCP", name + b"\0\0" + zlib.compress(b"profile")) for name in (b"x", b"y")]
    for chunks in (profile, [Chunk(b"eXIf", exif_block()[6:])] * 2,
                   [Chunk(b"pHYs", struct.pack(">IIB", 9, 9, 1))] * 2,
                   [Chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")] * 2):  # fmt: skip
        lines = check_writable(decode_image(png(2, 8, chunks[0]), "a"), Path("b.tif"))
        assert lines == ()
        (line,) = check_writable(decode_image(png(2, 8, *chunks), "a"), Path("b.tif"))
        assert line.startswith(f"PNG's {chunks[0].kind.decode()} cannot be carried")


@pytest.mark.parametrize("target", [*TARGETS, "PNG"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "exif", [b"garbagegarbage", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\0\0\0", b"II"]
)
def test_damaged_exif_is_kept_as_it_is_or_told(exif, kind, target):
    file = io.BytesIO()
    Image.fromarray(pixels_of((9, 12, 3), "u1")).save(file, kind, exif=b"Exif\0\0" + exif)
    source = decode_image(file.getvalue(), "a")
    lines = check_writable(source, Path(f"b{SUFFIXES[target]}"))
    told = "Exif is damaged and was left out."
    assert lines.count(told) == (kind != target)
    data = encode_image(source.frames, source, target)
    assert decode_image(data, "b").portable.exif == (exif if kind == target else None)
