"""The stand-in for ATC refuses what the manuals and sources say that the real one refuses."""

import os
import subprocess
import sys

import onnx
import pytest
from om_helpers import FAKES, install_atc
from test_cann_install import without_cann

from adnet.pretrained import WEIGHTS

GOOD = {
    "model": "model.onnx", "framework": "5", "output": "out", "input_format": "NCHW",
    "input_shape": "image:1,1,64,48", "soc_version": "Ascend310P3",
}  # fmt: skip
GEARS = {"input_shape": "image:-1,1,64,48", "dynamic_batch_size": "1,2"}
SIZES = {"input_shape": "image:1,1,-1,-1", "dynamic_image_size": "64,48;48,64"}
DIMS = {"input_shape": "image:-1,1,-1,-1", "dynamic_dims": "1,64,48;2,64,48", "input_format": "ND"}
AIPP = (
    "aipp_op {{\n aipp_mode: static\n related_input_rank: {}\n input_format: {}\n"
    " csc_switch: false\n src_image_size_w: {}\n src_image_size_h: 64\n}}\n"
)


@pytest.fixture
def atc(tmp_path):
    """Run the stand-in in a folder that has the model: atc({flag: value}, word ...)."""
    home = install_atc(tmp_path / "cann").parent.parent
    (tmp_path / "model.onnx").write_bytes((WEIGHTS / "gray-blind.onnx").read_bytes())
    (devlib,) = [path.parent for path in home.rglob("libascend_hal.so")]
    env = without_cann(LD_LIBRARY_PATH=str(devlib), ASCEND_OPP_PATH=str(home / "opp"))

    def run(flags, *words, **variables):
        given = [f"--{name}={value}" for name, value in (GOOD | flags).items() if value is not None]
        return subprocess.run(
            [sys.executable, FAKES / "atc", *given, *words],
            cwd=tmp_path, env=env | variables, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("flags", [{}, GEARS, SIZES, DIMS, {"virtual_type": "1"}])
def test_what_is_right_is_converted(atc, tmp_path, flags):
    result = atc(flags)
    assert result.returncode == 0, result.stdout
    assert result.stdout.splitlines()[0] == "ATC start working now, please wait for a moment."
    assert result.stdout.splitlines()[-1] == "ATC run success, welcome to the next use."
    assert (tmp_path / "out.om").exists()


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ({"framework": None}, "E10007"), ({"soc_version": ""}, "E10054"),
        ({"output": ""}, "E10054"),
        ({"soc_version": "Ascend999"}, "E10001"), ({"soc_version": "310P3"}, "E10001"),
        ({"soc_version": "Ascend950PR_1234"}, "E10001"), ({"model": "none.onnx"}, "E10001"),
        ({"output": "out/"}, "E10022"), ({"output": "o" * 5000}, "E10021"),
        ({"output": "o u t"}, "E10001"), ({"log": "all"}, "E10010"),
        ({"input_format": "NHWC"}, "E10001"), ({"virtual_type": "true"}, "E10006"),
        ({"auto_tune_mode": "GA"}, "E10001"), ({"precision_mode": "fp32"}, "E10001"),
        ({"precision_mode": "force_fp16", "precision_mode_v2": "fp16"}, "E10056"),
        ({"precision_mode_v2": "mixed_bfloat16"}, "E10001"),
        ({"precision_mode_v2": "mixed_hif8", "soc_version": "Ascend910B4"}, "E10001"),
        (GEARS | {"input_shape": "image:1~8,1,64,48"}, "E10040"),
        (GEARS | {"input_hint_shape": "1"}, "E10001"), (GEARS | {"input_shape": ""}, "E10004"),
        (GEARS | {"dynamic_dims": "1;2"}, "E10009"),
        (GEARS | {"dynamic_batch_size": "1"}, "E10035"),
        (GEARS | {"dynamic_batch_size": "1,1"}, "E10039"),
        (GEARS | {"dynamic_batch_size": "0,1"}, "E10038"),
        (GEARS | {"dynamic_batch_size": "1;2"}, "E10003"),
        (GEARS | {"dynamic_batch_size": ",".join(map(str, range(1, 102)))}, "E10036"),
        (GEARS | {"input_shape": "image:-1,1,-1,48"}, "E10018"),
        (GEARS | {"input_shape": "image:1,1,64,48"}, "E10031"),
        (SIZES | {"input_shape": "image:1,1,-1,48"}, "E10019"),
        (SIZES | {"input_format": "ND"}, "E10003"),
        (SIZES | {"dynamic_image_size": "64"}, "E10020"),
        (DIMS | {"dynamic_dims": "1,64;2,64"}, "E10003"),
        (DIMS | {"dynamic_dims": "a,b,c;1,2,3"}, "E10001"),
        ({"input_shape": "1,1,64,48"}, "E10002"), ({"input_shape": "image:1,1,64,x"}, "E10002"),
        ({"input_shape": "image:1,1,0,48"}, "E10001"),
        ({"input_shape": "picture:1,1,64,48"}, "E10016"),
        ({"input_shape": "image:1,64,48"}, "E19999"), ({"input_fp16_nodes": "a"}, "E10016"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_code(atc, tmp_path, flags, code):
    result = atc(flags)
    assert result.returncode == 255
    assert "ATC run failed, Please check the detail log" in result.stdout
    assert code in result.stdout
    assert not list(tmp_path.glob("*.om"))


@pytest.mark.parametrize(
    ("text", "flags", "code"),
    [
        (AIPP.format(0, "YUV400_U8", 48), DIMS, "E10001"),
        (AIPP.format(0, "RGB888_U8", 48), {}, "E10052"),
        (AIPP.format(1, "YUV400_U8", 48), {}, "E10052"),
        (AIPP.format(0, "YUV400_U8", 5000), {}, "E10052"),
        (AIPP.format(0, "YUV400_U8", 32), {}, "E10052"),
        (AIPP.format(0, "YUV400_U8", 48), SIZES, "E10052"),
        (AIPP.format(0, "YUV400_U8", 48), {"input_fp16_nodes": "image"}, "E10034"),
        ("aipp_op { aipp_mode: static", {}, "E13018"),
    ],
)
def test_aipp(atc, tmp_path, text, flags, code):
    (tmp_path / "aipp.cfg").write_text(text)
    assert code in atc(flags | {"insert_op_conf": "aipp.cfg"}).stdout


def test_flags_are_read_as_the_real_one_does(atc):
    for words, complaint in (
        (["--nonsense=1"], "unknown command line flag 'nonsense'"),
        (["stray"], "Non-option parameter: stray"),
        (["--log=", "error"], "Non-option parameter: error"),
        (["--log"], "is missing its argument"),
    ):
        result = atc({}, *words)
        assert result.returncode == 255
        assert complaint in result.stderr
        assert "..." not in result.stdout
    assert atc({"output": None}, "-output", "out", "--enable-small-channel=0").returncode == 0


def test_models_and_environments_that_it_does_not_take(atc, tmp_path):
    assert "E10501" in atc({}, ASCEND_OPP_PATH="").stdout
    path = tmp_path / "model.onnx"
    original = onnx.load(str(path))

    def refused(change):
        model = onnx.ModelProto()
        model.CopyFrom(original)
        change(model)
        path.write_bytes(model.SerializeToString())
        return atc({}).stdout

    assert "E16005" in refused(lambda m: m.opset_import.append(onnx.helper.make_opsetid("x", 1)))
    assert "E19010" in refused(lambda m: setattr(m.opset_import[0], "version", 22))
    assert "E13009" in refused(lambda m: setattr(m.graph.node[0], "name", m.graph.node[1].name))
    path.write_bytes(b"nothing")
    assert "E16004" in atc({}).stdout
    assert os.path.exists(path)
