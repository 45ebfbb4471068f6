"""The commands of docs/ascend.md, run one after the other as a newcomer would type them.

Everything of Ascend's is simulated (tests/newcomer.py, tests/fakes).
"""

import subprocess

import pytest
from conftest import ROOT
from newcomer import blocks, little_calibration, machine, script

PAGE = ROOT / "docs" / "ascend.md"
SMALL = [
    # A simulated chip takes seconds for 321x481; the commands are the same with less.
    (r"321,481", "96,128"), (r"481,321", "128,96"), (r"(--soc Ascend310P3)\b", r"\1 --size 96,128"),
    (r"om_overhead (\S+)", r"om_overhead \1 --rounds 2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("replacements", "photos"),
    [
        pytest.param(SMALL, [(128, 96), (140, 130)], id="small", marks=pytest.mark.slow),
        pytest.param([], [(481, 321)] * 10, id="as they are", marks=pytest.mark.long),
    ],
)
def test_every_command_of_the_page_works(tmp_path, make_image, replacements, photos):
    environment = machine(tmp_path, make_image, photos)
    if replacements:
        environment["PYTHONPATH"] = little_calibration(tmp_path / "hook")
    page = PAGE.read_text()
    commands = script(page, tmp_path, replacements)
    result = subprocess.run(
        ["bash", "-c", commands], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, f"{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
    headings = [line[3:] for line in result.stderr.splitlines() if line.startswith("== ")]
    assert headings == [heading for heading, _ in blocks(page)]
    assert len(list((tmp_path / "denoised").iterdir())) == len(photos)
    assert "SIMULATED" in result.stdout
    for made in ("gray-blind.om", "host/for-atc/gray-blind.om", "for-amct/convert.sh"):
        assert (tmp_path / made).exists(), made
