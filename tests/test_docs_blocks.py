"""The code blocks of the pages: each runs as it stands, with less to do, or says why it cannot.

The commands of README.md and docs/ascend.md have tests of their own (test_readme.py,
export/test_docs_ascend.py).
"""

import ast
import re
import shutil
import subprocess

import pytest
import tomllib
from _blocks import blocks
from conftest import ROOT
from newcomer import little_calibration, machine

ELSEWHERE = {"ascend.md"}
README = ROOT / "README.md"
PAGES = [
    page
    for page in [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.name not in ELSEWHERE and any(blocks(page.read_text()))
]

TRAIN = "--steps 2 --batch 4 --patch 32 --quiet"
BENCH = "--size 64,48 --rounds 1 --quiet"
SCALING = "--megapixels 0.01 --batch 1 --size 48,64 --rounds 1 --quiet"
LESS = [
    (r"(adnet-train PHOTOS.*) --steps \d+", rf"\1 {TRAIN} --val-images 1"),
    (r"(adnet-train PAIRS.*) --steps \d+", rf"\1 {TRAIN} --val-images 1"),
    (r"(adnet-train .*--quantize int8.*?)( #|$)", rf"\1 {TRAIN} --val-images 1\2"),
    (r"(adnet-bench --.*--data PATH/BSD68)", rf"\1 {BENCH}"),
    (r"--peers all", "--peers bare-onnxruntime"),
    (r"adnet-bench scaling", f"adnet-bench scaling {SCALING}"),
    (r"compare before.json after.json", "compare before.json before.json"),
    (r"321,481", "96,128"), (r"481,321", "128,96"), (r"--batch 1,4,8", "--batch 1,4"),
]  # fmt: skip
"""The same commands with less to do."""

BEFORE = {
    "run.md": """
cp PHOTOS/0.png a.png; cp PHOTOS/1.png b.tif; cp -r PHOTOS MORE; cp PHOTOS/0.png scan.tif
adnet-export om gray-blind -o gray-blind.om --size 96,128""",
    "export.md": f"""
adnet-train PHOTOS -o runs/gray-blind {TRAIN} --val-images 1
cp -r runs/gray-blind runs/gray-25; cp runs/gray-blind/best.pth CHECKPOINT; cp -r PHOTOS DATA""",
}
"""What a page takes for granted."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_can_be_read(page):
    for block in blocks(page.read_text()):
        assert block.language in {"bash", "python", "toml", "json", "yaml", "text"}, block.text
        if block.language == "python":
            ast.parse(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "bash":
            subprocess.run(["bash", "-n", "-c", block.text], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_runs(page, tmp_path, make_image):
    found = list(blocks(page.read_text()))
    if any("adnet-export web" in block.runnable() for block in found) and not shutil.which("npm"):
        pytest.skip("adnet-export web needs npm")
    environment = machine(tmp_path, make_image, [(128, 96), (140, 130), (96, 96)])
    environment["PYTHONPATH"] = little_calibration(tmp_path / "hook")
    images(tmp_path, make_image)
    lines = ["set -euo pipefail", "source usr/local/Ascend/ascend-toolkit/set_env.sh"]
    lines += ["export ACL_FAKE_SOC=Ascend310P3 ACL_FAKE_DEVICES=2", BEFORE.get(page.name, "")]
    for block in found:
        if block.language == "bash" and page != README:
            lines.append(block.runnable())
        elif block.language == "python" and block.why is None:
            lines.append(f"python - <<'PYTHON'\n{PRELUDE}\n{block.text}\nPYTHON")
    text = "\n".join(lines)
    for old, new in LESS:
        text = re.sub(old, new, text, flags=re.MULTILINE)
    result = subprocess.run(
        ["bash", "-x", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, f"{result.stdout[-2000:]}\n{result.stderr[-4000:]}"


PRELUDE = """
import numpy as np
noisy = np.random.default_rng(0).integers(0, 255, (64, 48), np.uint8)
"""


def images(folder, make_image):
    """Lay out the folders that the pages name."""
    (folder / "examples").symlink_to(ROOT / "examples")
    for name, mode in (("BSD68", "L"), ("CBSD68", "RGB")):
        make_image(folder / "PATH" / name / "0.png", mode, (64, 48))
    for index in range(3):
        clean = make_image(folder / "PAIRS" / "clean" / f"{index}.png", "RGB", (96, 80), index)
        (folder / "PAIRS" / "noisy").mkdir(exist_ok=True)
        (folder / "PAIRS" / "noisy" / clean.name).write_bytes(clean.read_bytes())
