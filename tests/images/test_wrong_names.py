"""Files whose names say another format than they have: written as the name says, and told."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from image_files import pixels_of
from PIL import Image

from adnet.images.formats.codec import check_writable, decode_image, encode_image
from adnet.images.formats.image_file import ImageFile
from adnet.images.formats.kinds import FORMATS
from adnet.images.formats.webp import WebpLayout
from adnet.images.image import read_image
from adnet.runtime.jobs import Job
from adnet.runtime.loading import Limits, load_from

PIXELS = pixels_of((9, 12, 3), "u1") // 8 * 8
PIXELS[...] = PIXELS[:1, :1] + np.arange(12, dtype=np.uint8)[:, None]  # few colours, for GIF
KINDS = ("PNG", "TIFF", "JPEG", "WEBP", "lossless WEBP", "GIF", "BMP")


def made(kind):
    layout = WebpLayout(lossless=(True,)) if kind == "lossless WEBP" else None
    return encode_image(PIXELS, ImageFile(PIXELS, kind.split()[-1], layout))


@pytest.mark.parametrize("suffix", [*FORMATS, ".JPG", ".other", ""])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quality", [None, 80])
def test_what_a_file_becomes_is_what_its_name_says(kind, suffix, quality):
    name = Path(f"a{suffix}")
    source = decode_image(made(kind), "a")
    before = source.pixels
    file = load_from(Job(name, Path("out") / name), source, Limits(quality=quality))
    wanted = FORMATS.get(suffix.lower(), source.format)
    again = decode_image(encode_image(file.frames, file, wanted), "b")
    assert again.format == wanted
    told = [line for line in file.notes if "named" in line]
    if wanted == source.format:
        assert told == []
        return
    lossy = wanted == "JPEG" or (wanted == "WEBP" and (kind == "JPEG" or quality is not None))
    end = {"JPEG": ", which is lossy", "WEBP": f", which is {'lossy' if lossy else 'lossless'}"}
    assert told == [
        f"is a {source.format} file named {suffix}, so it became {wanted}{end.get(wanted, '')}."
    ]
    if not lossy:
        assert np.array_equal(again.pixels[..., :3], before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", FORMATS)
def test_another_format_that_was_asked_for_needs_no_line(kind, suffix):
    """The input's name is right, or the output has another ending than it."""
    source = decode_image(made(kind), "a")
    right = {kind: ending for ending, kind in reversed(FORMATS.items())}[source.format]
    names = [f"a{right}", "a", "stdin"]
    names += [other for other in FORMATS if FORMATS[other] != FORMATS[suffix]]
    for name in names:
        file = load_from(Job(Path(name), Path(f"b{suffix}")), source, Limits())
        assert all("named" not in line for line in file.notes)
        assert not file.lossless


def test_webp_is_lossless_where_that_is_asked_for():
    file = replace(decode_image(made("PNG"), "a"), lossless=True)
    exact = decode_image(encode_image(PIXELS, file, "WEBP"), "b")
    assert np.array_equal(exact.pixels, PIXELS)
    assert check_writable(file, Path("b.webp")) == ()


def test_adnet_run_says_so_beforehand_and_after(cli, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "b.webp", "c.tif", "d.png"):
        Image.fromarray(PIXELS).save(tmp_path / "in" / name, "JPEG" if name == "d.png" else "PNG")
    expected = {
        "a.jpg": "is a PNG file named .jpg, so it became JPEG, which is lossy.",
        "b.webp": "is a PNG file named .webp, so it became WEBP, which is lossless.",
        "c.tif": "is a PNG file named .tif, so it became TIFF.",
        "d.png": "is a JPEG file named .png, so it became PNG.",
    }
    arguments = ("adnet-run", tmp_path / "in", "-o", tmp_path / "out", "--strength", "0", "--json")
    planned = json.loads(cli(*arguments, "--dry-run").stdout)
    assert {os.path.basename(one["input"]): one["notes"] for one in planned} == {
        name: [line] for name, line in expected.items()
    }
    told = json.loads(cli(*arguments).stdout)["kept_differently"]
    assert {os.path.basename(one["input"]): one["note"] for one in told} == expected
    for name in ("b.webp", "c.tif"):
        assert np.array_equal(read_image(tmp_path / "out" / name).pixels, PIXELS)
    lossy = cli(*arguments, "--quality", "50", "--overwrite")
    told = json.loads(lossy.stdout)["kept_differently"]
    assert {os.path.basename(one["input"]): one["note"] for one in told} == {
        **expected, "b.webp": "is a PNG file named .webp, so it became WEBP, which is lossy."
    }  # fmt: skip
