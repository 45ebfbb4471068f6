"""An image that is another one than that which a run by chunk began with, of every kind."""

import io

import numpy as np
import pytest
from smear import install

from adnet import storage
from adnet.errors import ImageError, UsageError
from adnet.images.levels import to_levels
from adnet.images.synthetic import render
from adnet.runtime.settings import Settings

zarr = pytest.importorskip("zarr")
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")
from adnet.runtime.gigapixel.run import denoise_by_chunk  # noqa: E402

pytestmark = [pytest.mark.scale, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture
def smear(monkeypatch, tmp_path_factory):
    return Settings(model=str(install(monkeypatch, tmp_path_factory.mktemp("smear"))[0]))


def pixels_of():
    return to_levels(render(150, 170, 1, 3).reshape(150, 170))


class Stop(Exception):
    pass


SOURCES = ["in.tif", "v2.zarr", "v3.zarr", "group.zarr"]


def put_source(place, pixels):
    """Write an image of a kind; another one of the same shape has files of the same sizes."""
    place = place.removeprefix("file://")  # there, zarr makes no folders
    if place.endswith(".tif"):
        data = io.BytesIO()
        tifffile.imwrite(data, pixels, tile=(64, 64), metadata=None)
        storage.put(place, data.getvalue())
        return
    grouped = place.endswith("group.zarr")
    if grouped:
        zarr.open_group(place, mode="a")
    zarr.create_array(
        place, name="0" if grouped else None, shape=pixels.shape, dtype=pixels.dtype,
        chunks=(80, 100), compressors=None, overwrite=True,
        zarr_format=2 if place.endswith("v2.zarr") else 3,
    )[:] = pixels  # fmt: skip


@pytest.fixture(scope="module")
def bucket():
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    from object_store import object_store

    with object_store():
        yield "s3://photos"


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("where", ["here", "s3", "file", "memory"])
def test_the_rest_of_a_run_is_not_taken_up_for_a_replaced_image(
    tmp_path, smear, request, where, name
):
    places = {"here": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{tmp_path}"}
    base = places.get(where) or f"{request.getfixturevalue('bucket')}/{tmp_path.name}"
    source, target = storage.join(base, name), str(tmp_path / "out.zarr")
    pixels = pixels_of()
    put_source(source, pixels)
    sizes = [size for _, (size, _) in storage.states_below(base)]

    def stop(*_):
        raise Stop

    with pytest.raises(Stop):
        denoise_by_chunk(source, target, smear, chunk=64, on_pixels=stop)
    with pytest.raises(Stop):  # the same image is taken up
        denoise_by_chunk(source, target, smear, chunk=64, on_pixels=stop)
    put_source(source, 255 - pixels)
    assert [size for n, (size, _) in storage.states_below(base) if "out.zarr" not in n] == sizes
    with pytest.raises(UsageError, match="another image"):
        denoise_by_chunk(source, target, smear, chunk=64)
    denoise_by_chunk(source, target, smear, chunk=64, overwrite=True)
    expected = str(tmp_path / "expected.zarr")
    denoise_by_chunk(source, expected, smear, chunk=64)
    np.testing.assert_array_equal(zarr.open(target)[:], zarr.open(expected)[:])


@pytest.mark.parametrize("name", SOURCES)
def test_an_image_that_is_replaced_while_it_is_read_is_no_result(tmp_path, smear, name):
    source, target = str(tmp_path / name), tmp_path / "out.zarr"
    pixels = pixels_of()
    put_source(source, pixels)
    calls = []

    def swap(*_):
        if not calls:
            put_source(source, 255 - pixels)
        calls.append(1)

    with pytest.raises(ImageError, match="changed while it was denoised"):
        denoise_by_chunk(source, str(target), smear, chunk=64, on_pixels=swap)
    assert not target.exists()


def test_a_result_within_its_own_image_is_refused(tmp_path, smear):
    source = str(tmp_path / "v3.zarr")
    put_source(source, pixels_of())
    with pytest.raises(UsageError, match="inside the input"):
        denoise_by_chunk(source, f"{source}/out.zarr", smear, chunk=64)
