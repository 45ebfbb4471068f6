"""GIF: frames as a browser shows them, by a reference of a few plain lines."""

import io
import struct
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from image_files import SHAPES, pixels_of
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats.codec import check_writable, decode_image, encode_image
from adnet.images.formats.image_file import ImageFile

SIZE = (8, 6)
WHOLE = (0, 0, *SIZE)
PART = (2, 1, 4, 4)
MISSING = "it ends without a trailer, so pictures may be missing at its end."


def gif(frames, common=True, screen=SIZE, background=1):
    """Frames: (place, disposal, transparent index, own palette, delay, interlaced).

    Returns the file, and what a browser shows: (H, W, 4) of each frame.
    """
    random = np.random.default_rng(0)
    shared = random.integers(0, 256, (4, 3), dtype=np.uint8)
    data = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x81 if common else 0, background, 0)
    data += shared.tobytes() if common else b""
    data += b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x05\0\0" + b"\x21\xfe\x05words\0"
    width = max(screen[0], frames[0][0][0] + frames[0][0][2])
    height = max(screen[1], frames[0][0][1] + frames[0][0][3])
    canvas = np.zeros((height, width, 4), np.uint8)
    shown = []
    for (left, top, across, down), disposal, clear, own, delay, interlaced in frames:
        data += struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2 | (clear is not None), delay,
                            clear or 0, 0)  # fmt: skip
        flags = (0x81 if own else 0) | (0x40 if interlaced else 0)
        data += struct.pack("<BHHHHB", 0x2C, left, top, across, down, flags)
        palette = random.integers(0, 256, (4, 3), dtype=np.uint8)
        data += palette.tobytes() if own else b""
        palette = palette if own else shared
        indices = random.integers(0, 4, (down, across), dtype=np.uint8)
        before = canvas.copy()
        for y, x in product(range(down), range(across)):
            seen = top + y < height and left + x < width
            if seen and indices[y, x] != clear:
                canvas[top + y, left + x] = (*palette[indices[y, x]], 255)
        shown.append(canvas.copy())
        if disposal == 2:
            canvas[top : top + down, left : left + across] = 0
        elif disposal == 3:
            canvas = before
        if interlaced:
            order = [*range(0, down, 8), *range(4, down, 8), *range(2, down, 4),
                     *range(1, down, 2)]  # fmt: skip
            indices = indices[order]
        data += b"\x02" + Image.fromarray(indices).tobytes("gif", "L", 2, 0) + b"\0"
    return data + b";", shown


def assert_shown(data, shown, delays):
    first = decode_image(data, "a")
    copy = encode_image(first.frames, first)
    second = decode_image(copy, "b")
    with Image.open(io.BytesIO(copy)) as image:
        for number, expected in enumerate(shown):
            image.seek(number)
            seen = expected[..., 3] > 0
            for found in (first.frames[number], second.frames[number], image.convert("RGBA")):
                pixels = np.asarray(found)
                if pixels.shape[2] == 4:
                    assert np.array_equal(pixels[..., 3], expected[..., 3])
                else:
                    assert seen.all()
                assert np.array_equal(pixels[..., :3][seen], expected[..., :3][seen])
    assert first.layout.delays == second.layout.delays == delays
    assert b"\x21\xfe\x05words\0" in copy
    assert b"NETSCAPE2.0\x03\x01\x05\0\0" in copy


@pytest.mark.parametrize("disposals", [*product(range(4), range(4)), (7, 0)])
@pytest.mark.parametrize("clear", [None, 2])
@pytest.mark.parametrize("own", [(0, 0, 0), (1, 1, 1), (0, 1, 0), (1, 0, 1)])
def test_frames_are_composed(own, clear, disposals):
    places = (WHOLE, PART, (5, 3, 3, 3))
    frames = [
        (place, disposal, clear, palette, 3 + palette, False)
        for place, disposal, palette in zip(places, (*disposals, 0), own, strict=True)
    ]
    data, shown = gif(frames, common=not all(own))
    assert_shown(data, shown, tuple(3 + palette for palette in own))


