"""Every format, mode, depth and kind of metadata through an identity: nothing changes."""

import io
import struct

import numpy as np
import pytest
from image_files import SHAPES, jpeg_blocks, make, pixels_of, png_blocks, tiff_blocks, webp_blocks
from PIL import Image, ImageCms

from adnet.images.formats.codec import decode_image, encode_image
from adnet.images.formats.image_file import ImageFile

CASES = [
    (kind, shape, dtype)
    for kind, dtypes in {
        "PNG": ("u1", "u2"), "TIFF": ("u1", "u2", "f2", "f4", "f8"), "BMP": ("u1",),
        "WEBP": ("u1",), "GIF": ("u1",), "JPEG": ("u1",),
    }.items()
    for dtype in dtypes
    for shape in SHAPES
    if not (kind == "JPEG" and len(shape) == 3 and shape[2] != 3)
    and not (kind == "BMP" and len(shape) == 3 and shape[2] == 2)
    and not (kind == "WEBP" and (len(shape) == 2 or shape[2] == 2))
]  # fmt: skip


@pytest.mark.parametrize(("kind", "shape", "dtype"), CASES)
def test_new_files_are_read_back(kind, shape, dtype):
    pixels = pixels_of(shape, dtype)
    file = decode_image(encode_image(pixels, ImageFile(pixels, kind)), "a")
    assert file.format == kind
    assert file.pixels.dtype == pixels.dtype
    if kind in ("JPEG", "WEBP"):
        assert file.pixels.shape == pixels.shape
        return
    expected = pixels
    if kind == "GIF":
        colours = pixels.reshape(*shape[:2], -1)
        expected = np.broadcast_to(
            colours[..., : 3 if colours.shape[2] > 2 else 1], (*shape[:2], 3)
        )
        if colours.shape[2] in (2, 4):
            clear = colours[..., -1] < 128
            assert np.array_equal(file.pixels[..., 3], np.where(clear, 0, 255))
            assert np.array_equal(file.pixels[~clear][:, :3], expected[~clear])
            return
    assert np.array_equal(file.pixels, expected)


