"""Files appear whole or not at all: on a full disk, beside other runs, after killed ones."""

import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import assert_clean_error
from PIL import Image

from adnet import atomic
from adnet.atomic import atomic_path, require_writable, write_atomically
from adnet.errors import ImageError
from adnet.images.formats.codec import encode_image
from adnet.images.image import ImageFile, read_image, write_image

KIB = 1024
STEPS = [16 * KIB, pytest.param(4 * KIB, marks=pytest.mark.slow)]
FORMATS = [
    ("a.png", {}),
    ("16bit.png", {}),
    ("frames.png", {"save_all": True}),
    ("a.jpg", {"quality": 95}),
    ("a.bmp", {}),
    ("a.gif", {}),
    ("frames.gif", {"save_all": True}),
    ("raw.tif", {}),
    ("lzw.tif", {"compression": "tiff_lzw"}),
    ("deflate.tif", {"compression": "tiff_adobe_deflate"}),
    ("pages.tif", {"save_all": True}),
    ("a.webp", {"lossless": True}),
    ("lossy.webp", {}),
    ("frames.webp", {"save_all": True, "lossless": True}),
]
"""Every format that is written, and how a file of the kind is made."""


def noise(seed=0, height=90, width=120):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def file_of(folder, name, options):
    """A file of a kind, read: what is written will be its like."""
    path = folder / f"source-{name}"
    if name == "16bit.png":
        wide = noise().astype(np.uint16) * 257 + 1
        path.write_bytes(encode_image(wide, ImageFile(wide, "PNG")))
    else:
        more = [Image.fromarray(noise(1))] if "save_all" in options else []
        Image.fromarray(noise()).save(path, **options, append_images=more)
    like = read_image(path)
    assert len(like.frames) == 1 + ("save_all" in options)
    return like


