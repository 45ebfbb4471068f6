"""BMP with run lengths: upright, whole or cut short, as other programs show them."""

import io
import struct

import numpy as np
import PIL
import pytest
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats.codec import decode_image, encode_image

PILLOW = int(PIL.__version__.partition(".")[0])
WIDTH, HEIGHT = 13, 7
LINE, END = b"\0\0", b"\0\1"
WIDE = np.random.default_rng(5).integers(0, 16, (HEIGHT, WIDTH), np.uint8).repeat(3, 1)
INDICES = WIDE[:, :WIDTH]
COLOUR = np.random.default_rng(6).integers(0, 256, (16, 4), np.uint8)
GRAY = np.repeat(np.arange(0, 256, 17, dtype=np.uint8)[:, None], 4, 1)


def rle(body, bits, palette=COLOUR, top_down=False):
    height = -HEIGHT if top_down else HEIGHT
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, bits, 1 if bits == 8 else 2,
                       len(body), 0, 0, len(palette), 0)  # fmt: skip
    start = 14 + 40 + palette.nbytes
    file = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
    return file + head + palette.tobytes() + body


def halves(row):
    padded = np.append(row, [0] * (len(row) % 2)).astype(np.uint8)
    return (padded[::2] << 4 | padded[1::2]).tobytes()


def runs(row, bits):
    """One run for each pair of pixels; with 8 bits, for each pixel."""
    if bits == 8:
        return b"".join(bytes((1, value)) for value in row)
    pairs = (row[at : at + 2] for at in range(0, len(row), 2))
    return b"".join(bytes((len(pair),)) + halves(pair) for pair in pairs)


def literal(row, bits):
    """As they are, in pieces of an odd number of pixels; what is too short for one, as a run."""
    parts = []
    for at in range(0, len(row), 5):
        piece = row[at : at + 5]
        if len(piece) < 3:
            parts.append(runs(piece, bits))
            continue
        stored = piece.tobytes() if bits == 8 else halves(piece)
        parts.append(bytes((0, len(piece))) + stored + bytes(len(stored) % 2))
    return b"".join(parts)


def shown(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("palette", [COLOUR, GRAY])
@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("code", [runs, literal])
@pytest.mark.parametrize("ends", ["line and end", "end", "line", "neither", "more"])
def test_run_lengths_are_upright(code, bits, top_down, palette, ends):
    rows = INDICES if top_down else INDICES[::-1]
    body = LINE.join(code(row, bits) for row in rows)
    body += {"line and end": LINE + END, "end": END, "line": LINE, "more": END + b"more"}.get(
        ends, b""
    )
    data = rle(body, bits, palette, top_down)
    file = decode_image(data, "a")
    expected = palette[INDICES][..., 2::-1]
    # Older Pillows misread literal runs of 4 bits.
    assert np.array_equal(shown(data), expected) or (bits == 4 and PILLOW < 13)
    for one in (data, encode_image(file.pixels, file), encode_image(file.pixels, file, "PNG")):
        pixels = decode_image(one, "b").pixels
        assert np.array_equal(pixels if pixels.ndim == 3 else np.dstack([pixels] * 3), expected)
        assert one is data or np.array_equal(shown(one), expected)
    assert file.notes[-1] == "the RLE compression was undone."
    assert [note.split()[0] for note in file.notes[:-1]] == ["4"] * (bits == 4) + ["the"] * (
        palette is COLOUR and bits == 8
    )


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("rows", range(HEIGHT))
def test_what_an_early_end_leaves_out_is_the_first_colour(bits, rows):
    body = b"".join(runs(row, bits) + LINE for row in INDICES[::-1][:rows])
    for rest in (END, runs(INDICES[::-1][rows][:4], bits) + END):
        expected = np.zeros_like(INDICES)
        expected[:rows] = INDICES[::-1][:rows]
        expected[rows, : 4 * (rest != END)] = INDICES[::-1][rows][: 4 * (rest != END)]
        pixels = decode_image(rle(body + rest, bits), "a").pixels
        assert np.array_equal(pixels, COLOUR[expected[::-1]][..., 2::-1])


@pytest.mark.parametrize("bits", [8, 4])
def test_jumps_and_runs_beyond_the_border(bits):
    five, six = (0x55, 0x66) if bits == 4 else (5, 6)
    body = bytes([0, 2, 3, 1, 4, five, 0, 2, 1, 2, 200, six]) + LINE
    body += bytes([0, 2, 20, 0, 3, five]) + LINE + bytes([0, 2, 0, 9, 3, five])
    expected = np.zeros_like(INDICES)
    expected[1, 3:7] = 5
    expected[3, 8:] = 6
    pixels = decode_image(rle(body, bits, GRAY), "a").pixels
    assert np.array_equal(pixels, expected[::-1] * 17)


@pytest.mark.parametrize("bits", [8, 4])
def test_data_that_end_before_the_last_row_are_damage(bits):
    whole = LINE.join(literal(row, bits) for row in INDICES)
    for length in range(len(whole) - 1):
        with pytest.raises(ImageError, match="pixels are missing"):
            decode_image(rle(whole[:length], bits), "a")
