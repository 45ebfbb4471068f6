"""Huge images within --max-memory: in bands, with the result of the whole; or refused before."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import assert_clean_error
from image_files import make, pixels_of, png_blocks, tiff_blocks

from adnet.benchmarks.studies.memory import KINDS, run, save_identity, save_image
from adnet.errors import ImageError, UsageError
from adnet.images.formats.codec import encode_image
from adnet.images.formats.image_file import ImageFile
from adnet.images.formats.png import PngLayout
from adnet.images.formats.tiff import TiffLayout
from adnet.images.formats.tiff_tags import Kind
from adnet.images.formats.tiff_write import plain_layout
from adnet.images.image import read_image
from adnet.runtime import bands, loading
from adnet.runtime.bands import windows
from adnet.runtime.budget import (
    free_memory,
    parse_size,
    told_size,
)
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import Listener, Summary, run_jobs
from adnet.runtime.jobs import Job, plan_jobs
from adnet.runtime.loading import Limits

MIB = 1 << 20


def denoised(source, target, denoiser, memory, **more):
    """Denoise one file; returns the summary and the pixels that were counted."""
    counted = []
    listener = Listener(on_pixels=lambda done, total: counted.append((done, total)))
    limits = Limits(memory=memory, most=memory, **more)
    summary = run_jobs([Job(source, target)], denoiser, limits=limits, listener=listener)
    return summary, counted


@pytest.fixture
def in_bands(monkeypatch):
    """Whatever can be denoised in bands, is; tells which images were."""
    seen = []
    monkeypatch.setattr(loading, "whole_bytes", lambda *_: 2**50)

    def noted(work, *rest):
        seen.append(work)
        return real(work, *rest)

    real = bands.denoise_in_bands
    monkeypatch.setattr("adnet.runtime.folder.denoise_in_bands", noted)
    return seen


@pytest.mark.parametrize("shape", [(131, 50), (90, 70, 4), (41, 90, 2)])
@pytest.mark.parametrize(("suffix", "dtype"), [("png", "u1"), ("png", "u2"), ("tif", "f4")])
def test_bands_equal_the_whole_bit_for_bit(tmp_path, request, shape, suffix, dtype):
    """With the real network, in the very tiles that the whole image is cut into."""
    pixels = pixels_of(shape, dtype)
    kind = {"png": "PNG", "tif": "TIFF"}[suffix]
    source = tmp_path / f"a.{suffix}"
    source.write_bytes(encode_image(pixels, ImageFile(pixels, kind)))
    with Denoiser(tile=64) as denoiser:
        denoised(source, tmp_path / f"whole.{suffix}", denoiser, 2**40)
        seen = request.getfixturevalue("in_bands")
        summary, counted = denoised(source, tmp_path / f"bands.{suffix}", denoiser, 200 * MIB)
    assert not summary.failed
    assert len(seen) == 1
    whole, again = (read_image(tmp_path / f"{name}.{suffix}") for name in ("whole", "bands"))
    assert np.array_equal(whole.pixels, again.pixels)
    assert not np.array_equal(again.pixels, pixels)
    # Progress inside the image: every pixel once, in many steps.
    assert sum(done for done, _ in counted) == shape[0] * shape[1] == counted[0][1]
    assert sum(done > 0 for done, _ in counted) > (2 if shape[0] > 64 else 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_metadata_and_pages_in_bands(tmp_path, in_bands, kind):
    data = make(kind, "RGB", metadata=True)
    name = "a.png" if kind == "PNG" else "a.tif"
    (tmp_path / name).write_bytes(data)
    with Denoiser(save_identity(tmp_path / "i.onnx", 1)) as denoiser:
        summary, _ = denoised(tmp_path / name, tmp_path / "out" / name, denoiser, 200 * MIB)
        blocks = {"PNG": png_blocks, "TIFF": tiff_blocks}[kind]
        assert blocks((tmp_path / "out" / name).read_bytes()) == blocks(data)
        pages = [pixels_of((90, 50, 3), "u1"), pixels_of((45, 60), "u2")]
        (tmp_path / "b.tif").write_bytes(
            encode_image(pages, ImageFile(pages[0], "TIFF", more=tuple(pages[1:])))
        )
        denoised(tmp_path / "b.tif", tmp_path / "out" / "b.tif", denoiser, 200 * MIB)
    assert not summary.failed
    assert len(in_bands) == 2
    again = read_image(tmp_path / "out" / "b.tif")
    assert all(map(np.array_equal, again.frames, pages))


def test_strips_metadata_and_copies_samples_in_bands(tmp_path, in_bands):
    pixels, extras = pixels_of((90, 50, 4), "u1"), pixels_of((90, 50, 2), "u1", 5)
    page = replace(plain_layout(pixels, Kind()), extras=extras, extra_codes=(2, 0, 0))
    data = encode_image(pixels, ImageFile(pixels, "TIFF", TiffLayout(Kind(), (page,))))
    (tmp_path / "a.tif").write_bytes(data)
    (tmp_path / "b.png").write_bytes(make("PNG", "RGB", metadata=True))
    with Denoiser(save_identity(tmp_path / "i.onnx", 1)) as denoiser:
        for name in ("a.tif", "b.png"):
            denoised(tmp_path / name, tmp_path / "out" / name, denoiser, 200 * MIB,
                     strip_metadata=True)  # fmt: skip
    assert len(in_bands) == 2
    again = read_image(tmp_path / "out" / "a.tif")
    assert np.array_equal(again.pixels, pixels)
    assert np.array_equal(again.layout.pages[0].extras, extras)
    assert b"secret" not in (tmp_path / "out" / "b.png").read_bytes()


@pytest.mark.parametrize("height", [64, 65, 100, 397])
@pytest.mark.parametrize("given", [1, 7, 64, 1000])
def test_windows_hold_the_rows_of_the_plan(height, given):
    from adnet.runtime.backend import InputSpec
    from adnet.runtime.planning import Wishes, plan_bands

    rows = np.arange(height * 3).reshape(height, 3, 1)
    plan = plan_bands(InputSpec(1), (height, 3), 20, Wishes(tile=64), "any")
    found = list(windows((rows[at : at + given] for at in range(0, height, given)), plan))
    assert all(
        np.array_equal(one, rows[place]) for one, (place, _) in zip(found, plan, strict=True)
    )
    kept = [row for _, core in plan for row in range(core.start, core.stop)]
    assert kept == list(range(height))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.jpg", "a JPEG file is read or written as a whole"),
        ("a.bmp", "a BMP file"),
        ("a.gif", "a GIF file"),
        ("a.webp", "a WEBP file"),
        ("interlaced.png", "an interlaced PNG file"),
        ("wide.png", "even in bands"),
        ("wide.tif", "even in bands"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(tmp_path, name, said):
    kind = {"jpg": "JPEG", "bmp": "BMP", "gif": "GIF", "webp": "WEBP", "png": "PNG",
            "tif": "TIFF"}[name.partition(".")[2]]  # fmt: skip
    wide = name.startswith("wide")
    pixels = np.zeros((100, 60_000, 3) if wide else (1000, 1000, 3), np.uint8)
    layout = PngLayout(interlaced=True) if name.startswith("inter") else None
    (tmp_path / name).write_bytes(encode_image(pixels, ImageFile(pixels, kind, layout)))

    class Never(Denoiser):
        def __call__(self, *_):
            raise AssertionError("worked")

    with Never(save_identity(tmp_path / "i.onnx", 3)) as denoiser:
        memory = 60 * MIB if wide else 9 * MIB
        summary, _ = denoised(tmp_path / name, tmp_path / "out" / name, denoiser, memory)
    assert not (tmp_path / "out" / name).exists()
    ((_, error),) = summary.failed
    assert said in error
    assert "--max-memory" in error
    assert f"{told_size(memory)} are left for images" in error


def test_failure_in_a_band_leaves_nothing(tmp_path, in_bands):
    pixels = pixels_of((300, 50), "u1")
    data = bytearray(encode_image(pixels, ImageFile(pixels, "PNG")))
    data[-40] ^= 255
    (tmp_path / "a.png").write_bytes(data)
    with Denoiser(save_identity(tmp_path / "i.onnx", 1), tile=64) as denoiser:
        summary, _ = denoised(tmp_path / "a.png", tmp_path / "out" / "a.png", denoiser, 200 * MIB)
    ((_, error),) = summary.failed
    assert "damaged" in error
    assert list((tmp_path / "out").iterdir()) == []
    assert in_bands


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_full_disk_in_a_band_leaves_nothing(tmp_path, in_bands, suffix):
    resource = pytest.importorskip("resource")
    pixels = pixels_of((300, 200), "u1")
    kind = {"png": "PNG", "tif": "TIFF"}[suffix]
    data = encode_image(pixels, ImageFile(pixels, kind))
    (tmp_path / f"a.{suffix}").write_bytes(data)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Denoiser(save_identity(tmp_path / "i.onnx", 1), tile=64) as denoiser:
        for size in (1, 9000, 20_000, len(data) // 2):
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
                target = tmp_path / "out" / f"a.{suffix}"
                summary, _ = denoised(tmp_path / f"a.{suffix}", target, denoiser, 200 * MIB)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            ((_, error),) = summary.failed
            assert "cannot be written" in error
            assert list(target.parent.iterdir()) == []
    assert len(in_bands) == 4


def test_sizes():
    assert parse_size("500M") == 500 * MIB
    assert parse_size("2G") == parse_size("2 gib") == parse_size("2GB") == 2 << 30
    assert parse_size("1.5g") == 3 << 29
    assert parse_size("4096") == 4096
    for text in ("9" * 400, "", "much", "-1G", "0", "5X", "nan"):
        with pytest.raises(UsageError, match="such as 500M or 2G"):
            parse_size(text)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("inside", [False, True])
def test_limits_of_containers_count(tmp_path, version, inside):
    """Inside a container the path of its group is often the host's, and not there."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 99 kB\nMemAvailable:    8000000 kB\n")
    assert free_memory(tmp_path) == 8_000_000 * 1024
    mount = tmp_path / "sys/fs/cgroup" / ("memory" if version == 1 else "")
    line = "0::/a/b" if version == 2 else "3:cpu:/x\n7:blkio,memory:/a/b"
    (tmp_path / "proc/self/cgroup").write_text(line + "\n")
    group = mount if inside else mount / "a"
    group.mkdir(parents=True)
    if not inside:
        (mount / "a/b").mkdir()
        (mount / "a/b/memory.max").write_text("max\n")
    limit, used, cache = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    (group / limit).write_text("1000000\n")
    (group / used).write_text("700000\n")
    (group / "memory.stat").write_text(f"anon 3\n{cache} 50000\n")
    assert free_memory(tmp_path) == 350_000
    (group / used).write_text("1100000\n")
    assert free_memory(tmp_path) == 0


