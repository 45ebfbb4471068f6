"""Names, encodings and streams that programs must take as they come."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EXAMPLES

from adnet.errors import DeviceLostError

BIN = Path(sys.executable).parent
PROGRAMS = ["adnet-run", "adnet-export", "adnet-train", "adnet-data", "adnet-bench", "adnet-serve"]


def shell(line: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | variables,
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "ascii"])
def test_any_name_on_any_stdout(tmp_path, make_image, encoding):
    folder = os.fsencode(tmp_path / "in")
    make_image(tmp_path / "in" / "x.png", size=(24, 24))
    names = [b"caf\xe9.png", "图像é.png".encode(), b"bad\xff\xfe.png", b"n\xe9.t\xe9t"]
    try:
        os.rename(folder + b"/x.png", folder + b"/" + names[0])
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    make_image(tmp_path / "in" / os.fsdecode(names[1]), size=(24, 24))
    for name in names[2:]:
        Path(os.fsdecode(folder + b"/" + name)).touch()
    arguments = [BIN / "adnet-run", tmp_path / "in", "-o", tmp_path / "out"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}

    def run(*arguments):
        return subprocess.run(
            arguments, capture_output=True, timeout=120, check=False, env=environment
        )

    result = run(*arguments, "--json")
    assert result.returncode == 1, result.stderr
    assert result.stdout.isascii()
    report = json.loads(result.stdout)
    # The way back that print_json promises.
    written = {os.fsencode(Path(path).name) for path in report["written"]}
    assert written == set(names[:2]) == set(os.listdir(os.fsencode(tmp_path / "out")))
    assert [os.fsencode(one["input"]) for one in report["failed"]] == [folder + b"/" + names[2]]
    assert [os.fsencode(suffix) for suffix in report["not_taken"]["by_suffix"]] == [b".t\xe9t"]
    text = run(*arguments)
    assert text.returncode == 1
    assert b"0 denoised, 2 skipped (output exists; --overwrite" in text.stdout
    assert b"1 failed" in text.stdout
    assert b"ignored: 1 .t" in text.stdout
    for one in (result, text):
        assert b"Traceback" not in one.stderr
        assert one.stderr.count(b"failed: ") == 1
        assert rb"bad\udcff\udcfe.png: the file is empty" in one.stderr
    missing = [*arguments[:1], folder + b"/" + names[0] + b"x", *arguments[2:]]
    error = run(*missing)
    assert error.returncode == 2
    assert rb"caf\udce9.pngx: no such file or folder." in error.stderr


def test_print_json_turns_names_back():
    code = """
import os
from pathlib import Path
from adnet._cli import print_json
print_json({"path": Path(os.fsdecode(b"/a\\xe9/\\xf0\\x9f\\x98\\x80.png"))})
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert os.fsencode(json.loads(result.stdout)["path"]) == b"/a\xe9/\xf0\x9f\x98\x80.png"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_goes_on_without_streams(tmp_path, make_image, closed):
    source, out = make_image(tmp_path / "in" / "a.png", size=(24, 24)), tmp_path / "out"
    (tmp_path / "in" / "empty.png").touch()
    run = shlex.join(map(str, [BIN / "adnet-run", tmp_path / "in", "-o", out, "--json"]))
    result = shell(f"{run} {closed}")
    assert result.returncode == 1, result.stderr
    assert os.listdir(out) == [source.name]
    if ">&-" not in closed.split():
        assert len(json.loads(result.stdout)["written"]) == 1
    if "2>&-" not in closed.split():
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("failed: ")


@pytest.mark.parametrize("reader", ["| true", "2>&1 | true", "2>/dev/full"])
def test_a_run_goes_on_without_readers(tmp_path, make_image, reader):
    for name in ("0.png", "1.png", "2.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()  # each tells a failure before the good one is written
    make_image(tmp_path / "in" / "z.png", size=(24, 24))
    run = shlex.join(map(str, [BIN / "adnet-run", tmp_path / "in", "-o", tmp_path / "out"]))
    result = shell(f"{run} --json {reader}; echo ${{PIPESTATUS[0]}}")
    assert result.stdout.splitlines()[-1] == "1"
    assert os.listdir(tmp_path / "out") == ["z.png"]
    lines = result.stderr.splitlines()
    assert all(line.startswith("failed: ") for line in lines), result.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_takes_streams_as_they_come(program):
    for redirection, status in (
        ("<&- >&- 2>&-", 0), ("| true", 0), (">/dev/full", 1), ("2>/dev/full", 0),
    ):  # fmt: skip
        result = shell(f"{BIN / program} --version {redirection}; echo ${{PIPESTATUS[0]}}")
        assert result.stdout.splitlines()[-1] == str(status), (redirection, result.stderr)
        assert "Traceback" not in result.stderr
        assert "Exception ignored" not in result.stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DeviceLostError("the chip is gone")])
def test_what_was_done_is_told_when_a_run_ends_early(cli_here, monkeypatch, tmp_path, error):
    from adnet.runtime import cli, request

    def run_jobs(jobs, *_args, summary, **_options):
        summary.written.append(jobs[0].target)
        raise error

    monkeypatch.setattr(request, "run_jobs", run_jobs)
    out = tmp_path / "out"
    result = cli_here(cli.main, "adnet-run", EXAMPLES / "noisy", "-o", out, "--json")
    report = json.loads(result.stdout)
    assert report["written"] == [str(out / "hills.png")]
    lost = isinstance(error, DeviceLostError)
    assert report["interrupted"] is not lost
    assert report["error"] == ("the chip is gone" if lost else None)
    assert result.returncode == (1 if lost else 130)
