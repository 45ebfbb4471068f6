"""JPEG of every subsampling and colour space: coded as it was, or a line says what changed."""

import io
import struct
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adnet.images.formats.codec import check_writable, decode_image, encode_image
from adnet.images.formats.jpeg_segments import Segment, join_segments, split_segments
from adnet.images.levels import to_levels
from adnet.images.synthetic import render

SIZE = (64, 48)
PIXELS = to_levels(render(SIZE[1], SIZE[0], 3, 0))
TABLES = [[2 + number + step // 4 for step in range(64)] for number in range(4)]
SIDES = (1, 2, 4)
FACTORS = [(one, two, two) for one, two in product(product(SIDES, SIDES), repeat=2)
           if one[0] * one[1] + 2 * two[0] * two[1] <= 10]  # fmt: skip
FACTORS += [((2, 2), (1, 1), (2, 1)), ((2, 1), (1, 1), (2, 1)), ((3, 1), (1, 1), (1, 1)),
            ((1, 2), (1, 1), (1, 2))]  # fmt: skip
NAMES = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0",
         (4, 2): "4:1:0"}  # fmt: skip


def saved(image, **how):
    file = io.BytesIO()
    image.save(file, "JPEG", **how)
    return file.getvalue()


def sampled(factors):
    """A flat JPEG with these sampling factors: each block is two codes, no step and no detail."""
    gray = saved(Image.new("RGB", SIZE, (128,) * 3), qtables=TABLES[:3], subsampling=0)
    segments, _, _ = split_segments(gray)
    parts = []
    for segment in segments:
        data = segment.data
        if segment.marker == 0xC0:
            codes = b"".join(bytes((at + 1, one << 4 | two, at))
                             for at, (one, two) in enumerate(factors))  # fmt: skip
            data = data[:6] + codes
        parts.append(Segment(segment.marker, data))
    unit = [8 * max(side) for side in zip(*factors, strict=True)]
    count = -(-SIZE[0] // unit[0]) * -(-SIZE[1] // unit[1])
    blocks = [one * two for one, two in factors]
    bits = ("001010" * blocks[0] + "0000" * (blocks[1] + blocks[2])) * count
    bits += "1" * (-len(bits) % 8)
    scan = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    head = bytes((3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0))
    scans = b"\xff\xda" + struct.pack(">H", len(head) + 2) + head + scan + b"\xff\xd9"
    return join_segments(parts, scans)


def coding(data):
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return ([image.quantization[one[3]] for one in image.layer],
                [one[1:3] for one in image.layer], image.info.get("adobe_transform"))  # fmt: skip


def copied(data):
    file = decode_image(data, "a")
    return encode_image(file.frames, file), file.notes, check_writable(file, Path("b.jpg"))


@pytest.mark.parametrize("factors", FACTORS)
def test_tables_stay_and_chroma_loses_nothing(factors):
    data = sampled(factors)
    assert np.ptp(decode_image(data, "a").pixels) == 0
    once, notes, told = copied(data)
    tables, sampling, _ = coding(once)
    assert tables == TABLES[:3]
    ratios = [(factors[0][0] / one, factors[0][1] / two) for one, two in factors[1:]]
    least = tuple(min(side) for side in zip(*ratios, strict=True))
    fits = [one for one in ((2, 2), (2, 1), (1, 1)) if one[0] <= least[0] and one[1] <= least[1]]
    expected = (fits or [(1, 1)])[0]
    assert sampling == [expected, (1, 1), (1, 1)]
    assert notes == ()
    if set(ratios) == {expected}:
        assert told == ()
    else:
        (line,) = told
        was = NAMES.get(least) if len(set(ratios)) == 1 else None
        was = was or ",".join(f"{one}x{two}" for one, two in factors)
        assert line == (
            f"the subsampling {was} became {NAMES[expected]}, the nearest that can be written."
        )
    assert copied(once)[2] == ()


def test_another_quality_or_format_needs_no_line():
    file = decode_image(sampled(((4, 1), (1, 1), (1, 1))), "a")
    assert check_writable(replace(file, quality=80), Path("b.jpg")) == ()
    assert check_writable(file, Path("b.png")) == ()


@pytest.mark.parametrize("quality", [10, 75, 98])
@pytest.mark.parametrize("progressive", [False, True])
def test_what_is_stored_as_rgb_stays_so(quality, progressive):
    data = saved(Image.fromarray(PIXELS), quality=quality, keep_rgb=True, progressive=progressive)
    once, notes, told = copied(data)
    assert coding(once) == coding(data)
    assert (notes, told) == ((), ())
    assert len(once) < 1.1 * len(data) + 140  # a table for each component
    file = decode_image(data, "a")
    for how in (replace(file, quality=80), file.without_metadata(), file):
        again = decode_image(encode_image(file.frames, how), "b")
        assert np.abs(again.pixels.astype(int) - file.pixels).mean() < 12
    segments, scans, _ = split_segments(data)
    named = join_segments([one for one in segments if not one.is_metadata], scans)
    assert coding(copied(named)[0])[:2] == coding(data)[:2]  # by the components' names alone


def test_jfif_means_luma_and_chroma_whatever_adobe_says():
    data = saved(Image.fromarray(PIXELS), quality=75, subsampling=2)
    segments, scans, _ = split_segments(data)
    marked = join_segments(
        [*segments, Segment(0xEE, b"Adobe\0\x64" + bytes(5))], scans
    )  # fmt: skip
    pixels = decode_image(data, "a").pixels
    assert np.array_equal(decode_image(marked, "a").pixels, pixels)
    once, _, told = copied(marked)
    assert (coding(once)[:2], told) == (coding(data)[:2], ())
    assert np.abs(decode_image(once, "b").pixels.astype(int) - pixels).mean() < 5


@pytest.mark.parametrize("quality", [10, 75, 98])
def test_cmyk_keeps_its_tables(quality):
    data = saved(Image.fromarray(PIXELS).convert("CMYK"), quality=quality)
    once, notes, told = copied(data)
    assert coding(once)[0] == coding(data)[0][:3]
    assert coding(once)[1] == [(1, 1)] * 3
    assert len(once) < 1.2 * len(data)
    assert notes == ("CMYK became RGB by the plain formula, since it has no ICC profile.",)
    assert told == ()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("step", [255, 256, 4000])
def test_tables_of_16_bits_are_kept(mode, step):
    image = Image.fromarray(PIXELS).convert(mode)
    data = saved(image, qtables=[[step] * 64] * len(image.getbands()), subsampling=0)
    once, _, told = copied(data)
    assert (coding(once)[:2], told) == (coding(data)[:2], ())