@pytest.fixture
def small_disk(tmp_path):
    """Make a file system of so many bytes: small_disk(size) returns its folder, empty."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def unmount():
        # Lazily: a failed writer may still hold its file.
        subprocess.run(["umount", "-l", folder], capture_output=True, check=False)

    def make(size):
        unmount()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "adnet-test", folder]
        try:
            subprocess.run(mount, capture_output=True, check=True, text=True)
        except (OSError, subprocess.CalledProcessError) as err:
            pytest.skip(f"no small disk can be mounted: {getattr(err, 'stderr', err)}")
        return folder

    yield make
    unmount()


def assert_whole_or_nothing(path, expected, write):
    """Run `write`; tell whether the file is there, whole."""
    try:
        write()
    except ImageError as err:
        if not any(text in str(err) for text in ("No space", "too large", "were written")):
            raise
        assert os.listdir(path.parent) == []
        return False
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == expected
    return True


@pytest.mark.parametrize("every", STEPS)
@pytest.mark.parametrize(("name", "options"), FORMATS)
def test_full_disk_leaves_no_half_image(tmp_path, small_disk, name, options, every):
    like = file_of(tmp_path, name, options)
    pixels = like.frames
    write_image(tmp_path / name, pixels, like)
    expected = (tmp_path / name).read_bytes()
    results = []
    for size in range(4 * KIB, len(expected) + 16 * KIB, every):
        path = small_disk(size) / name
        results.append(
            assert_whole_or_nothing(path, expected, lambda p=path: write_image(p, pixels, like))
        )
    assert results == sorted(results)
    assert {*results} == {False, True}


@pytest.mark.parametrize("every", STEPS)
@pytest.mark.parametrize(("name", "options"), FORMATS)
def test_file_size_limit_leaves_no_half_image(tmp_path, name, options, every):
    like = file_of(tmp_path, name, options)
    pixels = like.frames
    write_image(tmp_path / name, pixels, like)
    expected = (tmp_path / name).read_bytes()
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / name
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    results = []
    try:  # SIGXFSZ is ignored by Python
        for size in [1, *range(4 * KIB, len(expected), every), len(expected) - 1, len(expected)]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            results.append(
                assert_whole_or_nothing(path, expected, lambda: write_image(path, pixels, like))
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert results == [False] * (len(results) - 1) + [True]


@pytest.mark.parametrize("every", [96 * KIB, pytest.param(24 * KIB, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", ["checkpoint", "store", "figure", "text"])
def test_full_disk_and_the_other_writers(small_disk, make_image, tmp_path, what, every):
    """torch, h5py, matplotlib and plain text: each raises, and nothing is left."""
    write, whole = globals()[f"_{what}"](tmp_path, make_image)
    results = []
    for size in range(8 * KIB, 200 * KIB, every):
        folder = small_disk(size)
        try:
            write(folder)
        except (OSError, RuntimeError):
            assert os.listdir(folder) == []
            results.append(False)
        else:
            assert whole(folder)
            results.append(True)
    assert results == sorted(results)
    assert {*results} == {False, True}


@pytest.mark.parametrize("size", [8 * KIB, 40 * KIB, 120 * KIB])
def test_adnet_data_says_which_folder_is_full(cli, small_disk, make_image, tmp_path, size):
    pytest.importorskip("h5py")
    for seed in range(2):
        make_image(tmp_path / "images" / f"{seed}.png", size=(200, 200), seed=seed)
    folder = small_disk(size)
    result = cli("adnet-data", "prepare", tmp_path / "images", "-o", folder, "--val-images", 1)
    assert_clean_error(result, 1, "No space left on device", str(folder))
    assert os.listdir(folder) == []


def _checkpoint(tmp_path, make_image):
    torch = pytest.importorskip("torch")
    from adnet.models.card import ModelCard
    from adnet.models.checkpoint import save_checkpoint

    weights = {f"w{i}": torch.rand(64, 64) for i in range(4)}
    return (
        lambda folder: save_checkpoint(folder / "a.pth", weights, ModelCard(1)),
        lambda folder: torch.equal(torch.load(folder / "a.pth")["model"]["w3"], weights["w3"]),
    )


def _store(tmp_path, make_image):
    """A store of about 100 KB; HDF5 left to itself crashes on a full disk."""
    pytest.importorskip("h5py")
    from adnet.data.patch_store import StoreOptions, prepare_stores, read_images, read_patches

    images = tmp_path / "images"
    for seed in range(2):
        make_image(images / f"{seed}.png", size=(120, 90), seed=seed)
    options = StoreOptions(patch=40, val_images=1)
    prepare_stores(images, tmp_path / "store", options)

    def write(folder):
        prepare_stores(images, folder, options)

    def whole(folder):
        return all(
            np.array_equal(read(folder / name), read(tmp_path / "store" / name))
            for read, name in ((read_patches, "train.h5"), (read_images, "val.h5"))
        )

    return write, whole


def _figure(tmp_path, make_image):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure
    from PIL import Image

    from adnet.benchmarks.release.models_pictures import save_figure

    figure = Figure()
    figure.subplots().imshow(noise(), interpolation="nearest")

    def whole(folder):
        with Image.open(folder / "a.png") as image:
            image.load()
        return True

    return lambda folder: save_figure(figure, folder / "a.png"), whole


def _text(tmp_path, make_image):
    text = "0123456789" * 6000

    def write(folder):
        with atomic_path(folder / "a.json") as path:
            path.write_text(text)

    return write, lambda folder: (folder / "a.json").read_text() == text


def test_two_containers_with_the_same_process_number(tmp_path):
    """Both are process 1 and count from 0: their temporary names must differ all the same."""
    code = (
        "import os, sys; os.getpid = lambda: 1\n"
        "from pathlib import Path\n"
        "from adnet.atomic import write_atomically, require_writable\n"
        "folder, tag = Path(sys.argv[1]), sys.argv[2]\n"
        "for i in range(150):\n"
        "    require_writable(folder)\n"
        "    write_atomically(folder / f'{tag}-{i}', tag.encode() * 20000)\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, tmp_path, tag]) for tag in "ab"]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert len(os.listdir(tmp_path)) == 300
    assert all(path.read_bytes() == path.name[:1].encode() * 20000 for path in tmp_path.iterdir())


def test_a_name_that_is_taken_is_not_used(tmp_path, monkeypatch):
    names = iter(["one", "one", "two"])
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda _: next(names))
    with atomic_path(tmp_path / "a") as first, atomic_path(tmp_path / "b") as second:
        assert (first.name, second.name) == (".adnet-one.tmp", ".adnet-two.tmp")


def test_permissions_follow_the_umask(tmp_path):
    write_atomically(tmp_path / "a", b"x")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_short_write_is_noticed(tmp_path, monkeypatch):
    stat = os.stat_result((0o100644, 0, 0, 1, 0, 0, 3, 0, 0, 0))
    monkeypatch.setattr(atomic.Path, "stat", lambda self, **_: stat)
    with pytest.raises(OSError, match="3 of 5 bytes"):
        write_atomically(tmp_path / "a", b"12345")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("writer", ["probe", "file"])
def test_leftovers_of_killed_runs_are_swept(tmp_path, writer):
    day = 24 * 3600
    ages = {
        ".adnet-1-0.tmp": 2 * day,
        ".adnet-1-probe.tmp": day + 60,
        ".adnet-0123456789abcdef.tmp": day + 60,
        ".adnet-2-0.tmp": day - 60,
        ".adnet-future.tmp": -day,
        ".adnet-1-0.tmp.png": 9 * day,
        "adnet-1-0.tmp": 9 * day,
        ".other-1-0.tmp": 9 * day,
        ".adnet-notes.txt": 9 * day,
    }
    for name, age in ages.items():
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    (tmp_path / ".adnet-folder.tmp").mkdir()
    (tmp_path / ".adnet-link.tmp").symlink_to(tmp_path / "adnet-1-0.tmp")
    os.utime(tmp_path / ".adnet-folder.tmp", (0, 0))
    os.utime(tmp_path / ".adnet-link.tmp", (0, 0), follow_symlinks=False)
    kept = {name for name in os.listdir(tmp_path) if not 0 < ages.get(name, 0) - day < 8 * day}
    kept |= {name for name in ages if ages[name] == 9 * day}
    if os.geteuid() == 0:
        (tmp_path / ".adnet-3-0.tmp").touch()
        os.utime(tmp_path / ".adnet-3-0.tmp", (0, 0))
        os.chown(tmp_path / ".adnet-3-0.tmp", 12345, -1)
        kept.add(".adnet-3-0.tmp")
    if writer == "probe":
        require_writable(tmp_path)
    else:
        write_atomically(tmp_path / "new", b"x")
        kept.add("new")
    assert set(os.listdir(tmp_path)) == kept
    assert len(ages) - 3 <= len(kept)


def test_sweep_error_is_no_error(tmp_path, monkeypatch):
    (tmp_path / ".adnet-1-0.tmp").touch()
    os.utime(tmp_path / ".adnet-1-0.tmp", (0, 0))
    unlink = atomic.Path.unlink

    def refuse(self, **options):
        if self.name == ".adnet-1-0.tmp":
            raise PermissionError(1, "not permitted")
        unlink(self, **options)

    monkeypatch.setattr(atomic.Path, "unlink", refuse)
    require_writable(tmp_path)
    write_atomically(tmp_path / "a", b"x")
    assert sorted(os.listdir(tmp_path)) == [".adnet-1-0.tmp", "a"]


def test_written_files_can_be_read(tmp_path):
    for name, options in FORMATS:
        like = file_of(tmp_path, name, options)
        write_image(tmp_path / name, like.frames, like)
        again = read_image(tmp_path / name)
        assert (again.format, len(again.frames)) == (like.format, len(like.frames)), name
        for before, after in zip(like.frames, again.frames, strict=True):
            assert (after.shape, after.dtype) == (before.shape, before.dtype) == (
                (90, 120, 3), np.uint16 if name == "16bit.png" else np.uint8
            ), name  # fmt: skip
            if not name.endswith((".jpg", ".gif")) and name != "lossy.webp":
                assert np.array_equal(after, before), name
