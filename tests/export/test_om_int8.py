"""int8 for Ascend: a folder that has AMCT rewrite the model before ATC. All of it simulated."""

import os
import subprocess
import sys

import onnx
import pytest
from conftest import assert_clean_error
from om_helpers import FAKES, install_atc
from test_cann_install import without_cann

from adnet.export import calibration
from adnet.export.ascend.atc_config import AtcConfig
from adnet.export.ascend.kit import emit
from adnet.export.ascend.verify_om import verify_om
from adnet.export.cli import main
from adnet.export.to_om import prepare_onnx
from adnet.models.shipped import WEIGHTS


@pytest.fixture
def few(monkeypatch):
    """Calibrate with so little that it takes no time."""
    monkeypatch.setattr(calibration, "COUNT", 5)
    monkeypatch.setattr(calibration, "_SIDE", 48)


@pytest.fixture
def ascend(tmp_path):
    """A machine with CANN and AMCT in its python3."""
    program = install_atc(tmp_path / "cann")
    (program.parent / "python3").symlink_to(sys.executable)
    return without_cann(
        PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH=os.pathsep.join([str(FAKES), *filter(None, sys.path)]),
    )


def convert(kit, env):
    return subprocess.run(
        ["bash", str(kit / "convert.sh")], capture_output=True, text=True, check=False, env=env
    )


@pytest.mark.slow
def test_the_folder_runs_amct_and_then_atc(acl, few, ascend, cli_here, tmp_path):
    kit = tmp_path / "kit"
    made = cli_here(main, "adnet-export", "om", "gray-blind", "-o", tmp_path / "m.om", "--soc",
                    "Ascend310P3", "--size", "64,80", "--precision", "int8", "--emit",
                    kit)  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "int8 was never tried with AMCT or on a chip" in made.stderr
    assert "**Never tried with AMCT or on a chip.**" in (kit / "README.md").read_text()
    result = convert(kit, ascend)
    assert result.returncode == 0, result.stdout + result.stderr
    report = verify_om(kit / "m.om", WEIGHTS / "gray-blind.onnx")
    assert report.tolerance == 0.3  # of int8, told by the sidecar
    # Quantised indeed, and still the same network; the range is that of five small images.
    assert 1e-3 < max(case.max_abs_error for case in report.cases) < 0.3
    assert all(case.delta_psnr > -1 for case in report.cases)


def test_without_amct_the_script_says_what_is_missing(few, ascend, tmp_path):
    path, card, name = prepare_onnx("gray-blind", tmp_path, int8=True)
    config = AtcConfig("Ascend310P3", input_name=name)
    kit = emit(path, card, tmp_path / "kit", "m", config, int8=True)
    result = convert(kit, ascend | {"PYTHONPATH": ""})
    assert result.returncode != 0
    assert "AMCT for ONNX cannot be imported" in result.stderr
    assert not (kit / "m.om").exists()


def test_the_simulated_atc_refuses_what_amct_has_not_seen(few, ascend, tmp_path):
    """So does the stand-in for AMCT refuse models that are not in pairs."""
    path, card, name = prepare_onnx("gray-blind", tmp_path, int8=True)
    kit = emit(path, card, tmp_path / "kit", "m", AtcConfig("Ascend310P3", input_name=name))
    result = convert(kit, ascend)
    assert result.returncode == 1
    assert "E16002" in (kit / "m.om.log").read_text()
    model = onnx.load(str(path))
    pair = next(node for node in model.graph.node if node.op_type == "DequantizeLinear")
    model.graph.node.remove(pair)
    onnx.save(model, str(path))
    sys.path.insert(0, str(FAKES))
    try:
        import amct_onnx
    finally:
        sys.path.remove(str(FAKES))
    with pytest.raises(ValueError, match="no DequantizeLinear behind it|not enough values"):
        amct_onnx.convert_qat_model(str(path), str(tmp_path / "x"))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "needs --emit DIR"),
        (["--emit", "kit", "--precision-mode", "origin"], "leave --precision-mode"),
        (["--emit", "kit", "--batch", "1,2"], "one batch and one --size only"),
        (["--emit", "kit", "--size", "48,56", "--size", "56,48"], "one batch and one --size only"),
    ],
)
def test_what_int8_does_not_go_with(few, cli_here, tmp_path, options, part):
    result = cli_here(main, "adnet-export", "om", "gray-blind", "-o", "m.om", "--soc",
                      "Ascend310P3", "--precision", "int8", *options, cwd=tmp_path)  # fmt: skip
    assert_clean_error(result, 2, part)
    assert not (tmp_path / "kit").exists()
