"""adnet-bench from end to end, small; what its figures mean, and how it fails."""

import importlib.util
import json
import os
import re
import sys

import numpy as np
import pytest
from conftest import assert_clean_error
from om_helpers import FAKES, make_om
from PIL import Image

from adnet.benchmarks.candidates import open_candidates
from adnet.benchmarks.cli import main
from adnet.benchmarks.paper import paper_psnr
from adnet.benchmarks.results_json import read_result
from adnet.images.evaluate import evaluate
from adnet.images.levels import from_levels, to_levels
from adnet.images.noise import add_published_noise
from adnet.models.shipped import pretrained_models
from adnet.runtime.backend import RunOptions
from adnet.runtime.denoiser import Denoiser

SMALL = ["--rounds", "3", "--size", "45,60", "--quiet"]


@pytest.mark.torch
def test_speed_and_quality_of_several_backends(cli_here, acl, clean, tmp_path):
    om = make_om(tmp_path / "m.om", sizes=((45, 60), (60, 45)))
    out = tmp_path / "out.json"
    result = cli_here(
        main, "adnet-bench", "--backend", "onnx,torch,om", "--model", "gray-blind", "--model", om,
        "--data", clean, "--batch", "1,2", "--json", out, *SMALL,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    data = read_result(out)
    assert data.complete
    assert [one.name for one in data.candidates] == ["onnx", "torch", "om"]
    # A simulated device has no speed; its quality is measured, and marked.
    cells = {(one.candidate, one.batch) for one in data.speed}
    assert cells == {("onnx", 1), ("onnx", 2), ("torch", 1), ("torch", 2)}
    for one in data.speed:
        latency, rate = one.latency_ms, one.images_per_s
        assert latency.p50 <= latency.p90 <= latency.p99
        assert rate.low <= rate.value <= rate.high
        assert rate.value == pytest.approx(one.batch / np.median(one.seconds), rel=1e-3)
        assert one.mpix_per_s == pytest.approx(rate.value * 45 * 60 / 1e6)
        assert len(one.seconds) == 3
    assert set(data.end_to_end) == {"onnx", "torch"}
    quality = {one.candidate: one for one in data.quality}
    assert quality["om"].is_simulated
    assert quality["onnx"].reference == "torch"
    for one in quality.values():
        assert abs(one.delta_psnr) < 1e-3
        assert one.images == 3
        assert one.psnr == pytest.approx(np.mean(list(one.per_image.values())), abs=1e-3)
        assert one.psnr_8_bit == pytest.approx(one.psnr, abs=0.05)
    assert "om, simulated" in result.stdout
    for one in quality.values():
        assert f"{one.psnr:.4f}" in result.stdout
    assert data.environment.versions["adnet"]
    assert "adnet-bench --backend" in data.environment.command


def test_figures_are_those_of_the_product(clean):
    images = [from_levels(image) for image in speed_images(clean)]
    with Denoiser("gray-blind") as denoise:
        direct = evaluate(denoise, images, 25)
    with open_candidates(["onnx"], ["gray-blind"], RunOptions()) as candidates:
        from adnet.benchmarks.quality import measure_quality

        named = dict(zip("abc", speed_images(clean), strict=True))
        ((found,), _) = measure_quality(candidates.opened, "Clean3", named, 25)
        digests = [
            measure_quality(candidates.opened, "Clean3", images, 25)[0][0].images_sha256
            for images in (dict(named), named | {"a": 255 - named["a"]},
                           {name.upper(): one for name, one in named.items()})
        ]  # fmt: skip
    assert digests[0] == found.images_sha256  # the same images
    assert len({"", *digests}) == 4  # other pixels, other names
    assert found.psnr == pytest.approx(np.mean([one.psnr for one in direct]), abs=1e-6)


def speed_images(folder):
    from adnet.images.image import load_folder

    return list(load_folder(folder, 1).values())


def test_without_data_it_says_how_to_get_some(cli_here):
    result = cli_here(main, "adnet-bench", "--rounds", "1", "--size", "24,32", "--quiet")
    assert result.returncode == 0
    assert "adnet-data fetch BSD68" in result.stdout
    assert "| onnx" in result.stdout


@pytest.mark.torch
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--data", "nowhere"], ["no such folder", "BSD68"]),
        (["--backend", "quantum"], ["unknown backend 'quantum'", "onnx"]),
        (["--backend", "om"], ["runs .om files", "--model"]),
        (["--backend", "torch", "--device", "cuda:3"], ["cuda:3", "Available here: cpu"]),
        (["--model", "no-such"], ["unknown model 'no-such'"]),
        (["--size", "10"], ["--size"]),
        (["--sigma", "-5"], ["--sigma must be 0 to 255"]),
        (["--images", "2"], ["--images", "--data, which is not given"]),
        (["--images", "0"], ["--images must be at least 1, got 0"]),
        (["--sigma", "nan"], ["--sigma must be 0 to 255, got nan"]),
        (["--json", "x.png"], ["--json x.png: expected a name that ends in .json"]),
        (["--report", "x.txt"], ["expected a name that ends in .html"]),
        (["--batch", "0"], ["at least 1"]),
        (["--json", "nowhere/x.json"], ["--json nowhere/x.json: there is no folder nowhere"]),
        (["--report", "nowhere/x.html"], ["--report", "there is no folder nowhere"]),
        (["--json", "."], ["--json .: is a folder"]),
        (["--batch", ""], ["at least 1"]),
        (["--batch", "nan"], ["--batch", "whole numbers"]),
        (["--backend", ""], ["--backend: expected a value"]),
        (
            ["--peers", "openvino-fp32", "--precision", "bf16", "--backend", "torch"],
            ["their name tells"],
        ),
        (["--backend", "torch", "scaling"], ["--backend: give options after 'scaling'"]),
        (["--peers", "gimp"], ["unknown peer 'gimp'", "openvino"]),
        (["scaling", "--backend", "quantum"], ["unknown backend 'quantum'"]),
        (["scaling", "--megapixels", "0"], ["above 0"]),
    ],
)
def test_wrong_requests(cli_here, tmp_path, arguments, parts):
    result = cli_here(main, "adnet-bench", *arguments, "--rounds", "1", "--quiet", cwd=tmp_path)
    assert_clean_error(result, 2, *parts)


