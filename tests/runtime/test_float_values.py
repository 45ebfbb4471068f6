"""Values of float images that would spoil the pixels around them are refused, on every way in."""

from pathlib import Path

import numpy as np
import pytest

import adnet
from adnet.errors import ImageError, PrecisionError, UsageError
from adnet.images.compare import draw
from adnet.images.formats.codec import encode_image
from adnet.images.formats.image_file import ImageFile
from adnet.images.formats.tiff import TiffLayout
from adnet.images.formats.tiff_tags import Kind, Tag
from adnet.images.formats.tiff_write import plain_layout
from adnet.images.image import load_image, read_image
from adnet.runtime import loading
from adnet.runtime.backend import Backend
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.in_memory import denoise_file
from adnet.runtime.jobs import Job
from adnet.runtime.loading import Limits

HUGE = [
    *(("f2", value) for value in (65504, -1001)),
    *(("f4", value) for value in (-3.4028234663852886e38, 1e20, 1002)),
    *(("f8", value) for value in (-1.797e308, 1e300, -9999)),
]
UNIT = (0.0, 1.0)


def floats(dtype, value=0.5, shape=(60, 60)):
    pixels = np.random.default_rng(0).random(shape).astype(dtype)
    pixels[30, 30] = pixels[50, 7] = value
    return pixels


def tiff_of(pixels, no_data=None):
    page = plain_layout(pixels, Kind())
    if no_data is not None:
        text = no_data.encode() + b"\0"
        page.directory.tags[42113] = Tag(2, len(text), text)
    like = ImageFile(pixels, "TIFF", layout=TiffLayout(Kind(), (page,)))
    return encode_image(pixels, like)


def from_file(tmp_path, data, value_range=None, sigma=None):
    """Denoise a file as adnet-run does: the one error, or else its notes and pixels."""
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    source.write_bytes(data)
    with Denoiser(tile=64, value_range=value_range, sigma=sigma) as denoiser:
        limits = Limits(value_range=value_range, memory=200 << 20, most=200 << 20)
        summary = run_jobs([Job(source, target)], denoiser, limits=limits)
    assert bool(summary.failed) != target.exists()
    if summary.failed:
        return summary.failed[0][1]
    return [note for _, note in summary.notes], read_image(target).pixels


@pytest.fixture(params=["whole", "bands"])
def way(request, monkeypatch):
    if request.param == "bands":
        monkeypatch.setattr(loading, "whole_bytes", lambda *_: 2**50)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 65535), (-1000, 1), (0, 1e30)])
def test_images_to_learn_from_have_no_other_range(tmp_path, low, high):
    """No program but adnet-run takes --range, so none of the others may speak of it."""
    pixels = np.linspace(low, high, 48 * 40, dtype=np.float32).reshape(40, 48)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of(pixels))
    with pytest.raises(ImageError, match="a.tif") as caught:
        load_image(path, 1)
    assert "--range" not in str(caught.value)
    assert any(word in str(caught.value) for word in ("Scale the file", "in a range of 0 to 1"))
    path.write_bytes(tiff_of(pixels / np.float32(high)) if low == 0 else tiff_of(pixels * 0))
    assert load_image(path, 1).shape == (40, 48)


@pytest.mark.parametrize(("dtype", "value"), HUGE)
def test_huge_values_in_files(tmp_path, way, dtype, value):
    data = tiff_of(floats(dtype, value))
    for sigma in (None, "auto"):
        error = from_file(tmp_path, data, UNIT, sigma)
        assert f"a.tif: 2 of its values are {float(np.dtype(dtype).type(value)):.4g}" in error
        assert "fill it first" in error
        assert "a wider --range BLACK,WHITE" in error
    unsaid = from_file(tmp_path, data)
    assert "they are taken as they stand" not in unsaid  # since they are not
    assert f"{float(np.dtype(dtype).type(value)):.4g}" in unsaid


@pytest.mark.parametrize(("dtype", "value"), HUGE)
def test_huge_values_in_arrays_pipes_and_requests(dtype, value):
    pixels = floats(dtype, value)
    for shape in ((60, 60), (60, 60, 1), (60, 60, 3)):
        array = np.broadcast_to(pixels.reshape(60, 60, 1), (60, 60, shape[-1] % 60 or 1))
        with pytest.raises(ImageError, match=r"of its values are .* a wider value_range="):
            adnet.denoise(np.ascontiguousarray(array).reshape(shape), value_range=UNIT)
    with pytest.raises(ImageError):
        denoise_file(tiff_of(pixels), lambda frame: frame)  # as adnet-serve does
    stdin = Job(Path("stdin"), Path("stdout"))
    with pytest.raises(ImageError, match=r"stdin: 2 of its values are"):
        loading.load_from(stdin, ImageFile(pixels, "TIFF"), Limits(value_range=UNIT))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(dtype, value):
    for value_range in (None, UNIT):
        with pytest.raises(ImageError, match=r"^2 of its values are (not numbers|infinite)"):
            adnet.denoise(floats(dtype, value), value_range=value_range)
    one = floats(dtype)
    one[3, 3] = value
    with pytest.raises(ImageError, match=r"^1 of its values is "):
        adnet.denoise(one)


