"""A folder of some 300 odd files through adnet-run: all the good ones, and words for the others."""

import json
import os
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from image_files import SHAPES, make, pixels_of
from PIL import Image
from test_apng import apng
from test_hostile import header_only, tiff_with

from adnet.errors import ImageError
from adnet.images.formats.codec import encode_image
from adnet.images.formats.image_file import ImageFile
from adnet.images.formats.tiff import TiffLayout
from adnet.images.formats.tiff_data import WRITABLE
from adnet.images.formats.tiff_tags import Kind
from adnet.images.formats.tiff_write import plain_layout
from adnet.images.image import read_image

SUFFIXES = {"PNG": ".png", "TIFF": ".tif", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp",
            "GIF": ".gif"}  # fmt: skip


def by_pillow():
    for kind, suffix in SUFFIXES.items():
        for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB", "YCbCr", "I;16", "F"):
            for metadata in (False, True):
                try:
                    data = make(kind, mode, metadata)
                except (ValueError, KeyError):
                    continue
                if data:
                    yield f"{mode.replace(';', '')}-{metadata}{suffix}", data


def by_our_own():
    for kind, suffix in SUFFIXES.items():
        for dtype, shape in product(("u1", "u2", "f2", "f4", "f8"), SHAPES):
            pixels = pixels_of(shape, dtype)
            try:
                yield (
                    f"{dtype}-{len(shape)}-{shape[-1]}{suffix}",
                    encode_image(pixels, ImageFile(pixels, kind)),
                )
            except ImageError:
                continue
    for channels, dtype in product((1, 2, 3, 4), ("u1", "u2")):
        places = [(0, 0, 12, 9, 0, 0), (3, 2, 5, 6, 1, 1), (1, 0, 10, 3, 2, 0)]
        yield f"frames-{dtype}-{channels}.png", apng(places, dtype, channels)[0]
    pages = [pixels_of(shape, dtype) for shape in SHAPES for dtype in ("u1", "u2", "f4")]
    yield "pages.tif", encode_image(pages, ImageFile(pages[0], "TIFF", more=(*pages[1:],)))


def tiffs():
    """Every compression, byte order, tiling and arrangement of planes."""
    for compression, order, big, planar, tile, dtype in product(
        WRITABLE, "<>", (False, True), (False, True), (None, (16, 32)), ("u1", "f4")
    ):
        kind, pixels = Kind(order, big), pixels_of((40, 50, 3), dtype)
        plain = plain_layout(pixels, kind)
        block = replace(plain.block, compression=compression)
        block = block if compression not in (1, 32773) else replace(block, predictor=1)
        page = replace(plain, block=block, planar=planar, tile=tile, strip=7)
        like = ImageFile(pixels, "TIFF", TiffLayout(kind, (page,)))
        name = (
            f"{compression}-{'II' if order == '<' else 'MM'}-{big}-{planar}-{tile is None}-{dtype}"
        )
        yield f"{name}.tif", encode_image(pixels, like)


def damaged():
    for kind, suffix in SUFFIXES.items():
        whole = encode_image(pixels_of((60, 50, 3), "u1"), ImageFile(np.zeros((1, 1)), kind))
        for length in range(0, len(whole) - 8, 1024):
            yield f"cut-{length}{suffix}", whole[:length]
        yield f"huge{suffix}", header_only(kind, 16_000 if kind == "WEBP" else 60_000)
        yield f"text{suffix}", b"no image"
        yield f"heic{suffix}", b"\0\0\0\x18ftypheic" + bytes(50)
    for name, tags in {"mask": {262: 4}, "raw": {262: 32803}, "i32": {258: 32}, "jp2": {259: 34712},
                       "planes": {277: 999}, "empty": {256: 0}}.items():  # fmt: skip
        yield f"{name}.tif", tiff_with(tags, [bytes(64)])


def fill(folder):
    """Write the files; returns the names of those that are right, and of those that are not."""
    good, bad = {**dict(by_pillow()), **dict(by_our_own()), **dict(tiffs())}, dict(damaged())
    good["wrong-name.jpg"] = good["u1-3-3.png"]
    for name, data in {**good, **bad}.items():
        (folder / name).write_bytes(data)
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    (folder / "photo.heic").touch()
    os.mkfifo(folder / "pipe.png")
    # Floats from 0 to 255: right as files, but their range has to be said.
    unsaid = {"F-False.tif", "F-True.tif"}
    return set(good) - unsaid, {*bad, *unsaid, "gone.png"}


@pytest.mark.slow
def test_folder_of_odd_files(cli, tmp_path):
    (tmp_path / "in").mkdir()
    good, bad = fill(tmp_path / "in")
    assert len(good) + len(bad) > 300
    result = cli("adnet-run", tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    told = json.loads(result.stdout)
    failed = {os.path.basename(one["input"]): one["error"] for one in told["failed"]}
    written = {os.path.basename(path) for path in told["written"]}
    assert written == good
    assert set(failed) == bad
    assert all("unexpected" not in error for error in failed.values())
    for name in sorted(good):
        before, after = read_image(tmp_path / "in" / name), read_image(tmp_path / "out" / name)
        for one, two in zip(before.frames, after.frames, strict=True):
            assert (one.shape, one.dtype) == (two.shape, two.dtype), name
        # Pillow has no deeper RGB, and no BigTIFF of this byte order.
        shallow = all(frame.dtype == np.uint8 for frame in before.frames)
        if shallow and "MM-True" not in name:
            with Image.open(tmp_path / "out" / name) as shown:
                shown.load()
    print(f"{len(written)} written, {len(failed)} refused:")  # noqa: T201
    for _, error in sorted(failed.items()):
        print(error.replace(str(tmp_path), ""))  # noqa: T201