def test_options_of_the_program(cli, tmp_path, make_image):
    make_image(tmp_path / "a.png")
    for arguments, parts in {
        ("--max-memory", "much"): ("such as 500M or 2G", "'much'"),
        ("--max-memory", "50M"): ("50M is too little", "are needed"),
        ("--range", "1,0"): ("BLACK,WHITE", "'1,0'"),
    }.items():
        result = cli("adnet-run", tmp_path / "a.png", "-o", tmp_path / "out", *arguments)
        assert_clean_error(result, 2, *parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("white", [255.0, 65535.0])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("banded", [False, True])
def test_floats_of_another_range(tmp_path, request, white, dtype, banded):
    if (dtype, white) == ("f2", 65535.0):
        white = 4095.0  # 16 bits end at 65504
    nominal = pixels_of((90, 60, 4), "f4")
    pixels = (nominal * np.float32(white)).astype(dtype)
    pixels[..., 3] = nominal[..., 3]
    source = tmp_path / "a.tif"
    source.write_bytes(encode_image(pixels, ImageFile(pixels, "TIFF")))
    if banded:
        request.getfixturevalue("in_bands")
    with Denoiser(tile=64) as plain, Denoiser(tile=64, value_range=(0, white)) as ranged:
        summary, counted = denoised(source, tmp_path / "no.tif", plain, 200 * MIB)
        ((_, error),) = summary.failed
        assert f"--range 0,{white:g}" in error
        assert "black at 0" in error
        assert not counted
        summary, _ = denoised(
            source, tmp_path / "yes.tif", ranged, 200 * MIB, value_range=(0.0, white)
        )
        expected = plain((pixels[..., :3] / np.float32(white)).astype(np.float32))
    assert not summary.failed
    result = read_image(tmp_path / "yes.tif").pixels
    assert result.dtype == dtype
    error = np.abs(result[..., :3].astype(np.float32) / np.float32(white) - expected).max()
    assert error < (1e-3 if dtype == "f2" else 1e-6)
    assert np.array_equal(result[..., 3], pixels[..., 3])  # alpha is copied as it is


def test_what_is_refused_by_its_values(tmp_path):
    """Overshoot is common and stays; an explicit range is obeyed, with a note."""
    for low, high, refused in ((0, 1, 0), (-0.5, 2.5, 0), (0, 4, 0), (0, 4.5, 1), (-3.5, 1, 1)):
        pixels = np.linspace(low, high, 64 * 64, dtype="f4").reshape(64, 64)
        (tmp_path / "a.tif").write_bytes(encode_image(pixels, ImageFile(pixels, "TIFF")))
        model = save_identity(tmp_path / "i.onnx", 1)
        with Denoiser(model) as denoiser, Denoiser(model, value_range=(0, 1)) as told:
            summary, _ = denoised(tmp_path / "a.tif", tmp_path / "b.tif", denoiser, 200 * MIB)
            (tmp_path / "b.tif").unlink(missing_ok=True)
            assert len(summary.failed) == refused
            forced, _ = denoised(
                tmp_path / "a.tif", tmp_path / "b.tif", told, 200 * MIB, value_range=(0.0, 1.0)
            )
            (tmp_path / "b.tif").unlink()
        assert not forced.failed
        assert bool(forced.notes) == (high > 2 or low < -1)


def test_training_images_of_another_range_are_refused(tmp_path):
    from adnet.images.image import load_image

    pixels = np.full((50, 50), 200, "f4")
    (tmp_path / "a.tif").write_bytes(encode_image(pixels, ImageFile(pixels, "TIFF")))
    with pytest.raises(ImageError, match=r"a\.tif: its values reach"):
        load_image(tmp_path / "a.tif", 1)


@pytest.mark.parametrize("value_range", [(1, 0), (0, 0), (0, float("inf")), (float("nan"), 1)])
def test_impossible_ranges(value_range):
    with pytest.raises(UsageError, match="black below white"):
        Denoiser(value_range=value_range)


SLOW, LONG = pytest.mark.slow, pytest.mark.long


def marks_of(size, limit):
    if size > 10:
        return LONG
    return () if (size, limit) == (10, "256M") else SLOW


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "megapixels", "limit"),
    [
        pytest.param(kind, size, limit, marks=marks_of(size, limit))
        for kind in KINDS
        for size in (1, 10, 100, 400)
        for limit in ("256M", "512M")
        if size < 400 or (kind, limit) == ("gray PNG, 8 bits", "512M")
    ],
)
def test_peak_is_within_the_limit(tmp_path, kind, megapixels, limit):
    format_, channels, _ = KINDS[kind]
    name = "a.png" if format_ == "PNG" else "a.tif"
    image = save_image(tmp_path / name, kind, megapixels)
    model = save_identity(tmp_path / "identity.onnx", channels)
    told, peak, _ = run(image, tmp_path / f"out{name[-4:]}", limit, model)
    assert told["failed"] == []
    assert peak <= parse_size(limit) / MIB
    if megapixels <= 10:
        before, after = (read_image(path).pixels for path in (image, tmp_path / f"out{name[-4:]}"))
        assert np.array_equal(before, after)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("megapixels", "limit"), [(1, "300M"), (4, "400M"), (12, "512M")])
def test_peak_with_the_shipped_models(tmp_path, kind, megapixels, limit):
    name = "a.png" if KINDS[kind][0] == "PNG" else "a.tif"
    image = save_image(tmp_path / name, kind, megapixels)
    told, peak, _ = run(image, tmp_path / f"out{name[-4:]}", limit, None)
    assert told["failed"] == []
    assert peak <= parse_size(limit) / MIB


@pytest.mark.slow
def test_many_images_are_within_the_limit(tmp_path):
    for number in range(6):
        save_image(tmp_path / f"{number}.png", "gray PNG, 8 bits", 4)
    with Denoiser(save_identity(tmp_path / "i.onnx", 1)) as denoiser:
        limits = Limits(memory=60 * MIB, most=60 * MIB)
        summary = Summary()
        run_jobs(plan_jobs([tmp_path], tmp_path.parent / "out"), denoiser, limits=limits,
                 summary=summary)  # fmt: skip
    assert len(summary.written) == 6