@pytest.mark.parametrize("no_data", ["-9999", " -32768 ", "5000", "-3.4028234663852886e+38"])
def test_what_the_file_calls_missing(tmp_path, way, no_data):
    """In any range in which it is no brightness."""
    data = tiff_of(floats("f4", float(no_data)), no_data)
    for value_range in (None, UNIT, (0.0, 2000.0)):
        error = from_file(tmp_path, data, value_range)
        assert f"2 of its values are {float(no_data):.4g}, which stands for missing" in error
        assert "GDAL_NODATA" in error
        with pytest.raises(ImageError, match=r"a\.tif: 2 of its values are .* GDAL_NODATA"):
            adnet.denoise(tmp_path / "a.tif", value_range=value_range)


@pytest.mark.parametrize("no_data", ["-9999", "nan", "0", "none", ""])
def test_missing_data_that_do_not_occur_or_do_no_harm(tmp_path, way, no_data):
    pixels = floats("f4", 0.0)
    notes, result = from_file(tmp_path, tiff_of(pixels, no_data))
    assert notes == []
    assert np.isfinite(result).all()


def test_missing_data_in_half_floats(tmp_path, way):
    """-9999 is -10000 there, in the pixels alone."""
    data = tiff_of(floats("f2", -9999), "-9999")
    assert "missing data by the file's tag" in from_file(tmp_path, data, (0.0, 100.0))


@pytest.mark.parametrize(
    ("dtype", "black", "white"),
    [
        ("f2", 0, 65504), ("f2", -60000, 5000), ("f4", 0, 3.4e38), ("f4", -1.5e38, 1.5e38),
        ("f4", 0, 1e-38), ("f8", 0, 2e300), ("f8", -8e307, 8e307), ("f8", 1e6, 1e6 + 1),
        ("f8", 0, 1e-300),
    ],
)  # fmt: skip
def test_any_range_gives_what_the_nominal_one_gives(tmp_path, way, dtype, black, white):
    nominal = np.random.default_rng(1).random((60, 60))
    pixels = (nominal * (white - black) + black).astype(dtype)
    with Denoiser("gray-blind", tile=64, value_range=(black, white)) as denoiser:
        array = denoiser(pixels)
        half = Denoiser("gray-blind", value_range=(black, white), strength=0.5)(pixels)
    expected = adnet.denoise(nominal, "gray-blind")
    _, result = from_file(tmp_path, tiff_of(pixels), (black, white))
    assert np.array_equal(result, array)
    assert result.dtype == half.dtype == np.dtype(dtype)
    step = 40 if dtype == "f2" else 1e-6 * (white - black)
    for found, mapped in ((result, expected), (half, (expected + nominal) / 2)):
        wanted = mapped * (white - black) + black
        assert np.abs(found.astype("f8") / 2 - wanted / 2).max() <= step


def test_a_reference_with_huge_values_is_drawn_without_a_warning():
    for dtype, value in HUGE:
        for value_range in (UNIT, (0.0, 1e-30)):
            draw([("reference", floats(dtype, value))], value_range)


def test_a_range_whose_width_is_not_finite_is_none():
    with pytest.raises(UsageError, match="difference"):
        Denoiser(value_range=(-1.7e308, 1.7e308))


@pytest.mark.parametrize("dtype", ["u1", "u2", "f2", "f4", "f8"])
@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
def test_a_result_that_is_not_finite_is_an_error_and_no_file(
    tmp_path, way, monkeypatch, dtype, spoilt
):
    def infer(self, batch):
        result = batch.copy()
        result[..., 40, 5] = spoilt
        return result

    monkeypatch.setattr(Backend, "infer", infer)
    pixels = (floats("f8") * (1 if dtype[0] == "f" else 200)).astype(dtype)
    for value_range in (None, UNIT, (0.0, 10.0)):
        assert "no finite numbers" in from_file(tmp_path, tiff_of(pixels), value_range)
        with pytest.raises(PrecisionError, match="no finite numbers"):
            adnet.denoise(pixels, value_range=value_range)
