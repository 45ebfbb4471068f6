"""The studies run from end to end, small."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from om_helpers import FAKES, make_om

from adnet.benchmarks import timing

pytestmark = pytest.mark.slow


def run(module, *arguments, **environment):
    result = subprocess.run(
        [sys.executable, "-m", f"adnet.benchmarks.{module}", *map(str, arguments)],
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


def test_patch_store_writers_agree(folder):
    counts = [
        line.split(": ")[1].split()[0] for line in run("patch_store", folder).splitlines()[:2]
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


def test_intervals_hold_what_they_should():
    generator = np.random.default_rng(0)
    slow = generator.normal(2.0, 0.1, 40).tolist()
    fast = generator.normal(1.0, 0.1, 40).tolist()
    times = timing.ratio(slow, fast)
    assert times.low < 2.0 < times.high
    assert times.high - times.low < 0.4
    counts = dict.fromkeys("ab", 0)

    def count(name):
        counts[name] += 1

    seconds = timing.interleave({name: lambda name=name: count(name) for name in "ab"}, rounds=3)
    assert all(2 + 3 <= count <= 9 + 3 for count in counts.values())  # warmed up until stable
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_what_differs_between_runs_is_in_the_interval_of_a_rate():
    steady = timing.rate([2.0] * 20, 10)
    assert steady["value"] == 5
    assert steady["high"] / 5 - 1 == pytest.approx(1.96 * timing.DRIFT, rel=0.03)
    noisy = timing.between_runs(timing.Interval(1.0, 0.9, 1.2), runs=2)
    assert noisy.low < 0.9
    assert noisy.high > 1.2
    assert 1 - noisy.low == pytest.approx((0.1**2 + 2 * (1.96 * timing.DRIFT) ** 2) ** 0.5)


def test_rounds_end_when_the_intervals_are_narrow():
    import itertools

    def steady():
        timing.time.sleep(0.001)

    pattern = itertools.cycle([0.001, 0.02])
    wild = {"wild": lambda: timing.time.sleep(next(pattern))}
    few = timing.interleave({"steady": steady} | wild, beside=wild)
    assert 10 <= len(few["steady"]) < 40
    failures = {}
    left = timing.interleave(
        {"steady": steady, "broken": lambda: 1 / 0}, rounds=2, failures=failures
    )
    assert list(left) == ["steady"]
    assert failures == {"broken": "division by zero"}
    with pytest.raises(ZeroDivisionError):
        timing.interleave({"broken": lambda: 1 / 0}, rounds=2)
