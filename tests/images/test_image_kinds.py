"""Every kind of file that Pillow opens is read and written back right, or refused, never wrong."""

import io
import struct
import zlib

import numpy as np
import pytest
from image_helpers import HEIGHT, PIXELS, WIDTH, copy, looks, packed, tiff
from PIL import Image, ImageOps, TiffImagePlugin

from adnet.errors import ImageError
from adnet.images.image import load_image, read_image

LOSSLESS_SUFFIXES = [".png", ".tif", ".bmp", ""]
COMPRESSIONS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]


# ---- orientation -----------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "PA"])
def test_tiff_orientation(tmp_path, mode, compression, orientation):
    """Pixels stay as stored, and every output looks like the input."""
    source = tmp_path / "a.tif"
    info = TiffImagePlugin.ImageFileDirectory_v2()
    if 1 <= orientation <= 8 or compression == "raw":
        info[274] = orientation
    if mode in ("P", "PA"):
        image = Image.fromarray(PIXELS[..., :3]).quantize(32)
        stored = np.asarray(image.convert("RGB"))
        if mode == "PA":
            alpha = Image.fromarray(PIXELS[..., 3])
            stored = np.dstack([stored, alpha])
            image = image.convert("PA")
            image.putalpha(alpha)
    else:
        channels = len(mode)
        stored = PIXELS[..., 0] if channels == 1 else PIXELS[..., :channels]
        image = Image.fromarray(stored)
    image.save(source, compression=compression, tiffinfo=info)
    assert np.array_equal(read_image(source).pixels, stored)
    assert load_image(source, 3).shape == (HEIGHT, WIDTH, 3)
    for suffix in LOSSLESS_SUFFIXES:
        target = tmp_path / f"b{suffix}"
        if suffix == ".bmp" and mode == "LA":
            with pytest.raises(ImageError, match="transparency"):
                copy(source, target)
            continue
        copy(source, target)
        assert np.array_equal(looks(target), looks(source))
        if compression != "raw":  # those Pillow maps into memory by name, and mixes up the sides
            with Image.open(target) as by_name:
                shown = ImageOps.exif_transpose(by_name).convert("RGBA")
            assert np.array_equal(shown, looks(source))
        with Image.open(target) as written:
            tag = written.getexif().get(274, 1)
        assert tag == (orientation if suffix != ".bmp" and 1 <= orientation <= 8 else 1)
    for suffix in (".webp", *([".jpg"] if mode in ("L", "RGB", "P") else [])):
        shown = looks(copy(source, tmp_path / f"c{suffix}")).astype(int)
        assert shown.shape == looks(source).shape
        with Image.open(tmp_path / f"c{suffix}") as written:
            tag = written.getexif().get(274, 1)
        assert tag == (orientation if 1 <= orientation <= 8 else 1)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", "raw.png", "late.png"])
def test_exif_orientation_in_every_output(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "Camera"
    source = tmp_path / f"a{suffix}"
    image = Image.fromarray(PIXELS[..., :3])
    if suffix == "late.png":  # EXIF behind the pixels
        image.save(source, exif=exif)
        data = source.read_bytes()
        at = data.index(b"eXIf") - 4
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        rest = data[:at] + data[end:]
        last = rest.index(b"IEND") - 4
        source.write_bytes(rest[:last] + data[at:end] + rest[last:])
    elif suffix == "raw.png":  # as ImageMagick wrote it
        from PIL.PngImagePlugin import PngInfo

        block = exif.tobytes()
        text = PngInfo()
        text.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n")
        image.save(source, pnginfo=text)
    else:
        image.save(source, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    stored = read_image(source).pixels
    for wanted in (".png", ".tif", ".bmp", ".jpg", ".webp", ""):
        target = copy(source, tmp_path / f"b{wanted}")
        shown, before = looks(target).astype(int), looks(source)
        assert shown.shape == before.shape
        if wanted in (".png", ".tif", ".bmp"):
            assert np.array_equal(shown, before)
            assert wanted == ".bmp" or np.array_equal(read_image(target).pixels, stored)
        if wanted != ".bmp":
            with Image.open(target) as written:
                assert written.getexif()[271] == "Camera"
                valid = orientation if 1 <= orientation <= 8 else 1
                tag = written.getexif().get(274, 1)
                assert (tag if tag in range(1, 9) else 1) == valid


def test_exif_of_another_layout_does_not_rule_the_tiff(tmp_path):
    """A photo made from a TIFF has the width, planes and inversion of that in its EXIF."""
    exif = Image.Exif()
    for tag, value in {256: 5, 257: 6, 258: 16, 259: 5, 262: 0, 277: 1, 278: 1, 284: 2, 338: 1,
                       339: 3, 317: 2, 266: 2, 271: "Camera"}.items():  # fmt: skip
        exif[tag] = value
    for channels in (1, 3):
        pixels = PIXELS[..., 0] if channels == 1 else PIXELS[..., :3]
        Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
        target = copy(tmp_path / "a.png", tmp_path / "b.tif")
        assert np.array_equal(read_image(target).pixels, pixels)
        with Image.open(target) as written:
            assert written.getexif()[271] == "Camera"


# ---- PNG, WebP, BMP, JPEG --------------------------------------------------------------------


def png(path, rows, bits, colour_type, *chunks):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour_type, 0, 0, 0))
        + b"".join(chunk(*one) for one in chunks)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ""])
