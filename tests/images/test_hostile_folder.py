"""A hostile folder through adnet-run: the rest is done, each failure told, nothing hangs."""

import json
import os
import socket
import zlib

import numpy as np
import pytest
from image_files import make, pixels_of
from test_hostile import header_only, large, tiff_with

from adnet.benchmarks.studies.memory import run, save_identity
from adnet.images.formats.codec import encode_image
from adnet.images.formats.image_file import ImageFile
from adnet.images.formats.png_chunks import Chunk, join_chunks
from adnet.images.image import read_image
from adnet.runtime import folder as folder_module
from adnet.runtime import loading
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import plan_jobs
from adnet.runtime.loading import Limits

KINDS = {"PNG": ".png", "TIFF": ".tif", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp",
         "GIF": ".gif"}  # fmt: skip


def bombs():
    """A few kilobytes that unpack to 100 megabytes: pixels, profile, texts."""
    bomb = zlib.compress(bytes(100_000_000), 9)
    whole = large("PNG")
    for name, chunk in {
        "profile": Chunk(b"iCCP", b"x\0\0" + bomb),
        "exif": Chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb),
        "xmp": Chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb),
    }.items():
        yield f"bomb-{name}.png", whole[:33] + join_chunks([chunk])[8:-12] + whole[33:]
    yield "bomb.tif", tiff_with({259: 8}, [bomb])


def fill(folder):
    """Returns the names that must be written, those that must fail, those that are left out."""
    good, bad = {}, {}
    for kind, suffix in KINDS.items():
        whole = large(kind)
        good[f"whole{suffix}"] = whole
        good["wrong-" + kind + (".jpg" if suffix != ".jpg" else ".png")] = whole
        for length in range(0, len(whole) - 8, 1024):
            bad[f"cut-{length}{suffix}"] = whole[:length]
        bad[f"huge{suffix}"] = header_only(kind, 16_000 if kind == "WEBP" else 60_000)
        bad[f"text{suffix}"] = b"no image at all"
    for name, chunk in {
        "exif": Chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"), "icc": Chunk(b"iCCP", b"no profile"),
    }.items():  # fmt: skip
        good[f"bad-{name}.png"] = (
            large("PNG")[:33] + join_chunks([chunk])[8:-12] + large("PNG")[33:]
        )
    jpeg = make("JPEG", "RGB", metadata=True)
    good["bad-exif.jpg"] = jpeg.replace(b"Exif\0\0MM", b"Exif\0\0??").replace(
        b"Exif\0\0II", b"Exif\0\0??"
    )
    good.update(bombs())
    for name, data in {**good, **bad}.items():
        (folder / name).write_bytes(data)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe.png")
    bad |= {"loop.png": b"", "gone.png": b""}
    if os.geteuid():
        (folder / "locked.png").write_bytes(large("PNG"))
        (folder / "locked.png").chmod(0)
        bad["locked.png"] = b""
    return set(good), set(bad), {"again", "pipe.png", "socket.png"}


@pytest.mark.slow
def test_the_rest_is_done_in_little_memory(tmp_path, cli):
    images = tmp_path / "in"
    images.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(images / "socket.png"))
        good, bad, left_out = fill(images)
        model = save_identity(tmp_path / "i.onnx", 1)
        result = cli("adnet-run", images, "-o", tmp_path / "out", "--json", "--model", model,
                     "--max-memory", "400M")  # fmt: skip
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        told = json.loads(result.stdout)
        assert {os.path.basename(path) for path in told["written"]} == good
        failed = {os.path.basename(one["input"]): one["error"] for one in told["failed"]}
        assert set(failed) == bad
        assert all(error and "unexpected" not in error for error in failed.values())
        named = {os.path.basename(one["path"]) for one in told["not_taken"]["left_out"]}
        assert named == left_out
    for name in bad:
        (images / name).unlink()
    _, peak, _ = run(images, tmp_path / "again", "400M", model)
    assert peak < 400


def vanishing(monkeypatch, how):
    """Something happens to the file between the look at its header and the reading."""
    real = loading.examine

    def examine(job, *rest):
        work = real(job, *rest)
        if job.source.stem == "b":
            how(job.source)
        return work

    monkeypatch.setattr(folder_module, "examine", examine)


@pytest.mark.parametrize("banded", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["gone", "cut", "other", "empty", "a folder"])
def test_files_that_vanish_or_change_while_they_are_read(tmp_path, monkeypatch, way, kind, banded):
    if banded and kind not in ("PNG", "TIFF"):
        return
    suffix = KINDS[kind]
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / f"{name}{suffix}").write_bytes(large(kind))

    def change(path):
        data = path.read_bytes()
        path.unlink()
        if way == "a folder":
            path.mkdir()
        elif way != "gone":
            small = pixels_of((9, 9, 3), "u1")
            other = encode_image(small, ImageFile(small, kind))
            path.write_bytes({"cut": data[: len(data) // 2], "other": other, "empty": b""}[way])

    vanishing(monkeypatch, change)
    if banded:
        monkeypatch.setattr(loading, "whole_bytes", lambda *_: 2**50)
    with Denoiser(save_identity(tmp_path / "i.onnx", 1), tile=64) as denoiser:
        summary = run_jobs(
            plan_jobs([tmp_path / "in"], tmp_path / "out"), denoiser,
            limits=Limits(memory=2**28, most=2**40),
        )  # fmt: skip
    written = {path.name for path in summary.written}
    assert {f"a{suffix}", f"c{suffix}"} <= written
    if way == "other" and not banded:  # an image of another size is one, too
        result = read_image(tmp_path / "out" / f"b{suffix}").pixels
        assert result.shape[:2] == (9, 9)
    else:
        ((path, error),) = summary.failed
        assert path.stem == "b"
        assert str(path) in error
        assert not (tmp_path / "out" / f"b{suffix}").exists()
    assert np.array_equal(
        read_image(tmp_path / "out" / f"a{suffix}").pixels,
        read_image(tmp_path / "in" / f"a{suffix}").pixels,
    ) or kind in ("JPEG", "WEBP", "GIF")  # fmt: skip
