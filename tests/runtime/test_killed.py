"""kill -9 at any moment: no half file under a final name; the next run makes what is missing."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adnet.benchmarks.studies.memory import save_identity

pytestmark = pytest.mark.slow

RUN = Path(sys.executable).parent / "adnet-run"
NAMES = ["a.png", "b.jpg", "c.tif", "d.webp", "x/e.bmp", "x/f.png", "x/g.tif", "h.gif"]
ROUNDS = {"folder": 24, "pipe": 13, "watch": 13}


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    pytest.importorskip("onnx")
    return save_identity(tmp_path_factory.mktemp("identity") / "identity.onnx", 1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "in"
    rng = np.random.default_rng(0)
    for name in NAMES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (300, 400), np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def whole(identity, pictures, tmp_path_factory):
    """What an undisturbed run writes: name -> bytes; and how long it took."""
    out = tmp_path_factory.mktemp("whole") / "out"
    begin = time.monotonic()
    subprocess.run([RUN, pictures, "-o", out, "--model", identity], check=True, capture_output=True)
    return results(out), time.monotonic() - begin


def results(out):
    """Files under final names; our temporary ones are hidden."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and not path.name.startswith(".adnet-")
    } if out.is_dir() else {}  # fmt: skip


def killed(command, seconds, **streams):
    """Run for so long, then kill -9."""
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **streams
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.wait()
    return process.returncode == -signal.SIGKILL


def moments(kind, seconds):
    """Random, half of them towards the end, when files are written."""
    rng = random.Random(kind)
    return [rng.uniform(0.4 * (index % 2), 1.05) * seconds for index in range(ROUNDS[kind])]


def test_a_folder(identity, pictures, whole, tmp_path):
    wanted, seconds = whole
    out, kills, midway = tmp_path / "out", 0, 0
    for moment in moments("folder", seconds):
        kills += killed([RUN, pictures, "-o", out, "--model", identity], moment)
        there = results(out)
        assert there.items() <= wanted.items()
        midway += 0 < len(there) < len(wanted)
        if len(there) == len(wanted):
            for path in list(out.rglob("*.*"))[::2]:
                path.unlink()
    missing = len(wanted) - len(results(out))
    done = subprocess.run(
        [RUN, pictures, "-o", out, "--model", identity], check=True, capture_output=True, text=True
    )
    assert f"{missing} denoised, {len(wanted) - missing} skipped" in done.stdout
    assert results(out) == wanted
    assert kills > ROUNDS["folder"] // 2


def test_a_pipe(identity, pictures, whole, tmp_path):
    wanted, seconds = whole
    for index, moment in enumerate(moments("pipe", seconds)):
        name = NAMES[index % 4]
        target = tmp_path / f"{index}{Path(name).suffix}"
        with (pictures / name).open("rb") as source:
            killed([RUN, "-", "-o", target, "--model", identity], moment, stdin=source)
        assert not target.exists() or target.read_bytes() == wanted[name]
        with (pictures / name).open("rb") as source:
            command = [RUN, "-", "-o", target, "--model", identity]
            subprocess.run(command, stdin=source, check=True, capture_output=True)
        assert target.read_bytes() == wanted[name]


def test_a_watched_folder(identity, pictures, whole, tmp_path):
    wanted, seconds = whole
    out = tmp_path / "out"
    for moment in moments("watch", seconds + 1):
        killed([RUN, pictures, "-o", out, "--model", identity, "--watch"], moment)
        assert results(out).items() <= wanted.items()
    missing = len(wanted) - len(results(out))
    command = [RUN, pictures, "-o", out, "--model", identity, "--watch"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while results(out).keys() != wanted.keys() and time.monotonic() < deadline:
            time.sleep(0.1)
        if not missing:
            time.sleep(seconds)
        process.send_signal(signal.SIGTERM)  # a shell's background ignores SIGINT
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert f"{missing} denoised" in said
    assert results(out) == wanted
