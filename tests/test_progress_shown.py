"""The bar on a terminal, lines without one, and decoders that are heard."""

import os
import pty
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adnet import _cli
from adnet._cli import progress_bar
from adnet.images.decoder_lines import heard, listening

RUN = Path(sys.executable).parent / "adnet-run"


def on_a_terminal(command, **options):
    """Run with stderr on a pseudo terminal; returns stdout's text and what the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=theirs, text=True, **options
    )
    os.close(theirs)
    got = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        got += piece
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    return out, got.decode()


def screen(text):
    """Lines as a terminal shows them in the end: \r goes back, \x1b[K clears to the end."""
    lines = [""]
    at = 0
    rest = text.replace("\r\n", "\n")
    while rest:
        if rest.startswith("\n"):
            lines.append("")
            at, rest = 0, rest[1:]
        elif rest.startswith("\r"):
            at, rest = 0, rest[1:]
        elif rest.startswith("\x1b[K"):
            lines[-1], rest = lines[-1][:at], rest[3:]
        elif rest.startswith("\x1b["):
            rest = rest[rest.index(next(one for one in rest[2:] if one.isalpha())) + 1 :]
        else:
            lines[-1] = lines[-1][:at] + rest[0] + lines[-1][at + 1 :]
            at, rest = at + 1, rest[1:]
    return [line.rstrip() for line in lines]


def test_the_bar_survives_messages(tmp_path, make_image):
    for index in range(3):
        make_image(tmp_path / "in" / f"{index}.png", size=(20, 20))
    for name in ("a.png", "z.png"):
        (tmp_path / "in" / name).touch()
    _, got = on_a_terminal([RUN, tmp_path / "in", "-o", tmp_path / "out"])
    lines = [line for line in screen(got) if line]
    failed = [line for line in lines if "failed:" in line]
    assert len(failed) == 2, lines
    assert all(line.startswith("failed: ") and line.endswith("the file is empty.")
               for line in failed), lines  # fmt: skip
    bars = [line for line in lines if line.startswith("denoising")]
    assert len(bars) == 1, lines  # below the messages, not between their remains
    assert "5/5 images" in bars[0]
    assert lines.index(bars[0]) == len(lines) - 1


def test_without_a_terminal_a_line_now_and_then(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(_cli.time, "monotonic", lambda: clock[0])
    with progress_bar("denoising", quiet=False, lines=True) as bar:
        for second in range(35):
            clock[0] = float(second)
            bar.show(second / 35, f"{second}/35 images")
        bar.message("failed: x")
    assert capsys.readouterr().err.splitlines() == [
        "denoising: 29%, 10/35 images",
        "denoising: 57%, 20/35 images",
        "denoising: 86%, 30/35 images",
        "failed: x",
    ]
    for quiet, lines in ((True, True), (False, False)):
        with progress_bar("denoising", quiet=quiet, lines=lines) as bar:
            clock[0] += 100
            bar.show(0.5, "1/2 images")
    assert capsys.readouterr().err == ""


def test_each_thread_hears_its_own_file():
    found = {name: [] for name in "abc"}
    barrier = threading.Barrier(3)

    def read(name):
        with listening(found[name]):
            barrier.wait()
            for _ in range(3):
                warnings.warn(f"{name} is odd", UserWarning, stacklevel=1)
            barrier.wait()

    with heard(), warnings.catch_warnings():
        warnings.simplefilter("always")
        threads = [threading.Thread(target=read, args=[name]) for name in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {name: [f"{name} is odd"] for name in found}


def test_what_c_writes_is_heard_and_the_rest_goes_on():
    code = """
import os, sys
from adnet.images.decoder_lines import heard, listening
found = []
with heard():
    with listening(found, to_c=True):
        os.write(2, b"TIFFReadDirectory: Warning, Unknown field with tag 59932.\\n")
        os.write(2, b"a driver's own words\\n")
        print("ours: TIFF: Warning, of no decoder", file=sys.stderr)
    os.write(2, b"TIFFLater: Warning, not heard\\n")
print(found)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == (
        "['TIFFReadDirectory: Warning, Unknown field with tag 59932.']"
    )
    assert sorted(result.stderr.splitlines()) == [
        "TIFFLater: Warning, not heard",
        "a driver's own words",
        "ours: TIFF: Warning, of no decoder",
    ]


def odd_fax(path):
    """A fax whose lines end early: libtiff complains, and gives the pixels all the same."""
    Image.fromarray(np.random.default_rng(0).random((40, 64)) > 0.5).save(
        path, compression="group3"
    )
    data = bytearray(path.read_bytes())
    data[60:64] = b"\xff\x00\xff\x00"
    path.write_bytes(data)
    return path


def test_one_line_with_the_files_name(tmp_path, make_image):
    odd_fax(tmp_path / "fax.tif")
    make_image(tmp_path / "a.png", size=(20, 20))
    result = subprocess.run(
        [RUN, "a.png", "fax.tif", "-o", "out"],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    told = [line for line in (result.stdout + result.stderr).splitlines() if "Fax" in line]
    if not told:
        pytest.skip("this libtiff has nothing to say of it")
    assert all("fax.tif" in line for line in told), told
    assert not [line for line in result.stderr.splitlines() if not line.startswith("failed: ")]
