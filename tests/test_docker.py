"""The container recipes: clean by hadolint and shellcheck, the entry script as it is run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from om_helpers import install_atc
from test_cann_install import without_cann

from adnet.export.atc_config import AtcConfig
from adnet.export.kit import emit
from adnet.export.om import prepare_onnx

DOCKER = ROOT / "docker"


@pytest.fixture
def checker():
    """Run a linter that the dev extra brings: checker(name, files ...)."""

    def run(name, *files):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        program = shutil.which(name, path=path)
        if program is None:
            pytest.skip(f"{name} is not installed (the dev extra has it on x86_64)")
        result = subprocess.run([program, *files], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout

    return run


@pytest.mark.parametrize("recipe", ["convert.Dockerfile", "run.Dockerfile"])
def test_recipes_are_clean(checker, recipe):
    checker("hadolint", DOCKER / recipe)


def test_scripts_are_clean(checker, tmp_path):
    path, card, name = prepare_onnx("gray-blind", tmp_path)
    kit = emit(path, card, tmp_path / "kit", "m", AtcConfig("Ascend310P3", input_name=name))
    int8 = emit(
        path, card, tmp_path / "int8", "m", AtcConfig("Ascend310P3", input_name=name), int8=True
    )
    checker("shellcheck", DOCKER / "entry.sh", kit / "convert.sh", int8 / "convert.sh")


def entry(env, *command):
    return subprocess.run(
        ["bash", str(DOCKER / "entry.sh"), *command],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_mounted_driver_comes_before_its_stand_in(tmp_path):
    cann = tmp_path / "cann"
    install_atc(cann)
    driver = tmp_path / "driver"
    for name in ("driver", "common"):
        (driver / "lib64" / name).mkdir(parents=True)
    env = without_cann(ASCEND_TOOLKIT_HOME=str(cann), LD_LIBRARY_PATH=f"{cann}/devlib")
    result = entry(env | {"ADNET_DRIVER": str(driver)}, "env")
    facts = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
    assert facts["LD_LIBRARY_PATH"].split(":") == [
        f"{driver}/lib64/driver", f"{driver}/lib64/common", f"{driver}/lib64", f"{cann}/devlib",
    ]  # fmt: skip
    assert facts["ASCEND_OPP_PATH"] == f"{cann}/opp"
    assert result.stderr == ""


def test_without_a_driver_only_converting_is_silent(tmp_path):
    env = without_cann(ADNET_DRIVER=str(tmp_path / "none"), PATH=f"{tmp_path}:{os.environ['PATH']}")
    for name in ("adnet-run", "adnet-export"):
        (tmp_path / name).write_text('#!/bin/sh\necho "$0 $*"\nexit 7\n')
        (tmp_path / name).chmod(0o755)
    ran = entry(env, "adnet-run", "a b", "--json")
    assert ran.returncode == 7
    assert ran.stdout == f"{tmp_path}/adnet-run a b --json\n"
    assert "pass the devices in" in ran.stderr
    assert entry(env, "adnet-export", "om").stderr == ""
