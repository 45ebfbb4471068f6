import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from adnet.errors import ImageError, UsageError
from adnet.images.image import find_images, load_folder, read_image, write_image


def png_16_bit(path, channels):
    """Write a 16-bit PNG by hand: Pillow cannot write RGB at this depth."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    pixels = np.random.default_rng(0).integers(0, 65536, (6, 8, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 8, 6, 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path, pixels


LOSSLESS = [
    (suffix, mode)
    for suffix, modes in {
        ".png": ("L", "LA", "RGB", "RGBA"),
        ".bmp": ("L", "RGB"),
        ".tif": ("L", "LA", "RGB", "RGBA"),
    }.items()
    for mode in modes
]


@pytest.mark.parametrize(("suffix", "mode"), LOSSLESS)
def test_round_trip_is_exact(tmp_path, make_image, suffix, mode):
    source = make_image(tmp_path / f"in{suffix}", mode)
    file = read_image(source)
    assert file.pixels.dtype == np.uint8
    assert file.colour_channels == (1 if mode in ("L", "LA") else 3)
    write_image(tmp_path / f"out{suffix}", file.pixels, file)
    with Image.open(tmp_path / f"out{suffix}") as written, Image.open(source) as original:
        assert written.mode == original.mode == mode
        assert written.format == original.format
        assert np.array_equal(np.asarray(written), np.asarray(original))


@given(
    pixels=arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40)).flatmap(
        lambda gray: st.sampled_from([gray, np.dstack([gray] * 3), np.dstack([gray] * 4)])
    )
)
def test_any_pixels_survive_png(tmp_path_factory, pixels):
    folder = tmp_path_factory.mktemp("png")
    Image.fromarray(pixels).save(folder / "a.png")
    file = read_image(folder / "a.png")
    write_image(folder / "b.png", file.pixels, file)
    assert np.array_equal(read_image(folder / "b.png").pixels, pixels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_written_close_and_keeps_its_mode(tmp_path, make_image, mode):
    file = read_image(make_image(tmp_path / "a.jpg", mode))
    write_image(tmp_path / "b.jpg", file.pixels, file)
    again = read_image(tmp_path / "b.jpg")
    assert again.pixels.shape == file.pixels.shape
    assert np.abs(again.pixels.astype(int) - file.pixels).mean() < 2


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_stays_lossless_or_lossy(tmp_path, make_image, lossless):
    with Image.open(make_image(tmp_path / "a.png", "RGB")) as image:
        image.save(tmp_path / "a.webp", lossless=lossless)
    file = read_image(tmp_path / "a.webp")
    write_image(tmp_path / "b.webp", file.pixels, file)
    equal = np.array_equal(read_image(tmp_path / "b.webp").pixels, file.pixels)
    assert equal == lossless


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_metadata_is_kept(tmp_path, make_image, suffix):
    profile = b"not a real profile, but kept as it is"
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Camera"
    source = tmp_path / f"a{suffix}"
    with Image.open(make_image(tmp_path / "base.png", "RGB")) as image:
        image.save(source, exif=exif, icc_profile=profile, dpi=(300, 300))
    file = read_image(source)
    write_image(tmp_path / f"b{suffix}", file.pixels, file)
    with Image.open(tmp_path / f"b{suffix}") as written:
        assert written.getexif()[274] == 6
        assert written.getexif()[271] == "Camera"
        assert written.info["icc_profile"] == profile
        if suffix != ".webp":  # WebP has no resolution field
            assert written.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_palette_and_transparent_colour_become_plain_pixels(tmp_path, make_image):
    with Image.open(make_image(tmp_path / "a.png", "RGB")) as image:
        palette = image.quantize(16)
        palette.save(tmp_path / "p.png")
        assert np.array_equal(read_image(tmp_path / "p.png").pixels, palette.convert("RGB"))
        palette.save(tmp_path / "t.png", transparency=0)
        assert read_image(tmp_path / "t.png").pixels.shape[2] == 4
        gray = image.convert("L")
        gray.save(tmp_path / "g.png", transparency=int(gray.getpixel((0, 0))))
    file = read_image(tmp_path / "g.png")
    assert file.pixels.shape[2] == 2
    assert file.pixels[0, 0, 1] == 0


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_its_depth(tmp_path, channels):
    source, stored = png_16_bit(tmp_path / "a.png", channels)
    file = read_image(source)
    assert file.pixels.dtype == np.uint16
    assert np.array_equal(file.pixels.reshape(stored.shape), stored)
    write_image(tmp_path / "b.png", file.pixels, file)
    assert np.array_equal(read_image(tmp_path / "b.png").pixels, file.pixels)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("zero.png", b"", "the file is empty"),
        ("text.png", b"just text", "not an image"),
        ("none.png", None, "no such file"),
    ],
)
def test_files_that_are_no_images(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_truncated_files(tmp_path, make_image, suffix):
    path = make_image(tmp_path / f"a{suffix}", "RGB", (200, 150))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ImageError, match=r"damaged|not an image"):
        read_image(path)


def test_pixel_limit_and_pillows_own_limit(tmp_path, make_image, monkeypatch):
    path = make_image(tmp_path / "a.png", size=(60, 50))
    with pytest.raises(ImageError, match="--max-pixels 3000"):
        read_image(path, max_pixels=2999)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # as another user of Pillow may have it
    assert read_image(path, max_pixels=3000).pixels.shape == (50, 60)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_format_follows_the_content_unless_the_name_changes(tmp_path, make_image):
    wrong_name = make_image(tmp_path / "a.png", "L").rename(tmp_path / "a.jpg")
    file = read_image(wrong_name)
    assert file.format == "PNG"
    write_image(tmp_path / "b.tif", file.pixels, file)
    with Image.open(tmp_path / "b.tif") as written:
        assert written.format == "TIFF"


def test_alpha_is_not_dropped_silently(tmp_path, make_image):
    for mode, suffix in (("RGBA", ".jpg"), ("LA", ".jpg"), ("LA", ".bmp")):
        file = read_image(make_image(tmp_path / "a.png", mode))
        with pytest.raises(ImageError, match="cannot hold .*transparency"):
            write_image(tmp_path / f"b{suffix}", file.pixels, file)
    assert os.listdir(tmp_path) == ["a.png"]


def test_failed_write_leaves_the_old_file(tmp_path, make_image, monkeypatch):
    file = read_image(make_image(tmp_path / "a.png"))
    target = tmp_path / "b.png"
    target.write_bytes(b"old")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ImageError, match="No space left on device"):
        write_image(target, file.pixels, file)
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]


def test_load_folder_converts(tmp_path, make_image):
    make_image(tmp_path / "x" / "b.png", "RGBA")
    make_image(tmp_path / "a.png", "L")
    gray = load_folder(tmp_path, 1)
    assert list(gray) == ["a.png", "x/b.png"]
    assert all(image.ndim == 2 for image in gray.values())
    assert all(image.shape[2] == 3 for image in load_folder(tmp_path, 3).values())


def test_find_images_survives_circular_links(tmp_path, make_image):
    make_image(tmp_path / "in" / "a.png")
    make_image(tmp_path / "in" / ".hidden" / "b.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    assert find_images(tmp_path / "in") == [tmp_path / "in" / "a.png"]
    with pytest.raises(UsageError, match="no such folder"):
        find_images(tmp_path / "none")
