"""Whether an image goes through as a whole or in bands."""

from dataclasses import replace

import numpy as np
import pytest
from image_files import pixels_of

from adnet.images.formats.codec import encode_image
from adnet.images.formats.image_file import ImageFile
from adnet.images.formats.need import whole_bytes
from adnet.images.formats.png import PngLayout
from adnet.images.formats.tiff import TiffLayout
from adnet.images.formats.tiff_tags import Kind
from adnet.images.formats.tiff_write import plain_layout
from adnet.images.image import read_image
from adnet.runtime import loading
from adnet.runtime.jobs import Job
from adnet.runtime.loading import Limits, examine

MIB = 1 << 20
SIDE = 2600


def files(shape=(SIDE, SIDE, 3)):
    """Some 20 MB of pixels in every layout that matters: what, suffix, image, in bands."""
    pixels = np.zeros(shape, np.uint8)
    plain = plain_layout(pixels, Kind())
    strips = replace(plain, strip=16)
    one_strip = replace(plain, strip=SIDE)
    tiled = replace(plain, tile=(256, 256))
    yield from (
        ("PNG", True, ImageFile(pixels, "PNG")),
        ("interlaced", False, ImageFile(pixels, "PNG", PngLayout(interlaced=True))),
        ("strips", True, ImageFile(pixels, "TIFF", TiffLayout(Kind(), (strips,)))),
        ("one strip", False, ImageFile(pixels, "TIFF", TiffLayout(Kind(), (one_strip,)))),
        ("tiles", True, ImageFile(pixels, "TIFF", TiffLayout(Kind(), (tiled,)))),
        ("JPEG", False, ImageFile(pixels, "JPEG")),
    )


def examined(tmp_path, like, target, memory, large, monkeypatch):
    source = tmp_path / "a"
    source.write_bytes(encode_image(like.frames, like))
    monkeypatch.setattr(loading, "_LARGE", large)
    rows = []

    def band_rows(_size, _channels, most):
        rows.append(most)
        return most or 512

    work = examine(Job(source, tmp_path / target), Limits(), memory, band_rows)
    return work, whole_bytes(like, like.format, source.stat().st_size)


@pytest.mark.parametrize("what", [what for what, _, _ in files((1, 1, 3))])
def test_large_images_go_in_bands_though_there_is_room(tmp_path, monkeypatch, what):
    """They take less memory so; what would be laid out differently goes as a whole."""
    banded, like = next((one[1:]) for one in files() if one[0] == what)
    work, whole = examined(tmp_path, like, "out", 2**40, 1 * MIB, monkeypatch)
    assert (work.heights is not None) == banded
    if banded:
        assert work.heights == (None,)
        assert work.count < whole
    small, whole = examined(tmp_path, like, "out", 2**40, 2**40, monkeypatch)
    assert small.heights is None
    assert small.count == pytest.approx(whole, rel=0.01)


def test_strips_of_any_size_go_into_a_png_in_bands(tmp_path, monkeypatch):
    like = next(one[2] for one in files() if one[0] == "one strip")
    assert examined(tmp_path, like, "b.png", 2**40, MIB, monkeypatch)[0].heights == (None,)


def test_bands_that_take_more_than_the_whole_are_not_taken(tmp_path, monkeypatch):
    """A model of fixed sizes may see the whole image as one band."""
    pixels = np.zeros((300, 300, 3), np.uint8)
    work, whole = examined(tmp_path, ImageFile(pixels, "PNG"), "b.png", 2**40, 1000, monkeypatch)
    assert work.heights is None
    assert work.count == whole


def test_what_is_kept_differently_is_told_once(tmp_path, monkeypatch):
    """The checks of the target run when an image is read; a header's look must not double them."""
    pixels = pixels_of((60, 50, 3), "u1")
    like = ImageFile(pixels, "PNG", PngLayout(interlaced=True))
    source = tmp_path / "a.png"
    source.write_bytes(encode_image(pixels, like))
    monkeypatch.setattr(loading, "_LARGE", 0)
    file = read_image(source)
    job = Job(source, tmp_path / "b.gif")
    work = examine(job, Limits(), 2**40, lambda *_: 512)
    assert (
        loading.load(work, Limits()).notes == loading.load(replace(work, file=file), Limits()).notes
    )
