"""adnet-run on every kind of image: the pixels that the network makes, and what is told."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from image_files import make, pixels_of
from PIL import Image

from adnet.images.formats.codec import check_writable, encode_image
from adnet.images.formats.image_file import ImageFile
from adnet.images.image import read_image, write_image
from adnet.images.synthetic import render
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import plan_jobs


@pytest.fixture(scope="module")
def denoiser():
    with Denoiser() as one:
        yield one


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_result_is_that_of_the_float_array(tmp_path, denoiser, suffix, channels, dtype):
    if suffix == ".png" and dtype == "f4":
        return
    clean = render(60, 50, channels - (channels % 2 == 0), 0).reshape(50, 60, -1)
    noisy = clean + np.random.default_rng(0).normal(0, 0.1, clean.shape)
    if channels in (2, 4):
        noisy = np.dstack([noisy, np.linspace(0, 1, 3000).reshape(50, 60)])
    white = 1 if dtype == "f4" else np.iinfo(dtype).max
    pixels = noisy if dtype == "f4" else np.rint(np.clip(noisy, 0, 1) * white)
    pixels = np.squeeze(pixels.astype(dtype))
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / f"a{suffix}"
    write_image(source, pixels, ImageFile(pixels, "PNG" if suffix == ".png" else "TIFF"))
    summary = run_jobs(plan_jobs([tmp_path / "in"], tmp_path / "out"), denoiser)
    assert (summary.failed, summary.notes) == ([], [])
    result = read_image(tmp_path / "out" / f"a{suffix}").pixels
    assert result.dtype == pixels.dtype
    expected = denoiser((pixels / white).astype(np.float32)) * white
    if dtype != "f4":
        expected = np.clip(expected, 0, white)
    assert np.abs(result - expected).max() <= (0.51 if dtype != "f4" else 1e-6)
    if channels in (2, 4):
        assert np.array_equal(result[..., -1], pixels[..., -1])


def test_all_pages_and_frames_are_denoised(tmp_path, denoiser):
    frames = [pixels_of((45, 50, 3), "u1", seed) for seed in range(3)]
    pages = [frames[0], frames[1][..., 0], pixels_of((50, 60), "u2")]
    (tmp_path / "in").mkdir()
    pictures = [Image.fromarray(frame) for frame in frames]
    for name in ("a.png", "a.webp", "a.gif"):
        options = {"lossless": True} if name == "a.webp" else {}
        pictures[0].save(tmp_path / "in" / name, save_all=True, append_images=pictures[1:],
                         duration=[30, 40, 50], **options)  # fmt: skip
    write_image(tmp_path / "in" / "a.tif", pages, ImageFile(pages[0], "TIFF", more=(*pages[1:],)))
    summary = run_jobs(plan_jobs([tmp_path / "in"], tmp_path / "out"), denoiser)
    assert summary.failed == []
    assert summary.pixels == 3 * 3 * 45 * 50 + 2 * 45 * 50 + 50 * 60
    for name in ("a.png", "a.webp", "a.gif", "a.tif"):
        before, after = read_image(tmp_path / "in" / name), read_image(tmp_path / "out" / name)
        for one, two in zip(before.frames, after.frames, strict=True):
            assert (one.shape, one.dtype) == (two.shape, two.dtype)
            expected = denoiser(one)
            if name != "a.gif":
                assert np.array_equal(two, expected)
        with Image.open(tmp_path / "in" / name) as one, Image.open(tmp_path / "out" / name) as two:
            assert two.n_frames == 3
            if name != "a.tif":
                for number in range(3):
                    one.seek(number)
                    two.seek(number)
                    one.load()
                    two.load()
                    assert one.info["duration"] == two.info["duration"]


def test_what_is_kept_differently_is_told(cli, tmp_path):
    (tmp_path / "in").mkdir()
    for kind, mode, name in (
        ("TIFF", "CMYK", "a.tif"),
        ("PNG", "P", "b.png"),
        ("PNG", "1", "c.png"),
    ):
        (tmp_path / "in" / name).write_bytes(make(kind, mode, metadata=True))
    (tmp_path / "in" / "d.heic").touch()
    result = cli("adnet-run", tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)["kept_differently"]
    assert [(os.path.basename(one["input"]), one["note"]) for one in told] == [
        ("a.tif", "CMYK became RGB by the plain formula, since its ICC profile cannot be used."),
        ("b.png", "the palette became RGB."),
        ("c.png", "1 bit per pixel became gray with 8 bits."),
    ]
    result = cli(
        "adnet-run", tmp_path / "in", "-o", tmp_path / "out", "--overwrite", "--strip-metadata"
    )
    assert f"note: {tmp_path / 'in' / 'b.png'}: the palette became RGB." in result.stdout
    assert "ignored: .heic: HEIC is not supported. Convert it" in result.stdout
    assert b"Camera" in (tmp_path / "in" / "b.png").read_bytes()
    assert b"Camera" not in (tmp_path / "out" / "b.png").read_bytes()


@pytest.mark.parametrize(("dtype", "count"), [("u1", 0), ("u2", 1), ("f4", 1)])
def test_a_model_of_8_bits_is_told(tmp_path, dtype, count):
    pixels = pixels_of((5, 5), dtype)
    (tmp_path / "a.tif").write_bytes(encode_image(pixels, ImageFile(pixels, "TIFF")))

    class EightBits:
        lanes = 1
        card = SimpleNamespace(channels=1, name="8 bits")
        spec = SimpleNamespace(dtype="uint8")
        sigma = color_mode = None

        def __call__(self, image, on_pixels, *, sigma=None):
            return image

        def model_for(self, channels, sigma=None):
            return self

        def choice(self, channels, sigma=None):
            return None

    summary = run_jobs(plan_jobs([tmp_path / "a.tif"], tmp_path / "out"), EightBits())
    assert len(summary.written) == 1
    assert len([note for _, note in summary.notes if "takes 8 bits" in note]) == count


@pytest.mark.parametrize(
    ("pixels", "name", "words"),
    [
        (pixels_of((5, 5, 4), "u1"), "a.jpg", "cannot hold transparency"),
        (pixels_of((5, 5, 2), "u1"), "a.jpg", "cannot hold transparency"),
        (pixels_of((5, 5, 2), "u1"), "a.bmp", "cannot hold gray with transparency"),
        (pixels_of((5, 5), "u2"), "a.jpg", "more than 8 bits"),
        (pixels_of((5, 5, 3), "u2"), "a.webp", "more than 8 bits"),
        (pixels_of((5, 5, 3), "u2"), "a.gif", "more than 8 bits"),
        (pixels_of((5, 5, 3), "u2"), "a.bmp", "more than 8 bits"),
        (pixels_of((5, 5, 3), "f4"), "a.png", "cannot hold floats"),
        (pixels_of((1, 16_384, 3), "u1"), "a.webp", "larger than 16383 pixels"),
        (pixels_of((65_501, 1), "u1"), "a.jpg", "larger than 65500 pixels"),
        (pixels_of((1, 65_536), "u1"), "a.gif", "larger than 65535 pixels"),
    ],
)
def test_what_cannot_be_written_is_found_before_the_network_runs(tmp_path, pixels, name, words):
    kind = "TIFF" if pixels.dtype.kind == "f" else "PNG"
    (tmp_path / name).write_bytes(encode_image(pixels, ImageFile(pixels, kind)))
    calls = []

    class Never:
        lanes = 1

        def __call__(self, *arguments):
            calls.append(arguments)

    summary = run_jobs(plan_jobs([tmp_path / name], tmp_path / "out"), Never())
    assert words in summary.failed[0][1]
    assert str(tmp_path / name) in summary.failed[0][1]
    assert calls == []


def test_metadata_without_a_place_is_told(tmp_path):
    file = read_image(_write(tmp_path / "a.png", make("PNG", "RGB", metadata=True)))
    assert check_writable(file, tmp_path / "b.png") == ()
    (note,) = check_writable(file, tmp_path / "b.tif")
    assert "tEXt" in note
    assert "cannot be carried into TIFF" in note
    notes = check_writable(file, tmp_path / "b.bmp")
    assert notes[0].startswith("Exif, XMP")
    assert "turned upright" in notes[1]
    pages = ImageFile(pixels_of((5, 5), "u1"), "TIFF", more=(pixels_of((5, 5), "u1"),))
    for name in ("b.png", "b.jpg", "b.gif"):
        with pytest.raises(Exception, match="2 frames or pages"):
            check_writable(pages, tmp_path / name)
    gif = ImageFile(pages.pixels, "GIF", more=pages.more)
    assert check_writable(gif, tmp_path / "b.tif") == (
        "frames became pages of the TIFF, without timing.",
    )


def _write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("source", ["png", "webp", "gif", "tif"])
def test_several_frames_go_to_their_own_format_and_to_tiff(tmp_path, denoiser, source):
    frames = [Image.fromarray(pixels_of((33, 40, 3), "u1", seed)) for seed in range(2)]
    path = tmp_path / f"a.{source}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    for target in ("png", "webp", "gif", "tif", "jpg", "bmp"):
        summary = run_jobs(plan_jobs([path], tmp_path / f"to.{target}"), denoiser)
        if target in (source, "tif"):
            assert summary.failed == []
        else:
            ((_, error),) = summary.failed
            assert "2 frames or pages" in error
            assert not (tmp_path / f"to.{target}").exists()