@pytest.mark.parametrize("transparent", [None, 0, 1, 3, 0x0301])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_gray_png_of_few_bits_and_its_transparent_value(tmp_path, bits, transparent, suffix):
    top = 2**bits - 1
    values = PIXELS[..., 0] & top
    chunks = [] if transparent is None else [(b"tRNS", struct.pack(">H", transparent))]
    source = png(tmp_path / "a.png", packed(values, bits), bits, 0, *chunks)
    expected = values * (255 // top)
    if transparent is not None:  # only the low bits count (PNG 1.2, section 4.2.1.1)
        clear = values == (transparent & top)
        expected = np.dstack([expected, np.where(clear, 0, 255)])
    assert np.array_equal(read_image(copy(source, tmp_path / f"b{suffix}")).pixels, expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
def test_png_palettes_and_transparent_colours(tmp_path, bits, transparent):
    values = PIXELS[..., 0] & (2**bits - 1)
    colours = np.random.default_rng(3).integers(0, 256, (2**bits, 4), np.uint8)
    chunks = [(b"PLTE", colours[:, :3].tobytes())]
    chunks += [(b"tRNS", colours[:, 3].tobytes())] if transparent else []
    source = png(tmp_path / "a.png", packed(values, bits), bits, 3, *chunks)
    expected = colours[values][..., : 4 if transparent else 3]
    assert np.array_equal(read_image(copy(source, tmp_path / "b.png")).pixels, expected)
    clear = (b"tRNS", struct.pack(">3H", *PIXELS[3, 4, :3]))
    source = png(tmp_path / "c.png", PIXELS[..., :3].copy(), 8, 2, clear)
    alpha = np.where((PIXELS[..., :3] == PIXELS[3, 4, :3]).all(2), 0, 255)
    assert np.array_equal(read_image(source).pixels, np.dstack([PIXELS[..., :3], alpha]))


@pytest.mark.parametrize("suffix", [".webp", ""])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("profile", [0, 100, 5001, 300_000])
@pytest.mark.parametrize("lossless", [False, True])
def test_webp_stays_as_it_is_coded(tmp_path, lossless, profile, channels, suffix):
    source = tmp_path / "a.webp"
    tail = b"VP8L" * (profile // 4)  # the letters inside a profile are no chunk
    options = {"icc_profile": tail + b"x"} if profile else {}
    Image.fromarray(PIXELS[..., :channels]).save(source, lossless=lossless, exact=True, **options)
    file = read_image(source)
    target = copy(source, tmp_path / f"b{suffix}")
    data = target.read_bytes()
    assert np.array_equal(read_image(target).pixels, file.pixels) == lossless
    assert data[:4] == b"RIFF"
    with Image.open(target) as written:
        assert written.info.get("icc_profile", b"") == options.get("icc_profile", b"")


def test_lossless_webp_of_one_frame_in_an_animation(tmp_path):
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "a.webp", lossless=True)
    still = (tmp_path / "a.webp").read_bytes()[12:]
    size = struct.pack("<I", WIDTH - 1)[:3] + struct.pack("<I", HEIGHT - 1)[:3]
    frame = b"\0" * 6 + size + b"\1\0\0\0" + still
    body = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + size
    body += (
        b"ANIM" + struct.pack("<I", 6) + b"\0" * 6 + b"ANMF" + struct.pack("<I", len(frame)) + frame
    )
    (tmp_path / "b.webp").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body)
    file = read_image(copy(tmp_path / "b.webp", tmp_path / "c.webp"))
    assert np.array_equal(file.pixels[..., :3], PIXELS[..., :3])


def bmp(path, rows, bits, *, compression=0, masks=(), palette=b"", size=40):
    rows = [row.tobytes() for row in rows[::-1]]
    data = b"".join(row.ljust(-(-len(row) // 4) * 4, b"\0") for row in rows)
    header = struct.pack("<IiiHHIIiiII", size, WIDTH, HEIGHT, 1, bits, compression, 0, 0, 0,
                         len(palette) // 4, 0)  # fmt: skip
    header += struct.pack(f"<{len(masks)}I", *masks)
    header = header.ljust(size, b"\0") + palette
    start = 14 + len(header)
    path.write_bytes(b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + data)
    return path


def test_bmp_of_16_bits(tmp_path):
    words = np.ascontiguousarray(PIXELS[..., :2]).view("<u2")[..., 0]
    for masks, shifts in (((0xF800, 0x7E0, 0x1F), (11, 5, 0)), ((0x7C00, 0x3E0, 0x1F), (10, 5, 0))):
        source = bmp(tmp_path / "a.bmp", words, 16, compression=3, masks=(*masks, 0), size=56)
        tops = [mask >> shift for mask, shift in zip(masks, shifts, strict=True)]
        exact = np.dstack([
            ((words & mask) >> shift) * (255.0 / top)
            for mask, shift, top in zip(masks, shifts, tops, strict=True)
        ])  # fmt: skip
        pixels = read_image(copy(source, tmp_path / "b.bmp")).pixels
        assert np.abs(pixels - exact).max() < 1
    masks = (0x7C00, 0x3E0, 0x1F, 0x8000)
    source = bmp(tmp_path / "c.bmp", words, 16, compression=3, masks=masks, size=56)
    assert np.array_equal(read_image(source).pixels[..., 3], np.where(words & 0x8000, 255, 0))
    assert copy(source, tmp_path / "d.bmp").read_bytes()[70:] == source.read_bytes()[70:]


def test_bmp_of_32_bits(tmp_path):
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    stored = np.ascontiguousarray(PIXELS[..., [2, 1, 0, 3]])
    source = bmp(tmp_path / "a.bmp", stored, 32, compression=3, masks=masks, size=108)
    assert np.array_equal(read_image(source).pixels, PIXELS[..., :4])
    for name in ("b.bmp", "b"):
        assert np.array_equal(read_image(copy(source, tmp_path / name)).pixels, PIXELS[..., :4])
    assert np.array_equal(read_image(copy(source, tmp_path / "b.png")).pixels, PIXELS[..., :4])
    plain = read_image(bmp(tmp_path / "c.bmp", stored, 32))
    assert np.array_equal(plain.pixels, PIXELS[..., :3])
    copied = copy(tmp_path / "c.bmp", tmp_path / "d.bmp").read_bytes()
    assert copied[54:] == (tmp_path / "c.bmp").read_bytes()[54:]  # the spare bits, too


@pytest.mark.parametrize("step", [1, 17])
def test_bmp_of_4_bits(tmp_path, step):
    palette = b"".join(bytes([i * step] * 3 + [0]) for i in range(16))
    values = PIXELS[..., 0] & 15
    source = bmp(tmp_path / "a.bmp", packed(values, 4), 4, palette=palette)
    assert np.array_equal(read_image(source).pixels, values * step)
    assert np.array_equal(read_image(copy(source, tmp_path / "b.bmp")).pixels, values * step)


def test_output_without_a_suffix_keeps_format_and_options(tmp_path):
    image = Image.fromarray(PIXELS[..., :3])
    image.save(tmp_path / "a.tif", compression="tiff_lzw")
    with Image.open(copy(tmp_path / "a.tif", tmp_path / "out")) as written:
        assert (written.format, written.info["compression"]) == ("TIFF", "tiff_lzw")
    image.save(tmp_path / "a.mpo", "MPO", save_all=True, append_images=[image])
    with Image.open(copy(tmp_path / "a.mpo", tmp_path / "photo")) as written:
        assert written.format == "JPEG"
        assert written.layer[0][1:3] == (2, 2)  # the subsampling that it had


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "JPEG2000"])
def test_other_formats_under_a_known_name_are_refused(tmp_path, kind):
    data = io.BytesIO()
    try:
        Image.fromarray(PIXELS[..., :3]).save(data, kind)
    except OSError:
        pytest.skip(f"Pillow cannot write {kind} here")
    (tmp_path / "a.png").write_bytes(data.getvalue())
    with pytest.raises(ImageError, match="not an image that can be read|JPEG 2000 is not"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("dpi", [72, 65535, 65536, 101_600])
def test_resolution_is_kept_or_left_out(tmp_path, dpi):
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "a.tif", dpi=(dpi, dpi))
    for suffix in (".tif", ".png", ".jpg"):
        with Image.open(copy(tmp_path / "a.tif", tmp_path / f"b{suffix}")) as written:
            got = written.info.get("dpi")
        known = suffix != ".jpg" or dpi <= 65535
        assert got == (pytest.approx((dpi, dpi), rel=1e-3) if known else None)


def test_tiff_without_resolution_gets_none(tmp_path):
    copy(tiff(tmp_path / "a.tif", PIXELS[..., :3]), tmp_path / "b.tif")
    with Image.open(tmp_path / "b.tif") as written:
        assert 282 not in written.tag_v2


def test_gray_profile_is_not_put_into_a_colour_file(tmp_path):
    profile = b"\0" * 16 + b"GRAY" + b"\0" * 108
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "a.png", icc_profile=profile)
    with pytest.raises(ImageError, match="profile for gray"):
        copy(tmp_path / "a.png", tmp_path / "b.webp")
    assert read_image(copy(tmp_path / "a.png", tmp_path / "b.jpg")).pixels.ndim == 2
