"""Comparing two results of adnet-bench."""

import dataclasses

import numpy as np
import pytest
from bench_helpers import (
    candidate_record,
    empty_result,
    end_to_end_record,
    quality_record,
    scaling_record,
    speed_record,
)
from conftest import assert_clean_error

from adnet.benchmarks import compare
from adnet.benchmarks.cli import main
from adnet.benchmarks.results_json import write_result


def made_up(rates, psnr=29.25, cpu="x", is_peer=False):
    generator = np.random.default_rng(0)
    result = empty_result(cpu=cpu)
    result.complete = True
    for name, rate in rates.items():
        result.candidates.append(candidate_record(name))
        seconds = (1 / rate) * generator.normal(1, 0.02, 30)
        result.speed.append(speed_record(name, seconds.tolist(), is_peer))
        result.quality.append(quality_record(name, psnr))
    return result


@pytest.mark.parametrize(
    ("after", "status", "regressions"),
    [
        (made_up({"onnx": 2.0}), 0, 0),
        (made_up({"onnx": 1.97}), 0, 0),  # within the noise
        (made_up({"onnx": 1.5}), 1, 1),
        (made_up({"onnx": 2.5}, psnr=29.2), 1, 1),
    ],
)
def test_comparing(cli_here, tmp_path, after, status, regressions):
    before = made_up({"onnx": 2.0})
    changes = compare.compare_results(before, after)
    assert [one.is_regression for one in changes].count(True) == regressions
    assert changes[0].ratio.low <= changes[0].ratio.value <= changes[0].ratio.high
    for name, one in (("a", before), ("b", after)):
        write_result(one, tmp_path / f"{name}.json")
    result = cli_here(main, "adnet-bench", "compare", tmp_path / "a.json", tmp_path / "b.json")
    assert result.returncode == status, result.stderr
    assert status or "missing" not in result.stdout
    assert ("regression" in result.stdout.replace("after / before", "")) == bool(regressions)


def test_figures_that_are_gone_are_no_success(cli_here, tmp_path):
    write_result(made_up({"onnx": 2.0, "torch": 1.0}), tmp_path / "a.json")
    write_result(made_up({"onnx": 2.0}), tmp_path / "b.json")
    result = cli_here(main, "adnet-bench", "compare", tmp_path / "a.json", tmp_path / "b.json")
    assert result.returncode == 1
    assert "missing in" in result.stdout
    assert "torch 1x4x5, images/s" in result.stdout
    assert "torch BSD68 sigma 25, PSNR" in result.stdout
    write_result(made_up({"onnx": 2.0, "torch": 1.0}, psnr=float("nan")), tmp_path / "c.json")
    result = cli_here(main, "adnet-bench", "compare", tmp_path / "a.json", tmp_path / "c.json")
    assert result.returncode == 1
    assert result.stdout.count("regression") == 2


def test_a_slower_peer_is_no_regression_of_ours():
    before, after = (made_up({"ncnn": rate}, is_peer=True) for rate in (2.0, 1.0))
    (speed_change, _) = compare.compare_results(before, after)
    assert speed_change.ratio.value == pytest.approx(0.5, rel=0.02)
    assert not speed_change.is_regression


def test_end_to_end_and_scaling_are_compared():
    before, after = made_up({}), made_up({})
    for result, seconds in ((before, [2.0] * 9), (after, [4.0] * 9)):
        result.end_to_end["onnx"] = end_to_end_record(8, seconds)
        result.scaling.append(scaling_record("size", 10.0, seconds, 10.0))
    whole, size = compare.compare_results(before, after)
    assert (whole.what, whole.before, whole.after) == (
        "onnx end to end, 8 images, images/s", 4.0, 2.0
    )  # fmt: skip
    assert (size.what, size.before, size.after) == ("size 10, MPix/s", 5.0, 2.5)
    assert whole.is_regression
    assert size.is_regression


