"""The stand-in for ATC refuses what the manuals and sources say that the real one refuses."""

import os
import subprocess
import sys

import onnx
import pytest
from om_helpers import FAKES, install_atc
from test_cann_install import without_cann

from adnet.export.ascend.atc_errors import explain
from adnet.models.shipped import WEIGHTS

GOOD = {
    "model": "model.onnx", "framework": "5", "output": "out", "input_format": "NCHW",
    "input_shape": "image:1,1,64,48", "soc_version": "Ascend310P3",
}  # fmt: skip
FILES = ["keep_dtype", "customize_dtypes", "modify_mixlist", "op_precision_mode",
         "fusion_switch_file", "weight"]  # fmt: skip
ALLOWED = [
    {}, {"virtual_type": "1"}, {"op_select_implmode": "high_precision"}, {"debug_dir": "/tmp"},
    {"buffer_optimize": "off_optimize"}, {"external_weight": "0"}, {"mode": "0"},
    {"out_nodes": "denoised"}, {"host_env_os": "linux", "host_env_cpu": "aarch64"},
    {"op_compiler_cache_dir": "made/here"}, {"allow_hf32": "true"},
    {"modify_mixlist": "file", "precision_mode_v2": "mixed_float16"},
]  # fmt: skip
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
    for name in ("file", "a b"):
        (tmp_path / name).touch()
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


@pytest.mark.parametrize("flags", [*ALLOWED, GEARS, SIZES, DIMS])
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
        ({"debug_dir": "/nope/y"}, "E10001"), ({"op_select_implmode": "x"}, "E10001"),
        ({"buffer_optimize": "x"}, "E10001"), ({"buffer_optimize": "l1_optimize"}, "E10001"),
        ({"external_weight": "7"}, "E10001"), ({"mode": "99"}, "E10001"), ({"mode": "6"}, "E10001"),
        ({"mode": "30"}, "E10055"), ({"soc_version": "Ascend035"}, "E10055"),
        ({"out_nodes": "q:0"}, "E10016"), ({"out_nodes": "q"}, "E10016"),
        ({"host_env_os": "beos", "host_env_cpu": "x86_64"}, "E10001"),
        ({"host_env_os": "linux", "host_env_cpu": "z80"}, "E10001"),
        ({"host_env_os": "linux"}, "E10001"), ({"allow_hf32": "1"}, "E10001"),
        ({"op_compiler_cache_dir": "model.onnx/x"}, "E10001"),
        ({"op_compiler_cache_dir": "a b"}, "E10001"), ({"check_report": "model.onnx/x"}, "E10001"),
        ({"optypelist_for_implmode": "Conv2D"}, "E10001"),
        *[({flag: "none"}, "E10001") for flag in FILES],
        *[({flag: "a b"}, "E10001") for flag in FILES],
        ({"modify_mixlist": "file"}, "E10001"),
        ({"modify_mixlist": "file", "precision_mode": "force_fp16"}, "E10001"),
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


@pytest.mark.slow
def test_models_and_environments_that_it_does_not_take(atc, tmp_path):
    assert "E10501" in atc({}, ASCEND_OPP_PATH="").stdout
    path = tmp_path / "model.onnx"
    original = onnx.load(str(path))

    def refused(change, **variables):
        model = onnx.ModelProto()
        model.CopyFrom(original)
        change(model)
        path.write_bytes(model.SerializeToString())
        return atc({}, **variables).stdout

    assert "E16005" in refused(lambda m: m.opset_import.append(onnx.helper.make_opsetid("x", 1)))
    assert "E19010" in refused(lambda m: setattr(m.opset_import[0], "version", 22))
    assert "E13009" in refused(lambda m: setattr(m.graph.node[0], "name", m.graph.node[1].name))
    for cann, first, last, code in (("6.0", 9, 13, "E19010"),
                                    ("7.0", 9, 18, "E19010"), ("8.5", 9, 18, "E19010"),
                                    ("9.0", 11, 18, "E16002")):  # fmt: skip
        for opset in (first - 1, first, last, last + 1):
            words = refused(lambda m, v=opset: setattr(m.opset_import[0], "version", v),
                            ATC_FAKE_CANN=cann, ATC_FAKE_PYTHON="3.9", ATC_FAKE_NUMPY="1.26",
                            ATC_FAKE_FAIL="E20001")  # fmt: skip
            assert (code in words) == (opset not in range(first, last + 1)), (cann, opset)
    path.write_bytes(b"nothing")
    assert "E16004" in atc({}).stdout
    assert os.path.exists(path)


@pytest.mark.parametrize(
    ("cann", "python", "numpy", "said"),
    [
        ("8.1", "3.11", "1.26", "FrameLocalsProxy"), ("7.0", "3.12", "1.26", "FrameLocalsProxy"),
        ("8.1", "3.10", "2.0", "np.float_"), ("8.2", "3.11", "2.4", "np.float_"),
        ("8.1", "3.10", "1.26", None), ("8.2", "3.11", "1.26", None),
        ("8.5", "3.13", "2.4", None), ("9.0", "3.13", "2.4", None),
    ],
)  # fmt: skip
def test_a_python_or_numpy_too_new_for_this_cann(atc, tmp_path, cann, python, numpy, said):
    names = {"ATC_FAKE_CANN": cann, "ATC_FAKE_PYTHON": python, "ATC_FAKE_NUMPY": numpy}
    result = atc({}, **names)
    assert (result.returncode != 0) == (said is not None)
    assert said is None or said in result.stdout
    assert (tmp_path / "out.om").exists() == (said is None)
    if said is not None:
        assert {"np.float_": "numpy<2", "FrameLocalsProxy": "too new"}[said] in explain(
            result.stdout, 255
        )[2]


def test_external_weights_are_not_in_the_om(atc, tmp_path):
    assert atc({"external_weight": "1"}).returncode == 0
    whole = (tmp_path / "model.onnx").stat().st_size
    assert (tmp_path / "out.om").stat().st_size < whole / 10
    assert (tmp_path / "weight" / "0").stat().st_size == whole