def test_an_unreadable_image_is_named(cli_here, clean):
    (clean / "broken.png").write_bytes(b"\x89PNG not really")
    result = cli_here(main, "adnet-bench", "--data", clean, *SMALL)
    assert_clean_error(result, 1, "broken.png")


def test_a_backend_that_fails_midway_does_not_stop_the_others(cli_here, acl, clean, tmp_path):
    import acl._state

    acl.state.faults[:] = [acl._state.Fault("run", 3, 507010)]
    om = make_om(tmp_path / "m.om", sizes=((45, 60), (60, 45)))
    out = tmp_path / "out.json"
    result = cli_here(
        main, "adnet-bench", "--backend", "om,onnx", "--model", "gray-blind", "--model", om,
        "--data", clean, "--json", out, *SMALL,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    data = read_result(out)
    assert not data.complete
    assert "507010" in data.errors["om"]
    assert [one.candidate for one in data.quality] == ["onnx"]
    assert "om failed" in result.stdout


def test_an_interrupted_run_leaves_a_valid_file(cli_here, clean, tmp_path, monkeypatch):
    from adnet.benchmarks import quality

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(quality, "compare", interrupt)
    out = tmp_path / "out.json"
    result = cli_here(main, "adnet-bench", "--data", clean, "--json", out, *SMALL)
    assert result.returncode == 130
    data = read_result(out)
    assert not data.complete
    assert data.speed
    assert data.quality == []
    assert "interrupted or failed" in result.stdout


def test_an_interrupt_keeps_the_rounds_done_and_never_an_old_result(
    cli_here, tmp_path, monkeypatch
):
    from adnet.benchmarks import timing

    out = tmp_path / "out.json"
    out.write_text("an earlier result")
    real, taken = timing._time, []

    def interrupted_at(most):
        def time_it(action):
            taken.append(None)
            if len(taken) > most:
                raise KeyboardInterrupt
            return real(action)

        return time_it

    arguments = ["adnet-bench", "--json", out, "--rounds", "50", "--size", "24,32", "--quiet"]
    monkeypatch.setattr(timing, "_time", interrupted_at(0))
    assert cli_here(main, *arguments).returncode == 130
    assert out.read_text() == "an earlier result"  # nothing was measured
    taken.clear()
    monkeypatch.setattr(timing, "_time", interrupted_at(20))
    assert cli_here(main, *arguments).returncode == 130
    (entry,) = read_result(out).speed
    assert 2 <= entry.calls < 50


def test_a_report_without_matplotlib_is_refused_before_the_work(cli_here, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = cli_here(main, "adnet-bench", "--report", tmp_path / "r.html", "--quiet")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "pip install '.[plot]'" in result.stderr


@pytest.mark.slow
def test_all_means_what_can_run_here(cli, tmp_path):
    out = tmp_path / "out.json"
    result = cli("adnet-bench", "--backend", "all", "--json", out, "--rounds", "1", *SMALL[2:])
    assert result.returncode == 0, result.stdout
    data = read_result(out)
    packages = {"openvino": "openvino", "mnn": "MNN"}
    further = [name for name, one in packages.items() if importlib.util.find_spec(one)]
    there = ["onnx", "torch", *further]
    assert [one.name for one in data.candidates] == there
    assert "npu" in data.left_out
    simulated = cli("adnet-bench", "--backend", "all", "--json", out, "--rounds", "1", *SMALL[2:],
                    env=os.environ | {"PYTHONPATH": str(FAKES)})  # fmt: skip
    assert simulated.returncode == 0, simulated.stdout
    data = read_result(out)
    assert "npu" in [one.name for one in data.candidates]
    assert {one.candidate for one in data.speed} == set(there)


def test_fixed_batches_and_images_of_different_sizes(cli_here, clean, checkpoint, tmp_path):
    from adnet.export.to_onnx import checkpoint_to_onnx
    from adnet.export.torch_to_onnx import OnnxShape

    checkpoint_to_onnx(checkpoint, tmp_path / "f.onnx", OnnxShape(4, (45, 45)), verify=False)
    out = tmp_path / "out.json"
    result = cli_here(main, "adnet-bench", "--model", tmp_path / "f.onnx", "--model", "gray-blind",
                      "--data", clean, "--rounds", "0", "--quiet", "--json", out)  # fmt: skip
    assert result.returncode == 0, result.stderr
    fixed, free = read_result(out).quality
    assert fixed.images == free.images == 3
    assert fixed.psnr == pytest.approx(free.psnr, abs=1e-4)


@pytest.mark.slow
def test_loading_and_memory_are_told_of_each_candidate(cli, clean, tmp_path):
    out = tmp_path / "out.json"
    result = cli("adnet-bench", "--backend", "onnx,torch", "--json", out, *SMALL)
    assert result.returncode == 0, result.stderr
    onnx, torch = read_result(out).candidates
    # PyTorch takes more of both than ONNX Runtime: each has a process of its own.
    assert 20 < onnx.peak_memory_mb < torch.peak_memory_mb
    assert 0 < onnx.load_s < torch.load_s


def test_what_the_paper_reports():
    assert paper_psnr("BSD68", 25, is_blind=False) == 29.25
    assert paper_psnr("BSD68", 25.0, is_blind=True) == 29.14
    assert paper_psnr("BSD68", 25.5, is_blind=True) is None
    assert paper_psnr("Mine", 25, is_blind=None) is None


def test_entry_point_is_installed(cli):
    result = cli("adnet-bench", "--version")
    assert result.stdout.startswith("adnet ")


def test_tables_beside_the_paper(cli_here, tmp_path, make_image, monkeypatch):
    for name, mode in (("BSD68", "L"), ("CBSD68", "RGB")):
        for index in range(2):
            make_image(tmp_path / name / f"{index}.png", mode, size=(28, 24), seed=index)
    out = cli_here(main, "adnet-bench", "tables", "--data", tmp_path / "BSD68", "--data",
                   tmp_path / "CBSD68", "--json")  # fmt: skip
    entries = json.loads(out.stdout)
    keys = [(one["model"], one["dataset"], one["sigma"], one["paper"]) for one in entries]
    gray = [("gray-blind", "BSD68", s, p) for s, p in ((15, 31.56), (25, 29.14), (50, 26.24))]
    assert [key for key in keys if key[0] == "gray-blind"] == gray
    assert ("color-blind", "CBSD68", 35, 29.48) in keys
    assert ("color-blind", "CBSD68", 75, None) in keys
    assert len([key for key in keys if key[0] == "color-blind"]) == 5
    text = cli_here(main, "adnet-bench", "tables", "--data", tmp_path / "BSD68", "--images", "1")
    assert re.search(r"\| gray-blind +\| BSD68 \| 25 +\|", text.stdout)
    wrong = cli_here(main, "adnet-bench", "tables", "--data", tmp_path / "BSD68", "--model",
                     "color-blind")  # fmt: skip
    assert_clean_error(wrong, 2, "none of the models takes these images")
    for number in ("0", "-1"):
        wrong = cli_here(main, "adnet-bench", "tables", "--data", tmp_path / "BSD68", "--images",
                         number)  # fmt: skip
        assert_clean_error(wrong, 2, f"--images must be at least 1, got {number}")


@pytest.mark.parametrize("backend", [pytest.param("torch", marks=pytest.mark.torch), "onnx"])
def test_tables_of_all_models_that_a_backend_takes(cli_here, tmp_path, make_image, backend):
    make_image(tmp_path / "BSD68" / "a.png", size=(28, 24))
    out = cli_here(main, "adnet-bench", "tables", "--data", tmp_path / "BSD68", "--backend",
                   backend, "--json")  # fmt: skip
    assert out.returncode == 0, out.stderr
    found = {one["model"] for one in json.loads(out.stdout)}
    expected = {one.name for one in pretrained_models() if one.card.channels == 1}
    assert found == {name for name in expected if backend == "onnx" or "int8" not in name}


def test_tables_of_pairs(make_image, cli_here, tmp_path):
    """Real noise, scene by scene: before and after every model, gray ones in gray."""
    for index, word in enumerate(("toy", "toy", "door")):
        for end, sigma in (("real", 25.0), ("mean", 0.0)):
            path = make_image(
                tmp_path / "Pairs" / f"Sony_4_200_3200_{word}_{index}_{end}.png", "RGB", seed=index
            )
            clean = from_levels(np.asarray(Image.open(path)))
            pixels = to_levels(add_published_noise(clean, sigma, index))
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    given = ("tables", "--pairs", "--data", tmp_path / "Pairs")
    result = cli_here(main, "adnet-bench", *given, "--model", "gray-blind", "--model",
                      "color-blind", "--json")  # fmt: skip
    assert result.returncode == 0, result.stderr
    gray, colour = json.loads(result.stdout)
    assert (gray["model"], colour["model"]) == ("gray-blind", "color-blind")
    assert gray["noisy"] > colour["noisy"] + 1  # gray is a mean of planes, so it has less noise
    for one in (gray, colour):
        assert one["pairs"] == 3
        assert set(one["scenes"]) == {"toy", "door"}
        assert one["denoised"] > one["noisy"]
    text = cli_here(main, "adnet-bench", *given, "--model", "color-blind").stdout
    assert f"| color-blind | Pairs | all 3 pairs | {colour['noisy']:.3f}" in text
    assert_clean_error(cli_here(main, "adnet-bench", *given, "--images", "1"), 2, "--images")
    for words in (["tables"], []):  # the noisy ones are no clean images
        wrong = cli_here(main, "adnet-bench", *words, "--data", tmp_path / "Pairs")
        assert_clean_error(wrong, 2, "holds pairs", "adnet-bench tables --pairs")
    (tmp_path / "Pairs" / "Sony_4_200_3200_toy_0_mean.png").unlink()
    assert_clean_error(cli_here(main, "adnet-bench", *given), 1, "has no counterpart")