@pytest.mark.parametrize("clear", [None, 0, 3])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("place", [WHOLE, PART, (0, 0, 1, 1), (4, 0, 8, 3), (0, 0, 20, 9)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_still_picture_of_any_place(place, own, clear, interlaced):
    """What it leaves uncovered is transparent; one larger than the screen enlarges it."""
    data, shown = gif([(place, 0, clear, own, 0, interlaced)])
    assert_shown(data, shown, (0,))


@pytest.mark.parametrize("place", [(5, 3, 8, 8), (20, 20, 3, 3), (0, 5, 8, 9)])
def test_later_pictures_beyond_the_border_are_cut(place):
    data, shown = gif([(WHOLE, 1, None, False, 2, False), (place, 2, None, True, 2, False),
                       (PART, 0, None, False, 2, True)])  # fmt: skip
    assert_shown(data, shown, (2, 2, 2))


def test_a_screen_of_no_size_takes_that_of_the_first_picture():
    data, shown = gif([((0, 0, 5, 4), 0, None, True, 0, False)], screen=(0, 0))
    assert_shown(data, shown, (0,))


def test_a_picture_without_pixels_is_damage():
    data, _ = gif([(WHOLE, 0, None, False, 0, False), (PART, 0, None, False, 0, False)])
    at = data.rindex(b"\x2c" + struct.pack("<4H", *PART))
    broken = data[: at + 5] + bytes(4) + data[at + 9 :]
    with pytest.raises(ImageError, match="damaged"):
        decode_image(broken, "a")


def test_a_bomb_in_a_later_picture_is_refused():
    data, _ = gif([(WHOLE, 0, None, False, 0, False), (PART, 0, None, False, 0, False)])
    at = data.rindex(b"\x2c" + struct.pack("<4H", *PART))
    broken = data[: at + 5] + b"\xff" * 4 + data[at + 9 :]
    with pytest.raises(ImageError, match="--max-pixels"):
        decode_image(broken, "a", 1_000_000)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP", "JPEG"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alpha", [(255,), (0, 255), (0, 1, 255), (254,)])
def test_what_another_format_loses_in_a_gif_is_told(kind, shape, alpha):
    pixels = pixels_of(shape, "u1")
    clear = len(shape) > 2 and shape[2] in (2, 4)
    if clear:
        pixels[..., -1] = np.resize(alpha, shape[:2])
    try:
        file = decode_image(encode_image(pixels, ImageFile(pixels, kind)), "a")
    except ImageError:  # no such kind in that format
        return
    told = check_writable(file, Path("b.gif"))
    colours = [line for line in told if "a palette of at most 256" in line]
    partly = [line for line in told if "opaque or clear" in line]
    assert len(colours) == (file.pixels.ndim > 2)
    assert len(partly) == (clear and alpha in ((0, 1, 255), (254,)))
    assert len(told) == len(colours) + len(partly)
    again = decode_image(encode_image(file.frames, file, "GIF"), "b")
    if not colours:
        assert np.array_equal(again.pixels[..., 0], file.pixels)
    assert check_writable(again, Path("c.gif")) == ()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_missing_trailer_costs_nothing_but_a_line(count, interlaced):
    """Whatever whole block the file ends with; cut anywhere else, it is damaged."""
    data, _ = gif([(WHOLE, 1, None, True, 3, interlaced)] * count)
    whole = decode_image(data, "a")
    for rest in (b"", b"\x21\xfe\x05after\0"):
        file = decode_image(data[:-1] + rest, "a")
        assert all(map(np.array_equal, file.frames, whole.frames))
        assert len(file.frames) == count
        assert file.notes == (*whole.notes, MISSING)
        again = encode_image(file.frames, file)
        assert again.endswith(b";")
        assert decode_image(again, "b").notes == whole.notes
    ends = set()
    for length in range(1, len(data) - 1):
        try:
            part = decode_image(data[:length], "a")
        except ImageError:
            continue
        ends.add(len(part.frames))
        assert part.notes[-1] == MISSING
        assert all(map(np.array_equal, part.frames, whole.frames))
    assert ends == set(range(1, count + 1))
    assert decode_image(data[:-2], "a").notes == (*whole.notes, MISSING)


def test_pixels_that_end_with_any_block_but_the_last_are_damaged():
    pixels = pixels_of((60, 50), "u1")
    data = encode_image(pixels, ImageFile(pixels, "GIF"))
    at = data.index(b"\x2c" + bytes(4)) + 11 + 768
    ends = []
    while data[at]:
        at += 1 + data[at]
        ends.append(at)
    assert len(ends) > 9
    for end in ends[:-1]:
        with pytest.raises(ImageError, match="damaged"):
            decode_image(data[:end], "a")
    assert np.array_equal(decode_image(data[: ends[-1]], "a").pixels[..., 0], pixels)