def test_machines_that_differ_are_noted(cli_here, tmp_path):
    write_result(made_up({"onnx": 2.0}), tmp_path / "a.json")
    write_result(made_up({"onnx": 2.0}, cpu="y"), tmp_path / "b.json")
    result = cli_here(main, "adnet-bench", "compare", tmp_path / "a.json", tmp_path / "b.json")
    assert "the machines differ, cpu: x before, y after" in result.stderr


@pytest.mark.parametrize(
    "words", [("--slower", one) for one in ("10", "1", "-0.1", "nan", "inf")]
    + [("--worse", one) for one in ("-1", "nan", "inf")],
)  # fmt: skip
def test_limits_that_would_let_everything_pass_are_refused(cli_here, tmp_path, words):
    write_result(made_up({"onnx": 2.0}), tmp_path / "a.json")
    both = (tmp_path / "a.json", tmp_path / "a.json")
    result = cli_here(main, "adnet-bench", "compare", *both, *words)
    assert_clean_error(result, 2, f"{words[0][2:]}: expected")


def test_other_weights_and_other_images_are_told():
    before, after = made_up({"onnx": 2.0, "torch": 1.0}), made_up({"onnx": 2.0, "torch": 1.0})
    for result in (before, after):
        result.candidates += [candidate_record(name) for name in ("onnx", "torch")]
    assert compare.unlike(before, after) == []
    after.candidates[1] = dataclasses.replace(after.candidates[1], weights_sha256="other")
    after.quality[0] = dataclasses.replace(after.quality[0], per_image={"b": 29.0})
    assert compare.unlike(before, after) == [
        "torch: other weights", "onnx BSD68 sigma 25, PSNR: other images",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "told"), [("a", "b", True), ("a", "a", False), ("a", "", False)]
)
def test_other_pixels_under_the_same_names_are_told(one, other, told):
    """But not where one of the results, of an earlier adnet, does not say which they were."""
    results = [made_up({"onnx": 2.0}) for _ in range(2)]
    for result, digest in zip(results, (one, other), strict=True):
        result.quality[0] = dataclasses.replace(result.quality[0], images_sha256=digest)
    assert compare.unlike(*results) == ["onnx BSD68 sigma 25, PSNR: other images"] * told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"name": "openvino"}, ["scaling: of m on onnx before, of m on openvino after"]),
        ({"model": "x/color-50.onnx"}, ["scaling: of m on onnx before, of color-50 on onnx after"]),
        ({"size": (32, 32)}, ["batch 2: images of 96x96 before, of 32x32 after"]),
        ({"size": None}, []),
    ],
)
def test_other_candidates_and_sizes_of_scaling_are_told(change, told):
    results = []
    for extra in ({}, change):
        size = extra.get("size", (96, 96))
        candidate = {key: one for key, one in extra.items() if key != "size"}
        result = made_up({"onnx": 2.0})
        result.quality, result.speed = [], []
        result.candidates = [
            dataclasses.replace(candidate_record("onnx"), **{"model": "m.onnx"} | candidate)
        ]
        record = scaling_record("batch", 2, [1.0, 1.1, 0.9], 1.0)
        result.scaling = [dataclasses.replace(record, size=size)]
        results.append(result)
    assert compare.unlike(*results) == told


@pytest.mark.parametrize("name", ["x.pdf", "x.txt", "x", "x.json"])
def test_reports_are_pages_and_plots(cli_here, tmp_path, name):
    write_result(made_up({"onnx": 2.0}), tmp_path / "a.json")
    words = ("report", tmp_path / "a.json", "-o", tmp_path / name)
    assert_clean_error(
        cli_here(main, "adnet-bench", *words), 2, "expected a name that ends in .html or"
    )
    run = ("--data", tmp_path, "--report", tmp_path / name)
    assert_clean_error(cli_here(main, "adnet-bench", *run), 2, "expected a name that ends in .html")
    assert not (tmp_path / name).exists()