@pytest.mark.parametrize("metadata", [False, True])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        (kind, mode)
        for kind in ("PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG")
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")
        if make(kind, mode, metadata=False)
    ],
)
def test_copies_of_copies_are_equal(kind, mode, metadata):
    """What one copy settled (palettes, CMYK), the next leaves as it is, metadata byte for byte."""
    data = make(kind, mode, metadata)
    first = decode_image(data, "a")
    once = encode_image(first.frames, first)
    second = decode_image(once, "b")
    if kind != "JPEG":
        assert np.array_equal(first.pixels, second.pixels)
        assert encode_image(second.frames, second) == once
    blocks = {"PNG": png_blocks, "JPEG": jpeg_blocks, "WEBP": webp_blocks, "TIFF": tiff_blocks}
    if metadata and kind in blocks:
        before, after = blocks[kind](data), blocks[kind](once)
        if mode == "CMYK":  # the old profile would be wrong
            before, after = (
                [one for one in found if b"ICC" not in repr(one).encode()]
                for found in (before, after)
            )
        assert before
        assert before == after
    with Image.open(io.BytesIO(once)) as shown:
        shown.load()
        assert sorted(shown.size) == sorted(first.pixels.shape[:2])  # Pillow turns TIFFs


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("target", ["PNG", "TIFF", "WEBP", "JPEG", "BMP"])
def test_portable_metadata_goes_into_other_formats(kind, target):
    file = decode_image(make(kind, "RGB", metadata=True), "a")
    again = decode_image(encode_image(file.frames, file, target), "b")
    assert file.portable.icc
    assert again.portable.icc == file.portable.icc
    if target == "BMP":
        return
    assert again.portable.xmp == file.portable.xmp == b"<x:xmpmeta/>"
    with Image.open(io.BytesIO(encode_image(file.frames, file, target))) as shown:
        exif = shown.getexif()
        assert exif[271] == "Camera"
        assert exif[274] == 6
        assert exif.get_ifd(34665)[33434] == (1, 8)
        assert exif.get_ifd(34853)[1] == "N"
        if kind != "WEBP" and target != "WEBP":
            assert shown.info["dpi"] == pytest.approx((300, 300), rel=1e-3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_strip_metadata_leaves_what_is_seen(kind):
    file = decode_image(make(kind, "RGB", metadata=True), "a").without_metadata()
    for target in (kind, "PNG", "TIFF"):
        data = encode_image(file.frames, file, target)
        for secret in (b"Camera", b"xmpmeta", b"secret", b"8BIM"):
            assert secret not in data
        again = decode_image(data, "b")
        assert again.portable.icc == file.portable.icc
        with Image.open(io.BytesIO(data)) as shown:
            assert dict(shown.getexif()).get(274) == 6
            assert not shown.getexif().get_ifd(34853)


def test_a_gif_keeps_its_comment_unless_stripped():
    frames = [Image.fromarray(pixels_of((9, 12), "u1", seed)) for seed in range(2)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=[30, 40],
                   comment=b"a secret")  # fmt: skip
    first = decode_image(file.getvalue(), "a")
    assert b"a secret" in encode_image(first.frames, first)
    bare = first.without_metadata()
    data = encode_image(bare.frames, bare)
    assert b"a secret" not in data
    assert decode_image(data, "b").layout.delays == first.layout.delays


def test_a_bmp_keeps_its_resolution_and_profile():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = pixels_of((9, 12, 3), "u1")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", icc_profile=profile, dpi=(300, 150))
    source = decode_image(file.getvalue(), "a")
    first = decode_image(encode_image(source.frames, source, "BMP"), "b")
    for one in (first, first.without_metadata()):
        data = encode_image(one.frames, one)
        assert decode_image(data, "c").portable.icc == profile
        with Image.open(io.BytesIO(data)) as shown:
            assert shown.info["dpi"] == pytest.approx((300, 150), rel=1e-3)


@pytest.mark.parametrize("lossless", [False, True])
def test_animated_webp_keeps_frames_and_timing(lossless):
    frames = [Image.fromarray(pixels_of((9, 12, 3), "u1", seed)) for seed in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=[30, 40, 50],
                   loop=7, lossless=lossless)  # fmt: skip
    first = decode_image(file.getvalue(), "a")
    data = encode_image(first.frames, first)
    second = decode_image(data, "b")
    assert len(second.frames) == 3
    assert second.layout == first.layout
    assert second.layout.durations == (30, 40, 50)
    if lossless:
        assert all(map(np.array_equal, first.frames, second.frames))
    with Image.open(io.BytesIO(data)) as shown:
        assert (shown.n_frames, shown.info["loop"]) == (3, 7)


@pytest.mark.parametrize("clear", [False, True])
def test_animated_gif_keeps_frames_and_timing(clear):
    frames = [pixels_of((9, 12, 4), "u1", seed) for seed in (1, 2, 2, 3)]
    for frame in frames:
        frame[..., 3] = np.where(frame[..., 3] < 128, 0, 255) if clear else 255
    pictures = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], disposal=2, loop=2,
                     duration=[30, 40, 50, 60], comment=b"a word")  # fmt: skip
    first = decode_image(file.getvalue(), "a")
    data = encode_image(first.frames, first)
    second = decode_image(data, "b")
    assert second.layout == first.layout
    assert b"a word" in data
    for one, two in zip(first.frames, second.frames, strict=True):
        shown = one[..., 3] > 0 if clear else np.ones(one.shape[:2], bool)
        assert np.array_equal(one[shown], two[shown])


