"""From a checkpoint to denoised files on an OM, as a user does it; ATC and pyACL are simulated."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLES, assert_clean_error
from om_helpers import ARITHMETIC_FP32, BSD68, FAKES, install_atc, make_om
from PIL import Image

from adnet.images.levels import from_levels
from adnet.runtime.denoiser import Denoiser


@pytest.fixture
def ascend(tmp_path):
    """Environment of a machine with CANN and one 310P3."""
    program = install_atc(tmp_path / "cann")
    return os.environ | {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(FAKES),
        "ACL_FAKE_LEDGER": str(tmp_path / "ledger.json"),
    }


def left_behind(tmp_path):
    return json.loads((tmp_path / "ledger.json").read_text())


@pytest.mark.slow
def test_checkpoint_to_om_to_images(cli, ascend, checkpoint, tmp_path):
    om = tmp_path / "m.om"
    made = cli(
        "adnet-export", "om", checkpoint, "-o", om, "--size", "96,128", "--size", "128,96",
        "--precision-mode", "origin", "--batch", "1,2", env=ascend,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "building for Ascend310P3, this machine's chip" in made.stderr
    result = cli("adnet-run", EXAMPLES / "noisy", "-o", tmp_path / "out", "--model", om,
                 "--backend", "om", "--device", "npu:0", "--json", env=ascend)  # fmt: skip
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert len(report["written"]) == 3
    (facts,) = report["models"]
    assert (facts["backend"], facts["device"], facts["soc"]) == ("om", "npu:0", "Ascend310P3")
    assert facts["gears"] == "dims"
    assert facts["simulated"] == "yes"
    assert left_behind(tmp_path) == {"left": [], "finalised": True}
    with Denoiser("gray-blind") as denoise:
        for path in report["written"]:
            name = os.path.basename(path)
            expected = denoise(np.asarray(Image.open(EXAMPLES / "noisy" / name)))
            got = np.asarray(Image.open(path))
            # A float in the middle between two levels may be rounded either way.
            assert np.abs(got.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("environment", "options", "status", "parts"),
    [
        ({}, ["--device", "npu:3"], 2, ["npu:3 is not there", "available: npu:0"]),
        ({}, ["--device", "cuda"], 2, ["Ascend devices only"]),
        ({}, ["--threads", "2"], 2, ["no --threads"]),
        ({"ACL_FAKE_SOC": "Ascend910B4"}, [], 2, ["built for Ascend310P3", "Ascend910B4"]),
        ({"ACL_FAKE_FAULT": "init:1:500000"}, [], 2, ["acl.init failed with 500000"]),
        ({"ACL_FAKE_FAULT": "rt.set_device:1:507033"}, [], 2, ["507033", "npu-smi"]),
        ({"ACL_FAKE_FAULT": "rt.malloc:3:207001"}, [], 2, ["207001", "out of memory"]),
        ({"ACL_FAKE_FAULT": "run:1:507015"}, [], 1, ["507015", "AICORE_EXCEPTION"]),
        ({"PYTHONPATH": ""}, [], 2, ["pyACL cannot be imported", "set_env.sh"]),
    ],
)  # fmt: skip
def test_failures_are_told_in_one_line(cli, ascend, tmp_path, environment, options, status, parts):
    om = make_om(tmp_path / "m.om", sizes=((96, 128),))
    image = EXAMPLES / "noisy" / "shapes.png"
    result = cli("adnet-run", image, "-o", tmp_path / "out", "--model", om, *options,
                 env=ascend | environment)  # fmt: skip
    assert_clean_error(result, status, *parts)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    if (tmp_path / "ledger.json").exists():  # not where it was refused before pyACL was loaded
        assert left_behind(tmp_path)["left"] == []


def test_a_small_image_needs_the_padding_to_be_asked_for(cli, ascend, tmp_path, make_image):
    om = make_om(tmp_path / "m.om", sizes=((96, 128),))
    image = make_image(tmp_path / "small.png", size=(60, 45))
    run = ["adnet-run", image, "-o", tmp_path / "out", "--model", om]
    assert_clean_error(cli(*run, env=ascend), 1, "45x60 fits none", "--pad reflect")
    assert cli(*run, "--pad", "reflect", env=ascend).returncode == 0
    with Image.open(tmp_path / "out" / "small.png") as small:
        assert small.size == (60, 45)


def test_a_second_interrupt_ends_a_run_whose_device_hangs(ascend, tmp_path):
    om = make_om(tmp_path / "m.om", sizes=((96, 128),))
    script = Path(sys.executable).parent / "adnet-run"
    process = subprocess.Popen(
        [script, EXAMPLES / "noisy", "-o", tmp_path / "out", "--model", om],
        env=ascend | {"ACL_FAKE_ARITHMETIC": "hang", "ACL_FAKE_HANGING": str(tmp_path / "hanging")},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "hanging").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None  # it waits for the device
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted twice" in stderr


def test_a_lost_device_stops_the_run_and_keeps_what_is_finished(cli, ascend, tmp_path, make_image):
    om = make_om(tmp_path / "m.om", sizes=((96, 128),))
    for index in range(30):
        make_image(tmp_path / "in" / f"{index:02}.png", size=(128, 96), seed=index)
    result = cli("adnet-run", tmp_path / "in", "-o", tmp_path / "out", "--model", om,
                 env=ascend | {"ACL_FAKE_FAULT": "run:9:507010"})  # fmt: skip
    assert_clean_error(result, 1, "507010", "LOST_HEARTBEAT")
    done = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert 4 <= len(done) <= 8
    assert all(name.endswith(".png") for name in done)
    assert left_behind(tmp_path)["left"] == []


@pytest.mark.slow
@pytest.mark.dataset
@pytest.mark.parametrize(("arithmetic", "expected"), [("fp32", 29.2523), ("fp16", 29.2521)])
def test_published_weights_reach_their_psnr(acl, shared, tmp_path, arithmetic, expected):
    from adnet.export.to_onnx import checkpoint_to_onnx
    from adnet.export.torch_to_onnx import OnnxShape
    from adnet.images.evaluate import evaluate, mean_psnr
    from adnet.images.image import load_folder

    onnx = tmp_path / "a.onnx"
    source = shared / "weights" / "author" / "gray_sigma25.pth"
    checkpoint_to_onnx(source, onnx, OnnxShape(), opset=11)
    om = make_om(tmp_path / "m.om", str(onnx), sizes=BSD68, **ARITHMETIC_FP32)
    acl.state.arithmetic = arithmetic
    images = load_folder(shared / "data" / "BSD68", 1).values()
    with Denoiser(om, backend="om") as published:
        results = evaluate(published, (from_levels(image) for image in images), 25)
    assert mean_psnr(results) == pytest.approx(expected, abs=0.0015)
