"""The README: its commands, run as they stand but for the sizes, and what the models are for."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from newcomer import PIP, blocks
from PIL import Image

from adnet.images.levels import WHITE, from_levels, to_levels
from adnet.images.metrics import psnr
from adnet.images.synthetic import render
from adnet.runtime.denoiser import Denoiser

LESS = [
    ("--steps 100000", "--steps 2 --batch 2 --val-images 1 --quiet"),
    ("--data PHOTOS", "--data PHOTOS --images 1 --size 48,48 --rounds 1 --quiet"),
    ("prepare PHOTOS", "prepare PHOTOS --val-images 1"),
    ("compare before.json after.json", "compare before.json before.json"),
]
"""The same commands with less to do."""

SKIPPED = ("python3 -m venv ", ". .venv/bin/activate")
"""The first ones are what .ci/run starts with; here everything is installed."""


def commands() -> list[str]:
    page = (ROOT / "README.md").read_text()
    lines = [line for _, text in blocks(page) for line in text.splitlines()]
    return [line for line in lines if not line.startswith(SKIPPED)]


def loads_torch(command: str) -> bool:
    looks = ("--list-backends", "--doctor")  # load it where it is installed
    others = ("adnet-train", "adnet-export", "adnet-bench", "adnet-data prepare")
    return command.startswith(others) or any(one in command for one in looks)


def run(lines, folder):
    text = "\n".join(["set -euo pipefail", *lines])
    for old, new in LESS:
        assert old in "\n".join(commands()), old
        text = text.replace(old, new)
    (folder / "bin").mkdir()
    (folder / "bin" / "pip").write_text(PIP)
    (folder / "bin" / "pip").chmod(0o755)
    path = [folder / "bin", Path(sys.executable).parent, os.environ["PATH"]]
    return subprocess.run(
        ["bash", "-c", text], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": os.pathsep.join(map(str, path))},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path, make_image):
    for index in range(3):
        make_image(tmp_path / "PHOTOS" / f"{index}.png", size=(96, 80), seed=index)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def test_commands_without_torch(folder):
    light = [line for line in commands() if not loads_torch(line)]
    assert len(light) >= 3
    result = run(light, folder)
    assert result.returncode == 0, result.stderr[-3000:]
    assert len(list((folder / "OUT").iterdir())) == 3
    assert "BSD68" in result.stdout


@pytest.mark.slow
def test_every_command(folder):
    result = run(commands(), folder)
    assert result.returncode == 0, f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    made = ("OUT/0.png", "h5/train.h5", "runs/mine/best.pth", "mine.onnx", "before.html",
            "mine-for-atc/convert.sh")  # fmt: skip
    for name in made:
        assert (folder / name).is_file(), name


def test_what_the_models_are_for():
    """White noise; noise that neighbours share and the artefacts of JPEG are hardly reduced."""
    clean = render(128, 128, 1, 3).squeeze().astype(np.float32)
    white = np.random.default_rng(0).normal(0, 25 / WHITE, clean.shape)
    shared = sum(np.roll(white, (row, column), (0, 1)) for row in range(3) for column in range(3))
    shared *= white.std() / shared.std()
    with Denoiser("gray-blind") as denoise:

        def gain(noisy):
            noisy = noisy.astype(np.float32)
            return psnr(denoise(noisy), clean) - psnr(noisy, clean)

        assert gain(clean + white) > 10
        assert gain(clean + shared) < 1
        for quality in (10, 40):
            file = io.BytesIO()
            levels = to_levels(clean)
            Image.fromarray(levels).save(file, "JPEG", quality=quality)
            assert gain(from_levels(np.asarray(Image.open(file)))) < 1
