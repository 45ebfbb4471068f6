"""What the header tells of an image before it is read, whatever Pillow calls the format."""

import io
import json

import numpy as np
import pytest
from image_files import make, picture, pixels_of
from PIL import Image

import adnet
from adnet.images.formats.codec import _FORMATS, encode_image
from adnet.images.formats.image_file import ImageFile
from adnet.images.formats.kinds import FORMATS
from adnet.images.formats.need import glance, whole_bytes
from adnet.images.image import read_image

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")
JPEG_NAMES = [suffix for suffix, kind in FORMATS.items() if kind == "JPEG"]


def mpo(mode="RGB", count=2):
    file = io.BytesIO()
    image = picture(mode)
    image.save(file, "MPO", save_all=True, append_images=[image] * (count - 1))
    return file.getvalue()


def animated(kind):
    frames = [Image.fromarray(pixels_of((9, 12, 3), "u1", seed)) for seed in range(3)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=[30, 40, 50])
    return file.getvalue()


FILES = {f"{kind} {mode}": data for kind in ("JPEG", "WEBP", "GIF", "BMP") for mode in MODES
         if (data := make(kind, mode, metadata=kind == "JPEG"))}  # fmt: skip
FILES |= {f"MPO {mode} {count}": mpo(mode, count) for mode in ("L", "RGB", "CMYK")
          for count in (1, 2, 3)}  # fmt: skip
FILES |= {f"animated {kind}": animated(kind) for kind in ("WEBP", "GIF")}
FILES["broken MPF"] = mpo().replace(b"MPF\0II", b"MPF\0XX")


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("what", FILES)
def test_the_header_tells_what_is_read(tmp_path, what, suffix):
    """Under every name; and there is a figure for every format that it can be."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(FILES[what])
    before, after = glance(path), read_image(path)
    assert before is not None
    assert before.format == after.format
    assert len(before.frames) == len(after.frames)
    for one, two in zip(before.frames, after.frames, strict=True):
        assert one.shape[:2] == two.shape[:2]
        assert one.size >= two.size
    for wanted in _FORMATS:
        assert whole_bytes(before, wanted, 0) >= whole_bytes(after, wanted, 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_png_and_tiff_are_left_to_their_own(tmp_path, kind):
    pixels = pixels_of((9, 12, 3), "u1")
    (tmp_path / "a.jpg").write_bytes(encode_image(pixels, ImageFile(pixels, kind)))
    assert glance(tmp_path / "a.jpg") is None


def test_jpegs_of_several_pictures_are_denoised(cli, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for suffix in JPEG_NAMES:
        (source / f"a{suffix}").write_bytes(mpo())
    expected = adnet.denoise(source / "a.jpg")
    assert expected.shape == (20, 30, 3)
    planned = cli("adnet-run", source, "-o", tmp_path / "out", "--dry-run", "--json")
    assert [one["will"] for one in json.loads(planned.stdout)] == ["denoise"] * len(JPEG_NAMES)
    done = cli("adnet-run", source, "-o", tmp_path / "out", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, len(told["written"])) == (0, len(JPEG_NAMES))
    assert {one["note"] for one in told["kept_differently"]} == {
        "the further pictures beside the main one (MPO) were left out."
    }
    result = adnet.denoise_folder(source, tmp_path / "again")
    assert len(result.written) == len(JPEG_NAMES)
    for path in result.written:
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
        shown = np.asarray(Image.open(path)).astype(int)
        assert np.abs(shown - expected).mean() < 10  # quality 75
