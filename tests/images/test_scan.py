"""What is taken from a folder, and what is told of the rest."""

import logging
import os
import shutil
import socket
from pathlib import Path

import pytest

from adnet.errors import UsageError
from adnet.images.image import FORMATS, find_images, load_folder
from adnet.images.scan import scan_folder
from adnet.runtime.jobs import make_plan, plan_jobs


@pytest.fixture
def place(tmp_path):
    """Make empty files and links: place("in/a/x.png", "in/b -> a")."""

    def make(*entries: str) -> Path:
        for entry in entries:
            name, _, target = entry.partition(" -> ")
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if target:
                path.symlink_to(target)
            else:
                path.touch()
        return tmp_path / "in"

    return make


def images(folder: Path) -> list[str]:
    found = scan_folder(folder, FORMATS)
    return [path.relative_to(folder).as_posix() for path in found.images]


def left_out(folder: Path) -> dict[str, str]:
    found = scan_folder(folder, FORMATS)
    return {path.relative_to(folder).as_posix(): reason for path, reason in found.left_out}


@pytest.mark.parametrize("link", ["a", "n", "z"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_real_folder_is_read_under_its_own_name(place, tmp_path, link, absolute):
    real = tmp_path / "in" / "m" if absolute else "m"
    folder = place("in/m/x.png", "in/m/sub/y.png", f"in/{link} -> {real}")
    assert images(folder) == ["m/sub/y.png", "m/x.png"]
    assert list(left_out(folder)) == [link]
    assert "which is read under that name" in left_out(folder)[link]
    jobs = plan_jobs([folder], tmp_path / "out")
    assert [job.target.relative_to(tmp_path / "out").as_posix() for job in jobs] == [
        "m/sub/y.png", "m/x.png",
    ]  # fmt: skip


@pytest.mark.parametrize("target", [".", "..", "../in", "../..", "/"])
def test_links_to_the_folder_and_its_parents_are_not_followed(place, target):
    folder = place("in/x.png", "in/a/y.png", "beside/z.png", f"in/a/up -> ../{target}")
    assert images(folder) == ["a/y.png", "x.png"]
    assert list(left_out(folder)) == ["a/up"]


def test_circles_end(place):
    folder = place("in/a/x.png", "in/b/y.png", "in/a/to_b -> ../b", "in/b/to_a -> ../a")
    assert images(folder) == ["a/x.png", "b/y.png"]
    assert set(left_out(folder)) == {"a/to_b", "b/to_a"}
    folder = place("in/self -> self", "in/one -> two", "in/two -> one")
    assert images(folder) == ["a/x.png", "b/y.png"]
    assert left_out(folder)["self"] == "a link to nothing"


@pytest.mark.parametrize(("outer", "inner"), [("a", "z"), ("z", "a")])
def test_folders_elsewhere_are_followed_once(place, tmp_path, outer, inner):
    folder = place(
        "in/x.png", "else/y.png", "else/sub/z.png", "else/back -> ../in",
        f"in/{outer} -> ../else", f"in/{inner} -> ../else/sub", "in/again -> ../else",
    )  # fmt: skip
    first = min(outer, "again")
    assert images(folder) == sorted(["x.png", f"{first}/y.png", f"{first}/sub/z.png"])
    assert len(left_out(folder)) == 3
    with pytest.raises(UsageError, match=r"lies inside the input folder .*\(through the link"):
        make_plan([folder], tmp_path / "else" / "out")


def test_links_to_files_are_images_and_one_to_nothing_fails_when_read(place):
    folder = place("in/x.png", "in/y.png -> x.png", "in/z.png -> none.png", "in/doc -> none")
    assert images(folder) == ["x.png", "y.png", "z.png"]
    assert left_out(folder) == {"doc": "a link to nothing"}


def test_other_files_are_counted_by_suffix_and_hidden_ones_are_not(place):
    folder = place(
        "in/x.PNG", "in/a.txt", "in/b/c.TXT", "in/d.heic", "in/README", "in/.x.png", "in/.h/y.png"
    )
    found = scan_folder(folder, FORMATS)
    assert [path.name for path in found.images] == ["x.PNG"]
    assert found.other_files == {".txt": 2, ".heic": 1, "": 1}
    assert found.describe_other_files() == "2 .txt, 1 without a suffix, 1 .heic"


def test_only_regular_files_are_taken(place, tmp_path, monkeypatch):
    folder = place("in/x.png", "in/null.png -> /dev/null")
    os.mkfifo(folder / "pipe.png")
    monkeypatch.chdir(folder)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.png")
    assert images(folder) == ["x.png"]
    assert left_out(folder) == {
        "null.png": "a device, not a file",
        "pipe.png": "a named pipe, not a file",
        "socket.png": "a socket, not a file",
    }
    for name, kind in (("pipe", "a named pipe"), ("socket", "a socket"), ("null", "a device")):
        with pytest.raises(UsageError, match=f"{name}.png: is {kind}"):
            make_plan([folder / f"{name}.png"], tmp_path / "out")


@pytest.fixture
def locked(place, monkeypatch) -> Path:
    """A folder with a sub-folder that cannot be read, even by root."""
    folder = place("in/x.png", "in/locked/y.png", "in/notes.txt")
    scandir = os.scandir

    def guarded(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    return folder


def test_an_unreadable_folder_is_told(locked, tmp_path, caplog):
    told = [(locked / "locked", "cannot be read: Permission denied")]
    assert make_plan([locked], tmp_path / "out").found.unreadable == told
    with caplog.at_level(logging.INFO):
        assert find_images(locked) == [locked / "x.png"]
    assert "locked: cannot be read: Permission denied" in caplog.text
    assert "ignored: 1 .txt" in caplog.text
    (locked / "x.png").unlink()
    with pytest.raises(UsageError, match=r"no image .*locked cannot be read.*ignored: 1 \.txt"):
        find_images(locked)
    with pytest.raises(UsageError, match="no image .*locked cannot be read"):
        find_images(locked / "locked")


def test_load_folder_reads_what_is_found(place, make_image):
    folder = place("in/m/notes.txt", "in/b -> m")
    make_image(folder / "m" / "x.png", size=(24, 24))
    assert list(load_folder(folder, 1)) == ["m/x.png"]


SUFFIXES = [".png", ".tiff", ".JPG", ".gif", ".avif", ".heic", ".jp2", ".pdf", ".GIF", ".zip"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_output_named_like_a_file_is_no_new_folder(place, tmp_path, suffix):
    folder = place("in/x.png", "in/y.png")
    output = tmp_path / f"out{suffix}"
    for inputs in ([folder], [folder / "x.png", folder / "y.png"]):
        with pytest.raises(UsageError, match="named like one file.*mkdir"):
            make_plan(inputs, output)
    single = [folder / "x.png", folder / "x.png"]
    if suffix.lower() in FORMATS:
        assert plan_jobs(single, output)[0].target == output
    else:
        with pytest.raises(UsageError, match=f"{suffix.lower()} files are not written, only .png"):
            make_plan(single, output)
    assert not output.exists()
    output.mkdir()
    for inputs in ([folder], single):
        assert plan_jobs(inputs, output)[0].target == output / "x.png"


@pytest.mark.parametrize("name", ["out", "results.v2", "2024.05", "a.b c", ".png", "png"])
def test_a_new_folder_may_have_a_dot(place, tmp_path, name):
    folder = place("in/x.png")
    for inputs in ([folder], [folder / "x.png"]):
        assert plan_jobs(inputs, tmp_path / name)[0].target == tmp_path / name / "x.png"


def test_outputs_that_are_no_files(place, tmp_path):
    folder = place("in/x.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UsageError, match="pipe.png: is a named pipe"):
        make_plan([folder / "x.png"], tmp_path / "pipe.png")


def test_an_input_that_may_not_be_looked_at(place, tmp_path):
    with pytest.raises(UsageError, match="cannot be read: File name too long"):
        make_plan([place("in/x.png") / ("n" * 300)], tmp_path / "out")


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_adnet_run_tells_all_of_it(cli_without_rights, tmp_path, make_image):
    import json

    folder = tmp_path / "in"
    make_image(folder / "a" / "x.png", size=(24, 24))
    make_image(folder / "locked" / "y.png", size=(24, 24))
    (folder / "b").symlink_to("a")
    (folder / "notes.txt").touch()
    os.mkfifo(folder / "pipe.png")
    (folder / "locked").chmod(0)
    try:
        out = tmp_path / "out"
        result = cli_without_rights("adnet-run", folder, "-o", out, "--json")
        text = cli_without_rights("adnet-run", folder, "-o", out)
    finally:
        (folder / "locked").chmod(0o700)
    assert (result.returncode, text.returncode) == (1, 1), result.stderr
    report = json.loads(result.stdout)
    assert report["written"] == [str(out / "a" / "x.png")]
    assert report["failed"] == [
        {"input": str(folder / "locked"), "error": "cannot be read: Permission denied"}
    ]
    assert report["not_taken"]["by_suffix"] == {".txt": 1}
    assert {Path(one["path"]).name for one in report["not_taken"]["left_out"]} == {"b", "pipe.png"}
    for one in (result, text):
        assert f"failed: {folder / 'locked'}: cannot be read: Permission denied" in one.stderr
    assert "0 denoised, 1 skipped (output exists; --overwrite makes them again)" in text.stdout
    assert "1 failed" in text.stdout
    assert "ignored: 1 .txt" in text.stdout
    assert f"left out: {folder / 'pipe.png'}: a named pipe, not a file" in text.stdout
    assert f"left out: {folder / 'b'}: a link to" in text.stdout


@pytest.fixture
def cli_without_rights():
    """Like `cli`, but root has no right to read what its mode forbids."""
    import subprocess
    import sys

    wrapper = []
    if os.geteuid() == 0:
        wrapper = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
            pytest.skip("setpriv may not drop capabilities here")

    def run(program, *arguments):
        script = Path(sys.executable).parent / program
        return subprocess.run(
            [*wrapper, script, *arguments], capture_output=True, text=True, timeout=120, check=False
        )

    return run
