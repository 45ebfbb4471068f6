"""Animated PNG: frames as a browser shows them, by a reference of a few plain lines."""

import io
import struct
import zlib

import numpy as np
import pytest
from image_files import pixels_of
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats.codec import decode_image, encode_image
from adnet.images.formats.png_chunks import Chunk, join_chunks, split_chunks

SIZE = (12, 9)


def rows(pixels):
    stored = pixels.astype(">u2") if pixels.dtype == np.uint16 else pixels
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in stored))


def apng(frames, dtype="u1", channels=4, still=None):
    """Frames: (left, top, width, height, dispose, blend); returns the file and the parts."""
    depth, colour = 8 * np.dtype(dtype).itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = [
        Chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, depth, colour, 0, 0, 0)),
        Chunk(b"acTL", struct.pack(">II", len(frames), 5)),
    ]
    parts, number = [], 0
    if still is not None:
        chunks.append(Chunk(b"IDAT", rows(still)))
    for at, (left, top, width, height, dispose, blend) in enumerate(frames):
        part = pixels_of((height, width, channels), dtype, at)
        if channels in (2, 4):
            white = np.iinfo(dtype).max
            part[..., -1] = np.where(part[..., -1] % 3 == 0, 0, white)
        parts.append(part)
        control = (number, width, height, left, top, at + 1, 100, dispose, blend)
        chunks.append(Chunk(b"fcTL", struct.pack(">5I2H2B", *control)))
        number += 1
        if at == 0 and still is None:
            chunks.append(Chunk(b"IDAT", rows(part)))
        else:
            data = rows(part)
            for piece in (data[:7], data[7:]):  # a frame may have several chunks
                chunks.append(Chunk(b"fdAT", struct.pack(">I", number) + piece))
                number += 1
    return join_chunks(chunks), parts


def shown(frames, parts):
    """What a browser shows, pixel by pixel."""
    canvas = np.zeros((SIZE[1], SIZE[0], parts[0].shape[2]), parts[0].dtype)
    pictures = []
    for at, ((left, top, width, height, dispose, blend), part) in enumerate(
        zip(frames, parts, strict=True)
    ):
        before = canvas.copy()
        for y in range(height):
            for x in range(width):
                if blend == 0 or part[y, x, -1] > 0:
                    canvas[top + y, left + x] = part[y, x]
        pictures.append(canvas.copy())
        if dispose == 1 or (dispose == 2 and at == 0):
            canvas[top : top + height, left : left + width] = 0
        elif dispose == 2:
            canvas = before
    return pictures


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("blend", [0, 1])
@pytest.mark.parametrize("disposals", [(0, 0, 0), (1, 1, 1), (2, 2, 2), (0, 1, 2), (0, 2, 1)])
def test_frames_are_composed(dtype, channels, blend, disposals):
    places = [(0, 0, *SIZE), (3, 2, 5, 6), (1, 0, 10, 3), (0, 0, 2, 2)]
    frames = [(*place, way, blend) for place, way in zip(places, (*disposals, 0), strict=True)]
    data, parts = apng(frames, dtype, channels)
    first = decode_image(data, "a")
    again = encode_image(first.frames, first)
    second = decode_image(again, "b")
    for file in (first, second):
        assert all(map(np.array_equal, file.frames, shown(frames, parts)))
        assert file.layout.animation.delays == ((1, 100), (2, 100), (3, 100), (4, 100))
        assert file.layout.animation.plays == 5
    if dtype == "u1" and channels == 4:
        with Image.open(io.BytesIO(again)) as image:
            assert image.n_frames == 4
            for number, frame in enumerate(first.frames):
                image.seek(number)
                assert np.array_equal(np.asarray(image), frame)


def test_opaque_frames_stay_opaque():
    frames = [(0, 0, *SIZE, 1, 1), (0, 0, *SIZE, 0, 0)]
    for channels in (1, 3):
        data, parts = apng(frames, channels=channels)
        file = decode_image(data, "a")
        assert all(
            np.array_equal(a, np.squeeze(b)) for a, b in zip(file.frames, parts, strict=True)
        )


def test_a_cleared_canvas_gives_alpha():
    data, parts = apng([(0, 0, *SIZE, 1, 0), (3, 2, 5, 6, 0, 0)], channels=3)
    first, second = decode_image(data, "a").frames
    assert np.array_equal(first[..., :3], parts[0])
    assert (first[..., 3] == 255).all()
    assert second[..., 3].sum() == 255 * 5 * 6


def test_the_still_picture_is_no_frame():
    still = pixels_of((SIZE[1], SIZE[0], 4), "u1", 9)
    frames = [(0, 0, *SIZE, 0, 0), (3, 2, 5, 6, 0, 0)]
    data, parts = apng(frames, still=still)
    first = decode_image(data, "a")
    second = decode_image(encode_image(first.frames, first), "b")
    for file in (first, second):
        assert np.array_equal(file.pixels, still)
        assert all(map(np.array_equal, file.more, shown(frames, parts)))
        assert file.layout.animation.still
        assert len(file.layout.animation.delays) == 2


@pytest.mark.parametrize(
    "frame", [(1, 0, *SIZE, 0, 0), (0, 0, 5, 5, 0, 0), (0, 1, *SIZE, 0, 0), (0, 0, 0, 5, 0, 0)]
)
def test_senseless_frames_are_damage(frame):
    data, _ = apng([frame])
    with pytest.raises(ImageError, match="damaged"):
        decode_image(data, "a")


TEXTS = [Chunk(b"tEXt", b"k\0%d" % number) for number in range(3)]
COLOURS = [Chunk(b"gAMA", struct.pack(">I", 45455)), Chunk(b"pHYs", struct.pack(">IIB", 9, 9, 1))]


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("animated", [False, True])
def test_metadata_stays_wherever_it_stands(still, animated):
    """Between any two chunks; what stands before the pixels stays before them."""
    data, _ = apng([(0, 0, *SIZE, 0, 0), (3, 2, 5, 6, 0, 0)] if animated else [(0, 0, *SIZE, 0, 0)],
                   still=pixels_of((SIZE[1], SIZE[0], 4), "u1", 9) if still else None)  # fmt: skip
    chunks, _ = split_chunks(data)
    first = next(at for at, chunk in enumerate(chunks) if chunk.kind == b"IDAT")
    for at in range(1, len(chunks) + 1):
        new = [*TEXTS, *COLOURS] if at <= first else TEXTS
        file = decode_image(join_chunks([*chunks[:at], *new, *chunks[at:]]), "a")
        assert file.notes == ()
        assert encode_image(file.frames, file)
        again, _ = split_chunks(encode_image(file.frames, file))
        start = next(at for at, chunk in enumerate(again) if chunk.kind == b"IDAT")
        assert [one for one in again if one in new] == new
        assert all((again.index(one) < start) == (at <= first) for one in new)


def test_what_is_needed_and_unknown_is_refused_wherever_it_stands():
    data, _ = apng([(0, 0, *SIZE, 0, 0), (3, 2, 5, 6, 0, 0)])
    chunks, _ = split_chunks(data)
    for at in range(1, len(chunks) + 1):
        with pytest.raises(ImageError, match="chunk NEED"):
            decode_image(join_chunks([*chunks[:at], Chunk(b"NEED", b""), *chunks[at:]]), "a")
