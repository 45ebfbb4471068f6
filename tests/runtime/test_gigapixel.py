"""Images by chunk: equal to the whole image, resumed, every kind that is taken, plain refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
from smear import install

from adnet.errors import ImageError, UsageError
from adnet.images.levels import from_levels
from adnet.images.synthetic import render
from adnet.runtime.gigapixel.grid import Grid, require_chunk
from adnet.runtime.settings import Settings

zarr = pytest.importorskip("zarr")
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")
from adnet.runtime.gigapixel.run import denoise_by_chunk  # noqa: E402
from adnet.runtime.gigapixel.source import open_source  # noqa: E402

pytestmark = [pytest.mark.scale, pytest.mark.filterwarnings("ignore::UserWarning")]

KINDS = {
    "gray8": (1, "u1"), "gray16": (1, "u2"), "gray32f": (1, "f4"), "rgb8": (3, "u1"),
    "rgb16": (3, "u2"), "rgbf": (3, "f4"), "rgba8": (4, "u1"), "graya8": (2, "u1"),
    "gray64f": (1, "f8"), "gray16f": (1, "f2"),
}  # fmt: skip


@pytest.fixture
def smear(monkeypatch, tmp_path_factory):
    """Settings for a gray or colour image with the quick backend."""
    models = install(monkeypatch, tmp_path_factory.mktemp("smear"))
    return lambda image: Settings(model=str(models[image.ndim == 3 and image.shape[2] > 2]))


def pixels_of(kind, height=150, width=170):
    planes, dtype = KINDS[kind]
    colours = planes - (planes % 2 == 0)
    values = render(height, width, colours, 3).reshape(height, width, colours)
    values = np.clip(values + np.random.default_rng(1).normal(0, 0.1, values.shape), 0, 1)
    if planes % 2 == 0:
        ramp = np.linspace(0, 1, height * width).reshape(height, width, 1)
        values = np.concatenate([values, ramp], axis=2)
    if planes == 1:
        values = values[..., 0]
    if dtype[0] == "u":
        return np.rint(values * np.iinfo(dtype).max).astype(dtype)
    return values.astype(dtype)


def save(path, pixels, **options):
    extra = {}
    if pixels.ndim == 3:
        extra = {"photometric": "rgb" if pixels.shape[2] > 2 else "minisblack"}
        if pixels.shape[2] in (2, 4):
            extra |= {"extrasamples": [2], "planarconfig": "contig"}
    tifffile.imwrite(path, pixels, **{"metadata": None, **extra, **options})
    return path


def difference(one, other):
    white = np.iinfo(one.dtype).max if one.dtype.kind == "u" else 1.0
    return np.abs(one.astype(np.float64) - other.astype(np.float64)).max() / white


@pytest.mark.parametrize(("height", "width"), [(1, 1), (64, 64), (65, 300), (200, 129), (41, 1000)])
@pytest.mark.parametrize(("chunk", "halo"), [(64, 20), (64, 0), (128, 20)])
def test_chunks_cover_every_pixel_once_and_keep_their_halo(height, width, chunk, halo):
    grid = Grid(height, width, chunk, halo)
    seen = np.zeros((height, width), int)
    assert len(grid) == len(list(grid.cells))
    for cell in grid.cells:
        core, window = grid.core(cell), grid.window(cell)
        seen[core] += 1
        for at, whole, length in zip(core, window, (height, width), strict=True):
            assert 0 <= whole.start <= at.start < at.stop <= whole.stop <= length
            assert whole.start == 0 or at.start - whole.start >= halo
            assert whole.stop == length or whole.stop - at.stop >= halo
            assert whole.stop - whole.start == min(length, chunk + 2 * halo)
        marked = np.zeros((height, width), int)
        marked[core] = 1
        inside = marked[window][grid.core_within(cell)]
        assert inside.all()
        assert inside.size == marked.sum()
    assert (seen == 1).all()


@pytest.mark.parametrize("side", [0, 16, 63, 100, 1000])
def test_sides_that_no_tiff_tile_has_are_refused(side):
    with pytest.raises(UsageError, match="multiple of 16"):
        require_chunk(side)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_equal_to_the_whole_image(tmp_path, kind, suffix, smear):
    require_equal_to_the_whole(tmp_path, kind, suffix, smear)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "suffix"), [("gray8", ".tif"), ("rgba8", ".zarr"),
                                              ("gray32f", ".zarr"), ("rgbf", ".tif")])  # fmt: skip
def test_equal_to_the_whole_image_with_the_shipped_models(tmp_path, kind, suffix):
    require_equal_to_the_whole(tmp_path, kind, suffix, lambda _: Settings())


def require_equal_to_the_whole(tmp_path, kind, suffix, settings):
    pixels = pixels_of(kind)
    source = save(tmp_path / "in.tif", pixels, tile=(64, 64), compression="zlib")
    target = str(tmp_path / f"out{suffix}")
    result = denoise_by_chunk(str(source), target, settings(pixels), chunk=64)
    assert result.is_new
    assert result.pixels == 150 * 170
    with settings(pixels).open_denoiser() as denoiser:
        whole = denoiser(pixels)
    found = zarr.open(target)[:] if suffix == ".zarr" else tifffile.imread(target)
    assert found.dtype == pixels.dtype
    assert found.shape == pixels.shape
    if pixels.dtype.kind == "f" and pixels.dtype.itemsize > 2:
        assert difference(found, whole) < 1e-6
    else:  # 1e-6 may round to another level
        step = 1e-3 if pixels.dtype.kind == "f" else 1 / np.iinfo(pixels.dtype).max
        assert difference(found, whole) <= step * 1.001
        assert (found != whole).mean() < 0.01
    if KINDS[kind][0] % 2 == 0:
        np.testing.assert_array_equal(found[..., -1], pixels[..., -1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif", f"out{suffix}"]


STORED = {
    "plain": {}, "rows": {"rowsperstrip": 7}, "tiles": {"tile": (32, 48)},
    "lzw": {"tile": (64, 64), "compression": "lzw", "predictor": True},
    "zstd": {"rowsperstrip": 16, "compression": "zstd"},
    "deflate": {"tile": (128, 16), "compression": "zlib", "predictor": True},
    "big-endian": {"byteorder": ">"}, "big-endian tiles": {"byteorder": ">", "tile": (64, 64)},
    "bigtiff": {"bigtiff": True, "tile": (64, 64)}, "packbits": {"compression": "packbits"},
}  # fmt: skip


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("kind", ["gray8", "rgb16", "rgba8", "gray32f"])
def test_any_window_of_any_tiff_is_read_as_stored(tmp_path, stored, kind):
    pixels = pixels_of(kind)
    options = STORED[stored]
    if stored == "packbits" and pixels.dtype.itemsize > 1:
        pytest.skip("packbits is for bytes here")
    source = open_source(str(save(tmp_path / "in.tif", pixels, **options)))
    for place in [(slice(0, 150), slice(0, 170)), (slice(31, 33), slice(47, 64)),
                  (slice(149, 150), slice(169, 170)), (slice(60, 150), slice(0, 1))]:  # fmt: skip
        found = source.read(place)
        assert found.dtype == pixels.dtype
        np.testing.assert_array_equal(found, pixels[place])
    source.close()


@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_planes_apart_and_jpeg(tmp_path, tile):
    pixels = pixels_of("rgb8")
    apart = tmp_path / "apart.tif"
    tifffile.imwrite(
        apart, pixels.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", tile=tile,
        compression="zlib", metadata=None,
    )  # fmt: skip
    jpeg = tmp_path / "jpeg.tif"
    tifffile.imwrite(jpeg, pixels, photometric="ycbcr", compression="jpeg", tile=(64, 64))
    for path, whole in [(apart, pixels), (jpeg, tifffile.imread(jpeg))]:
        source = open_source(str(path))
        for place in [(slice(0, 150), slice(0, 170)), (slice(50, 99), slice(60, 165))]:
            np.testing.assert_array_equal(source.read(place), whole[place])
        source.close()


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_zarr_in_with_other_chunks(tmp_path, suffix, smear):
    pixels = pixels_of("rgb8")
    model = smear(pixels)
    zarr.create_array(
        tmp_path / "in.zarr", data=pixels, chunks=(50, 60, 3), attributes={"scan": {"by": "me"}}
    )
    tiff = save(tmp_path / "in.tif", pixels)
    denoise_by_chunk(str(tmp_path / "in.zarr"), str(tmp_path / f"a{suffix}"), model, chunk=64)
    denoise_by_chunk(str(tiff), str(tmp_path / "b.zarr"), model, chunk=64)
    found = tmp_path / f"a{suffix}"
    one = zarr.open(found)[:] if suffix == ".zarr" else tifffile.imread(found)
    np.testing.assert_array_equal(one, zarr.open(tmp_path / "b.zarr")[:])
    if suffix == ".zarr":
        assert zarr.open(found).attrs["scan"] == {"by": "me"}


def test_what_a_tiff_says_of_itself_is_kept(tmp_path, smear):
    pixels = pixels_of("rgba8")
    save(
        tmp_path / "in.tif", pixels, tile=(64, 64), resolution=(1000.5, 2000),
        resolutionunit=3, description=b"slide 7", iccprofile=b"profile of the scanner",
        extratags=[(274, "H", 1, 6, True), (271, "s", 0, "Maker", True)],
    )  # fmt: skip
    model = smear(pixels)
    denoise_by_chunk(str(tmp_path / "in.tif"), str(tmp_path / "out.tif"), model, chunk=64)
    bare = replace(model, strip_metadata=True)
    denoise_by_chunk(str(tmp_path / "in.tif"), str(tmp_path / "bare.tif"), bare, chunk=64)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.is_bigtiff
        page = file.pages.first
        tags = page.tags
        assert (page.tilelength, page.tilewidth) == (64, 64)
        assert tags[282].value[0] / tags[282].value[1] == pytest.approx(1000.5)
        assert tags[296].value == 3
        assert tags[270].value == "slide 7"
        assert tags[271].value == "Maker"
        assert tags[274].value == 6
        assert tags[34675].value == b"profile of the scanner"
        assert [int(one) for one in page.extrasamples] == [2]
    with tifffile.TiffFile(tmp_path / "bare.tif") as file:
        tags = file.pages.first.tags
        assert 270 not in tags
        assert 271 not in tags
        assert tags[34675].value == b"profile of the scanner"


class Stop(Exception):
    pass


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_resumed_by_chunk_with_the_same_bits(tmp_path, suffix, smear):
    pixels = pixels_of("gray8", 300, 300)
    pixels[:140, :140] = 0  # its chunks are all zeros or nearly so, and must count as written
    source = str(save(tmp_path / "in.tif", pixels, tile=(64, 64)))
    model = smear(pixels)
    whole, target = str(tmp_path / f"whole{suffix}"), str(tmp_path / f"out{suffix}")
    denoise_by_chunk(source, whole, model, chunk=64)
    done = 0

    def stop(pixels, total):
        nonlocal done
        done += 1
        if done % 7 == 0:
            raise Stop

    results = []
    for _ in range(10):
        try:
            results.append(denoise_by_chunk(source, target, model, chunk=64, on_pixels=stop))
            break
        except Stop:
            assert not (tmp_path / f"out{suffix}").exists()
    assert results[0].resumed >= 14
    if suffix == ".zarr":
        np.testing.assert_array_equal(zarr.open(target)[:], zarr.open(whole)[:])
        assert zarr.open(target).attrs["adnet"]["complete"] is True
    else:
        assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    again = denoise_by_chunk(source, target, model, chunk=64)
    assert not again.is_new


def test_the_rest_of_another_run_is_not_taken_up(tmp_path, smear):
    model = smear(pixels_of("gray8"))
    source = str(save(tmp_path / "in.tif", pixels_of("gray8")))
    target = str(tmp_path / "out.zarr")

    def stop(*_):
        raise Stop

    with pytest.raises(Stop):
        denoise_by_chunk(source, target, model, chunk=64, on_pixels=stop)
    for settings, chunk, what in [
        (Settings(), 64, "model"), (model, 128, "chunk"), (replace(model, tile=64), 64, "options"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=f"another {what}.*--overwrite"):
            denoise_by_chunk(source, target, settings, chunk=chunk)
    save(tmp_path / "in.tif", pixels_of("gray8")[::-1])
    with pytest.raises(UsageError, match="another image"):
        denoise_by_chunk(source, target, model, chunk=64)
    result = denoise_by_chunk(source, target, model, chunk=64, overwrite=True)
    assert result.resumed == 0
    assert not (tmp_path / "out.zarr.partial").exists()


def refused_cases(tmp_path):
    pixels = pixels_of("gray8")
    rgb = pixels_of("rgb8")
    yield save(tmp_path / "x.png.tif", pixels, photometric="miniswhite"), "MINISWHITE"
    yield save(tmp_path / "i.tif", pixels.astype(np.int32)), "without sign or floats"
    yield (
        save(
            tmp_path / "s.tif", np.stack([pixels] * 3), photometric="minisblack", extrasamples=None
        ),
        "stack of 3",
    )
    yield save(tmp_path / "five.tif", np.stack([pixels] * 5, 2), photometric="minisblack",
               planarconfig="contig"), "1 to 4 planes"  # fmt: skip
    yield save(tmp_path / "cmyk.tif", np.dstack([rgb, pixels]), photometric="separated",
               extrasamples=None, planarconfig="contig"), "SEPARATED"  # fmt: skip
    broken = save(tmp_path / "cut.tif", pixels, tile=(64, 64))
    broken.write_bytes(broken.read_bytes()[:-3000])
    yield broken, "damaged|cut short"
    (tmp_path / "no.tif").write_bytes(b"no image at all")
    yield tmp_path / "no.tif", "cannot be read as TIFF"
    yield tmp_path / "missing.tif", "cannot be read"
    yield tmp_path / "missing.zarr", "cannot be read as Zarr"
    zarr.create_array(tmp_path / "5d.zarr", shape=(1, 1, 1, 9, 9), dtype="u1")
    yield tmp_path / "5d.zarr", "1x1x1x9x9"
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    yield tmp_path / "group.zarr", "group without an array named 0"
    yield save(tmp_path / "far.tif", pixels.astype(np.float32)), "--range"
    nominal = from_levels(pixels)
    nominal[3, 4] = -3.4e38
    yield save(tmp_path / "huge.tif", nominal), "1 of its values is -3.4e.38, .* fill it first"
    nominal[3, 4] = -2
    missing = [(42113, "s", 3, "-2", True)]
    yield save(tmp_path / "missing2.tif", nominal, extratags=missing), "GDAL_NODATA"
    yield tmp_path / "x.png", "only TIFF and Zarr"


def test_refusals_are_plain_and_leave_no_result(tmp_path, smear):
    model = smear(pixels_of("gray8"))
    for path, told in refused_cases(tmp_path):
        with pytest.raises(ImageError, match=told) as caught:
            denoise_by_chunk(str(path), str(tmp_path / f"{path.name}.zarr"), model, chunk=64)
        assert str(path) in str(caught.value)
        assert not (tmp_path / f"{path.name}.zarr").exists()


def test_one_strip_too_large_to_decode_is_refused(tmp_path, monkeypatch):
    from adnet.runtime.gigapixel import tiff_source

    monkeypatch.setattr(tiff_source, "_SEGMENT", 10_000)
    packed = save(tmp_path / "in.tif", pixels_of("gray8"), compression="zlib", rowsperstrip=150)
    with pytest.raises(ImageError, match="tiled TIFF first"):
        open_source(str(packed))
    open_source(str(save(tmp_path / "in.tif", pixels_of("gray8")))).close()


def test_wrong_targets(tmp_path):
    source = str(save(tmp_path / "in.tif", pixels_of("gray8")))
    for target, told in [("out.png", ".zarr and .tif"), ("in.tif", "replace the input")]:
        with pytest.raises(UsageError, match=told):
            denoise_by_chunk(source, str(tmp_path / target), chunk=64)
    with pytest.raises(UsageError, match="--chunk and --tile"):
        denoise_by_chunk(source, str(tmp_path / "out.zarr"), Settings(max_memory="1G"))


def test_reduced_copies_are_told(tmp_path, smear):
    pixels = pixels_of("gray8", 200, 200)
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(pixels, tile=(64, 64), metadata=None)
        writer.write(pixels[::2, ::2], subfiletype=1, metadata=None)
    result = denoise_by_chunk(
        str(tmp_path / "in.tif"), str(tmp_path / "out.zarr"), smear(pixels), chunk=64
    )
    assert any("other pages are left out" in note for note in result.notes)
    about = json.loads((tmp_path / "out.zarr" / "zarr.json").read_text())["attributes"]["adnet"]
    assert about["complete"] is True