def test_still_frames_that_are_alike_stay_frames():
    """Pillow joins them; they are put together here."""
    pixels = pixels_of((5, 5, 3), "u1")
    from adnet.images.formats.gif import GifLayout

    like = ImageFile(pixels, "GIF", GifLayout(delays=(3, 4, 5)), more=(pixels, pixels))
    again = decode_image(encode_image([pixels] * 3, like), "a")
    assert again.layout.delays == (3, 4, 5)


def test_pages_of_a_tiff_keep_their_kinds():
    pages = [pixels_of((9, 12, 3), "u1"), pixels_of((5, 30), "u2"), pixels_of((8, 8, 4), "f4")]
    like = ImageFile(pages[0], "TIFF", more=tuple(pages[1:]))
    first = decode_image(encode_image(pages, like), "a")
    second = decode_image(encode_image(first.frames, first), "b")
    for frames in (first.frames, second.frames):
        assert [frame.dtype for frame in frames] == [page.dtype for page in pages]
        assert all(map(np.array_equal, frames, pages))


def test_interlaced_png_stays_interlaced():
    for shape in [*SHAPES, (1, 1), (2, 3), (9, 5, 3), (5, 9, 4)]:
        for dtype in ("u1", "u2"):
            pixels = pixels_of(shape, dtype)
            from adnet.images.formats.png import PngLayout

            data = encode_image(pixels, ImageFile(pixels, "PNG", PngLayout(interlaced=True)))
            assert data[28] == 1
            assert np.array_equal(decode_image(data, "a").pixels, pixels)
            if dtype == "u1":
                with Image.open(io.BytesIO(data)) as shown:
                    assert np.array_equal(np.asarray(shown), pixels)


def test_lab_is_close_to_what_littlecms_makes_of_it():
    rgb = np.array([[[r, g, b] for r in range(40, 220, 30) for g in (50, 120, 200)] for b in
                    (60, 110, 190)], np.uint8)  # fmt: skip
    lab = ImageCms.profileToProfile(
        Image.fromarray(rgb), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )  # fmt: skip
    file = io.BytesIO()
    lab.save(file, "TIFF")
    first = decode_image(file.getvalue(), "a")
    assert first.notes == ("LAB became sRGB.",)
    inside = np.abs(first.pixels.astype(int) - rgb) <= 4  # LAB of 8 bits is coarse
    assert inside.mean() > 0.97
    assert first.portable.icc


@pytest.mark.dataset
def test_cases_from_bug_reports(shared):
    if not (shared / "cases").is_dir():
        pytest.skip(f"no cases in {shared}")
    for path in sorted((shared / "cases").glob("*.*")):
        if path.suffix == ".py":
            continue
        first = decode_image(path.read_bytes(), path.name)
        once = encode_image(first.frames, first)
        second = decode_image(once, path.name)
        if first.format != "JPEG":
            assert np.array_equal(first.pixels, second.pixels), path
        assert first.portable == second.portable, path
        if first.format == "TIFF":
            assert first.layout.pages[0].directory == second.layout.pages[0].directory, path
        elif first.format != "BMP":
            assert first.layout == second.layout, path


def test_12_bits_stay_12_bits():
    values = np.random.default_rng(0).integers(0, 4096, (7, 10)).astype("u2")
    bits = ((values[..., None] >> np.arange(11, -1, -1)) & 1).astype(np.uint8)
    rows = np.packbits(bits.reshape(7, -1), axis=1).tobytes()
    tags = [(256, 4, 10), (257, 4, 7), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (277, 3, 1), (278, 4, 7), (279, 4, len(rows))]  # fmt: skip
    body = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in tags)
    at = 8 + len(rows) + len(rows) % 2
    data = struct.pack("<2sHI", b"II", 42, at) + rows.ljust(at - 8, b"\0")
    data += struct.pack("<H", len(tags)) + body + bytes(4)
    file = decode_image(data, "a")
    assert np.array_equal(np.rint(file.pixels / (65535 / 4095)), values)
    again = encode_image(file.frames, file)
    assert rows in again
