"""What Exif says, in a TIFF, in other formats, and with --strip-metadata."""

import io
import struct
from dataclasses import replace

import pytest
from image_files import picture
from PIL import Image

from adnet.images.formats import exif, tiff_tags
from adnet.images.formats.codec import check_writable, decode_image, encode_image
from adnet.images.formats.kinds import FORMATS
from adnet.images.formats.tiff_tags import Directory, Kind, Tag, number_tag

HOLDERS = ["JPEG", "PNG", "WEBP"]
THUMBNAIL = "Exif's thumbnail cannot be carried into TIFF and was left out."
TEXTS = (269, 270, 271, 272, 305, 306, 315, 316, 33432)
WIDE = (40091, 40092, 40093, 40094, 40095)
"""Title, comment, author, keywords and subject, as Windows writes them."""


def block(kind, *, unit=2, thumbnail=False, orientation=6, more=()):
    """An Exif block with all that its first directory may hold."""
    tags = {code: Tag(2, 5, f"t{code % 1000:03}\0"[:5].encode()) for code in TEXTS}
    tags |= {code: Tag(1, 6, "Abc".encode("utf-16-le")) for code in WIDE}
    tags |= {
        274: number_tag(kind, 3, orientation), 282: number_tag(kind, 5, 600, 2),
        283: number_tag(kind, 5, 400, 2), 296: number_tag(kind, 3, unit),
        18246: number_tag(kind, 3, 4), 18249: number_tag(kind, 3, 75),
        50341: Tag(7, 9, b"PrintIM\0\0"), 65001: number_tag(kind, 4, 7, 8, 9),
        301: number_tag(kind, 3, *range(768)), 318: number_tag(kind, 5, 31, 100, 33, 100),
    }  # fmt: skip
    tags |= dict(more)
    child = Directory({33434: number_tag(kind, 5, 1, 8)})
    pages = [(Directory(tags, {34665: child}), (273, 279), [])]
    if thumbnail:
        pages.append((Directory({259: number_tag(kind, 3, 6)}), (513, 514), [b"\xff\xd8\xff\xd9"]))
    return tags, tiff_tags.write_directories(kind, pages)


def file_with(holder, exif_block, **more):
    out = io.BytesIO()
    # The mark of JPEG; Pillow takes it off for the others.
    picture("RGB").save(out, holder, exif=b"Exif\0\0" + exif_block, **more)
    return decode_image(out.getvalue(), "a")


def converted(file, wanted, target):
    data = encode_image(file.pixels, file, wanted)
    return decode_image(data, "b"), check_writable(file, target), data


def first_page(data):
    kind, (page, *_), _ = tiff_tags.read_directories(data)
    return kind, page


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("unit", [2, 3])
def test_every_tag_goes_into_a_tiff(tmp_path, holder, order, unit):
    kind = Kind(order)
    of_pixels = {
        256: number_tag(kind, 4, 9999), 257: number_tag(kind, 4, 9999), 254: number_tag(kind, 4, 1),
        259: number_tag(kind, 3, 6), 262: number_tag(kind, 3, 6), 277: number_tag(kind, 3, 1),
        258: number_tag(kind, 3, 16), 530: number_tag(kind, 3, 2, 2), 531: number_tag(kind, 3, 1),
        532: number_tag(kind, 5, *[1] * 12), 50706: Tag(1, 4, b"\1\4\0\0"),
        34675: Tag(7, 5, b"wrong"), 330: number_tag(kind, 4, 8),
    }  # fmt: skip
    tags, exif_block = block(kind, unit=unit, more=of_pixels.items())
    file = file_with(holder, exif_block)
    result, notes, data = converted(file, "TIFF", tmp_path / "b.tif")
    assert notes == ()
    found_kind, page = first_page(data)
    for code, tag in tags.items():
        if code in of_pixels:
            assert page.tags.get(code) != tag
        else:
            wanted = tiff_tags.reordered(Directory({code: tag}), kind, found_kind)
            assert page.tags[code] == wanted.tags[code]
    assert tiff_tags.values(page.children[34665].tags[33434], found_kind) == (1, 8)
    assert result.pixels.shape == file.pixels.shape
    back, notes, _ = converted(result, holder, tmp_path / f"c.{holder.lower()}")
    kept, again = first_page(back.portable.exif), first_page(exif_block)
    for code in (*TEXTS, *WIDE, 274, 18246, 18249, 50341):
        assert tiff_tags.reordered(kept[1], kept[0], again[0]).tags[code] == again[1].tags[code]
    assert "40091" not in " ".join(notes)
    assert "65001" in " ".join(notes)


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_resolution_of_the_file_goes_before_that_of_exif(tmp_path, holder):
    if holder == "WEBP":
        return
    _, exif_block = block(Kind())
    file = file_with(holder, exif_block, dpi=(72, 72))
    result, _, data = converted(file, "TIFF", tmp_path / "b.tif")
    assert result.portable.dpi == pytest.approx((72, 72), rel=1e-3)
    assert tiff_tags.values(first_page(data)[1].tags[282], Kind())[0] != 600


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("unit", [2, 3])
@pytest.mark.parametrize("orientation", [1, 6, 0])
@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
def test_a_resolution_that_only_exif_has_stays(tmp_path, suffix, holder, orientation, unit, strip):
    _, exif_block = block(Kind(">"), unit=unit, orientation=orientation, thumbnail=True)
    file = file_with(holder, exif_block)
    file = file.without_metadata() if strip else file
    wanted = FORMATS[suffix]
    result, notes, data = converted(file, wanted, tmp_path / f"b{suffix}")
    inches = 2.54 if unit == 3 else 1
    assert result.portable.dpi == pytest.approx((300 * inches, 200 * inches), rel=5e-3)
    assert not any("resolution" in note for note in notes)
    seen = orientation or 1
    assert exif.orientation_of(result.portable.exif) == (1 if suffix == ".bmp" else seen)
    assert (b"t271" in data) == (not strip and suffix != ".bmp")
    assert (THUMBNAIL in notes) == (suffix == ".tif" and not strip)


