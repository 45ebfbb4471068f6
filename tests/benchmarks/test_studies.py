"""The studies run from end to end, small."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from om_helpers import FAKES, make_om

pytestmark = pytest.mark.slow


def run(module, *arguments, **environment):
    result = subprocess.run(
        [sys.executable, "-m", f"adnet.benchmarks.studies.{module}", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | environment,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def folder(tmp_path, make_image):
    for index in range(10):
        make_image(tmp_path / "data" / f"{index}.png", size=(64, 60), seed=index)
    return tmp_path / "data"


def test_training_steps_beside_the_modelzoo_loop():
    out = run("training_step", "--batch", 4, "--rounds", 2)
    assert "median ratio" in out


def test_threads_that_wait(folder):
    lines = run("waiting", folder, "--steps", 1, "--rounds", 1, "--batch", 2).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        f"beside {loops} busy loops, spin {spin}" for loops in (0, 2) for spin in (0, 1000, 300000)
    ]


def test_patch_store_writers_agree(folder):
    counts = [
        line.split(": ")[1].split()[0] for line in run("store_writers", folder).splitlines()[:2]
    ]
    assert counts[0] == counts[1]


def test_half_precision_study(folder, tmp_path):
    run("half_precision", folder, "-o", tmp_path / "study.png", "--seeds", 1, "--steps", 22)
    runs = json.loads((tmp_path / "study.json").read_text())
    assert set(runs) == {"modelzoo", "large scale", "float32", "adnet"}
    assert runs["large scale"][0]["saturated"] > 0
    assert runs["modelzoo"][0]["largest"] > 0
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


def test_host_share_of_the_om_backend(tmp_path):
    om = make_om(tmp_path / "m.om")
    out = run("om_overhead", om, "--rounds", 3, PYTHONPATH=str(FAKES), ACL_FAKE_ARITHMETIC="none")
    assert "beyond the copies" in out
    assert str(FAKES) in out


def test_predictions_for_ascend_chips():
    lines = run("ascend_roofline").splitlines()
    assert "| Ascend310P3 | 69.5 | 435 | 217 | 205 (batch 1), 215 (batch 64) |" in lines
    assert "| Ascend910B4 | 245.8 | 1539 | 769 |  |" in lines


def test_tiles_by_their_size():
    out = run("tiles", "--tiles", "64x64,48x96", "--rounds", 1, "--image", "200x200", "--memory")
    assert [line.split()[1] for line in out.splitlines()[2:]] == ["64x64", "48x96"]


@pytest.mark.dataset
def test_what_the_readme_says_of_photographs(shared):
    """8 to 13 dB on white noise of sigma 10 and 25; after a JPEG of subsampled chroma less
    than 1."""
    lines = run("noise_levels", shared / "data" / "BSD432", "--jpeg", 80).splitlines()
    assert len(lines) == 4
    for line in lines:
        gains = dict(re.findall(r"(8 bits|4:2:0): [\d.]+ -> [\d.]+ \(([+-][\d.]+)\)", line))
        assert 8 < float(gains["8 bits"]) < 13
        if "color" in line:
            assert 0.5 < float(gains["4:2:0"]) < 1


def test_noise_levels(folder):
    table = run("noise_levels", folder, "--sigma", "5,25", "--held", 2).splitlines()
    assert [line.split("|")[0].strip() for line in table] == ["sigma", "5", "25"]
    assert len({line.count("|") for line in table[1:]}) == 1
    after = run("noise_levels", folder, "--held", 2, "--jpeg", 80).splitlines()
    assert [line.split(":")[0] for line in after] == [
        f"{model}, sigma {sigma}"
        for model in ("color-blind", "gray-blind") for sigma in (10, 25)
    ]  # fmt: skip


@pytest.mark.dataset
def test_what_is_said_of_color_blind_beside_color_real(shared, tmp_path, cli):
    """What README says that it gains on real noise, by scenes that neither model was trained on."""
    split = cli("adnet-data", "split-pairs", shared / "data" / "PolyU", "-o", tmp_path)
    assert split.returncode == 0, split.stderr
    result = cli("adnet-bench", "tables", "--pairs", "--data", tmp_path / "PolyU-test",
                 "--model", "color-blind")  # fmt: skip
    assert result.returncode == 0, result.stderr
    (row,) = [line for line in result.stdout.splitlines() if "all 21 pairs" in line]
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"where the model for white noise gains ([\d.]+)", readme)
    assert f"{float(row.split('|')[-2]):.1f}" == told
