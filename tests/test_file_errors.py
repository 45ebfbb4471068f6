"""Files that the system refuses, and paths that are empty: what is told."""

import errno
import os
from importlib import import_module
from pathlib import Path

import pytest
from conftest import assert_clean_error

from adnet.file_errors import explain_file_error

PROGRAMS = {
    "adnet-run": "adnet.runtime.cli",
    "adnet-train": "adnet.training.cli",
    "adnet-export": "adnet.export.cli",
    "adnet-data": "adnet.data.cli",
    "adnet-bench": "adnet.benchmarks.cli",
}


def fail(call):
    with pytest.raises(OSError) as caught:  # noqa: PT011  (each has its own number)
        call()
    return explain_file_error(caught.value)


def fill(path):
    with Path(path).open("wb", buffering=0) as file:
        file.write(b"x")


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda here: (here / "file" / "run").mkdir(), ["file/run: Not a directory", "move the"]),
        (lambda here: (here / "file").mkdir(), ["file: File exists", "A folder was expected"]),
        (
            lambda here: (here / "no" / "x").write_text(""),
            ["no/x: No such file", "Make the folder"],
        ),
        (lambda here: here.write_text(""), ["Is a directory", "A file was expected"]),
        (lambda here: (here / ("x" * 300)).write_text(""), ["name too long", "shorter"]),
        (lambda here: (here / "no" / ".adnet-12.tmp").write_text(""), ["no: No such file"]),
        (lambda _: fill("/dev/full"), ["No space left on device. Free some space"]),
    ],
)
def test_what_failed_and_what_to_do(tmp_path, call, parts):
    (tmp_path / "file").touch()
    told = fail(lambda: call(tmp_path))
    assert all(part in told for part in parts), told
    assert "Errno" not in told
    assert told.endswith(".")


@pytest.mark.parametrize(
    "number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.ENOSPC]
)
def test_refusals_that_need_another_machine(number):
    told = explain_file_error(OSError(number, os.strerror(number), "/there/.adnet-1a.tmp"))
    assert told.startswith(f"/there: {os.strerror(number)}. ")
    assert len(told.split(". ")) == 2


@pytest.mark.parametrize("error", [OSError("3 of 4 bytes were written"), OSError()])
def test_errors_without_a_number_stand_as_they_are(error):
    assert explain_file_error(error) == str(error)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("adnet-run", ["a.png", "-o", ""]),
        ("adnet-run", ["a.png", "--output="]),
        ("adnet-run", ["", "-o", "out"]),
        ("adnet-run", ["a.png", "-o", "out", "--compare", ""]),
        ("adnet-run", ["-q", "", "-o", "out"]),
        ("adnet-run", ["--overwrite", "", "-o", "out"]),
        ("adnet-run", ["a.png", "-o", "out", "--model="]),
        ("adnet-train", ["data", "--steps", "3", "-o", ""]),
        ("adnet-train", ["", "--steps", "3", "-o", "run"]),
        ("adnet-train", ["data", "--steps", "3", "--val", "", "-o", "run"]),
        ("adnet-export", ["onnx", "gray-25", "-o", ""]),
        ("adnet-export", ["om", "gray-25", "-o", "x.om", "--emit", ""]),
        ("adnet-data", ["prepare", ".", "--output", ""]),
        ("adnet-data", ["split-pairs", "", "-o", "there"]),
        ("adnet-bench", ["tables", "--data", ""]),
        ("adnet-bench", ["--data="]),
    ],
)
def test_an_empty_path_is_not_this_folder(cli_here, tmp_path, program, words):
    """As of `-o "$UNSET"`."""
    main = import_module(PROGRAMS[program]).main
    result = cli_here(main, program, *words, cwd=tmp_path)
    assert_clean_error(result, 2, "expected a value, got an empty text")
    assert not list(tmp_path.iterdir())


def test_a_text_that_may_be_empty(cli_here, make_image, tmp_path):
    make_image(tmp_path / "in" / "a=.png")
    main = import_module(PROGRAMS["adnet-run"]).main
    words = [tmp_path / "in" / "a=.png", "-o", tmp_path / "out", "--suffix", ""]
    assert cli_here(main, "adnet-run", *words).returncode == 0
    assert (tmp_path / "out" / "a=.png").exists()


@pytest.mark.torch
@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_run_in_a_file(cli_here, make_image, tmp_path, place):
    make_image(tmp_path / "data" / "a.png")
    (tmp_path / "file").touch()
    train = import_module(PROGRAMS["adnet-train"]).main
    words = [tmp_path / "data", "-o", tmp_path / place, "--steps", "1"]
    result = cli_here(train, "adnet-train", *words)
    assert_clean_error(result, 2, f"{tmp_path / 'file'}: is a file; expected a folder")


@pytest.mark.parametrize("program", ["adnet-run", "adnet-data"])
def test_an_error_is_one_line_whatever_a_name_holds(cli_here, tmp_path, program):
    words = ["split-pairs"] if program == "adnet-data" else []
    main = import_module(PROGRAMS[program]).main
    result = cli_here(main, program, *words, "no\nthere\x1b[2J.png", "-o", "out", cwd=tmp_path)
    assert_clean_error(result, 2, r"no\nthere\x1b[2J.png")
    assert result.stderr.count("\n") == 1