@pytest.mark.parametrize("holder", HOLDERS)
def test_damaged_exif_is_told_and_keeps_what_can_be_read(tmp_path, holder):
    _, whole = block(Kind())
    count = struct.unpack_from("<H", whole, at := struct.unpack_from("<I", whole, 4)[0])[0]
    link = at + 2 + 12 * count
    behind = whole[:link] + struct.pack("<I", 2**31) + whole[link + 4 :]
    circle = whole[:link] + struct.pack("<I", at) + whole[link + 4 :]
    for spoilt in (behind, circle):
        file = file_with(holder, spoilt)
        result, notes, data = converted(file, "TIFF", tmp_path / "b.tif")
        assert notes == ("in Exif, what follows its first directory is damaged and was left out.",)
        assert first_page(data)[1].tags[40091].data == "Abc".encode("utf-16-le")
        assert result.portable.dpi == (300, 200)
    # The first directory ends early, but says which side is up.
    short = whole[:at] + whole[at : at + 2 + 12 * 8]
    file = file_with(holder, short)
    result, notes, _ = converted(file, "TIFF", tmp_path / "b.tif")
    assert notes == ("Exif is damaged and was left out.",)
    assert exif.orientation_of(result.portable.exif) == exif.orientation_of(short) == 6
    stripped = file.without_metadata()
    assert exif.orientation_of(stripped.portable.exif) == 6
    for junk in (b"junk", b"II*\0", b"MM\0*\xff\xff\xff\xff"):
        file = replace(file, portable=replace(file.portable, exif=junk, dpi=None), layout=None)
        assert "Exif is damaged and was left out." in check_writable(file, tmp_path / "b.tif")
        assert "orientation" not in str(converted(file, "TIFF", tmp_path / "b.tif")[1])


def test_a_damaged_tag_in_exif_is_named(tmp_path):
    tags = {271: Tag(2, 3, b"ab\0"), 40091: Tag(1, 100, b"x" * 100)}
    whole = bytearray(tiff_tags.write_directories(Kind(), [(Directory(tags), (273, 279), [])]))
    entry = whole.index(struct.pack("<HH", 40091, 1))
    struct.pack_into("<I", whole, entry + 4, 2**20)
    file = file_with("JPEG", bytes(whole))
    _, notes, _ = converted(file, "TIFF", tmp_path / "b.tif")
    assert notes == ("in Exif, tag 40091 is damaged and was left out.",)


def test_what_pillow_reads_of_it(tmp_path):
    _, exif_block = block(Kind())
    data = encode_image((file := file_with("JPEG", exif_block)).pixels, file, "TIFF")
    with Image.open(io.BytesIO(data)) as image:
        found = image.getexif()
        assert (found[18246], found[282], image.info["dpi"]) == (4, 300, (300, 200))
        assert found[40091] == "Abc".encode("utf-16-le")
