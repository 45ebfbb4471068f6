"""adnet-export verify on the simulated pyACL, and a whole conversion in a process without torch."""

import json
import os
import subprocess
import sys

import onnx
import pytest
from conftest import ROOT, assert_clean_error
from om_helpers import FAKES, install_atc, make_om
from test_cann_install import without_cann

from adnet.errors import ModelError, ParityError, UsageError
from adnet.export.ascend.verify_om import verify_om
from adnet.models.shipped import WEIGHTS

SMALL = ((64, 80), (80, 64))
MAIN_CASES = [
    {"sizes": SMALL[:1]},
    {"sizes": SMALL[:1], "batches": (1, 4)},
    {"sizes": SMALL},
    {"sizes": SMALL, "batches": (1, 2)},
    {"sizes": SMALL, "io": "uint8"},
    {"sizes": SMALL[:1], "io": "fp16", "precision_mode": None},
    {"sizes": ((24, 32),)},  # too small for tiles
]


@pytest.mark.slow
@pytest.mark.parametrize("options", MAIN_CASES)
def test_every_kind_of_om_equals_its_onnx_at_every_gear(acl, tmp_path, options):
    report = verify_om(make_om(tmp_path / "m.om", **options))
    assert report.passed
    assert report.is_simulated
    report.require()
    gears = [case.shape for case in report.cases if case.what == "gear"]
    batches = options.get("batches", (1,))
    assert gears == [(n, 1, h, w) for n in batches for h, w in options["sizes"]]
    tiled = [case.shape for case in report.cases if case.what == "tiled image"]
    assert len(tiled) == (0 if options["sizes"] == ((24, 32),) else 2)
    exact = options.get("io", "fp32") == "fp32"
    assert all(case.max_abs_error < (1e-5 if exact else 5e-3) for case in report.cases)


def test_another_network_fails(acl, tmp_path):
    network = onnx.load(str(WEIGHTS / "gray-blind.onnx"))
    weights = onnx.numpy_helper.to_array(network.graph.initializer[0])
    network.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(weights * 1.5, network.graph.initializer[0].name)
    )
    other = tmp_path / "other.onnx"
    onnx.save(network, str(other))
    report = verify_om(make_om(tmp_path / "m.om", sizes=SMALL[:1]), other)
    assert not report.passed
    assert "not the file that the OM was made from" in report.notes[0]
    with pytest.raises(ParityError, match=r"3 of 3 comparisons failed; 1x1x\d+x\d+ differs by"):
        report.require()


def test_values_that_are_not_numbers_fail(acl, tmp_path):
    acl.state.arithmetic = "none"
    assert not verify_om(make_om(tmp_path / "m.om", sizes=SMALL[:1])).passed


def test_what_to_compare_with_must_be_known(acl, tmp_path, checkpoint):
    om = make_om(tmp_path / "m.om", sizes=SMALL[:1], beside=False)
    with pytest.raises(UsageError, match=r"m\.om\.json is not beside it.*--against FILE"):
        verify_om(om)
    assert verify_om(om, WEIGHTS / "gray-blind.onnx").passed
    with pytest.raises(UsageError, match="expected an ONNX file, got a PyTorch checkpoint"):
        verify_om(om, checkpoint)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        verify_om(om, tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="3 channels"):
        verify_om(om, WEIGHTS / "color-blind.onnx")


@pytest.fixture
def ascend(tmp_path):
    """A machine with CANN, a 310P3 and no torch."""
    program = install_atc(tmp_path / "cann")
    block = tmp_path / "block"
    block.mkdir()
    (block / "sitecustomize.py").write_text(
        "import sys\nfor name in ('torch', 'onnxsim', 'torch_npu'): sys.modules[name] = None\n"
    )
    return without_cann(
        PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH=f"{block}{os.pathsep}{FAKES}",
    )


def test_a_shipped_model_becomes_an_om_without_torch(cli, ascend, tmp_path):
    om = tmp_path / "gray-blind.om"
    made = cli("adnet-export", "om", "gray-blind", "-o", om, "--size", "64,80", "--soc", "auto",
               env=ascend)  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "building for Ascend310P3, this machine's chip" in made.stderr
    result = cli("adnet-export", "verify", om, env=ascend)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == [
        "SIMULATED: the tests' pyACL answered, not a device.", "passed",
    ]  # fmt: skip
    assert "1x1x64x80" in result.stdout
    strict = cli("adnet-export", "verify", om, "--tolerance", "1e-9", "--json", env=ascend)
    assert_clean_error(strict, 1, "does not compute what", "gray-blind.onnx")
    report = json.loads(strict.stdout)
    assert (report["passed"], report["is_simulated"]) == (False, True)
    assert report["facts"]["soc"] == "Ascend310P3"


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (["onnx", "x.pth", "-o", "x.onnx"], "torch and onnxsim are not installed", "export"),
        (["om", "x.pth", "-o", "x.om"], "torch and onnxsim are not installed", "export"),
        (["om", "gray-blind", "-o", "x.om"], "onnx is not installed", "convert"),
        (["inspect", WEIGHTS / "gray-blind.onnx"], "onnx is not installed", "convert"),
    ],
)
def test_what_is_missing_and_which_extra_brings_it(
    cli, ascend, tmp_path, checkpoint, arguments, missing, extra
):
    if missing.startswith("onnx"):
        with (tmp_path / "block" / "sitecustomize.py").open("a") as block:
            block.write("sys.modules['onnx'] = None\n")
    model = tmp_path / "x"  # a checkpoint by its content, whatever its name
    model.write_bytes(checkpoint.read_bytes())
    arguments = [model if one == "x.pth" else one for one in arguments]
    result = cli("adnet-export", *arguments, env=ascend)
    assert_clean_error(result, 2, missing, f"pip install '.[{extra}]'")


def test_the_extra_for_converting_has_no_torch():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    (convert,) = [line for line in lines if line.startswith("convert = ")]
    assert "torch" not in convert


def test_verifying_needs_neither_torch_nor_onnx():
    """The simulated pyACL needs onnx, a device does not: so it is only imported here."""
    code = (
        "import sys\nfor name in ('torch', 'onnx', 'onnxsim'): sys.modules[name] = None\n"
        "import adnet.export.ascend.verify_om\n"
        "import adnet.runtime.backends.om, adnet.runtime.backends.ort"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
