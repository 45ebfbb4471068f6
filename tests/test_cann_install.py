"""Converting where no driver is: CANN's devlib in front of the loader's path, and said."""

import os
import platform
import subprocess
from pathlib import Path

import pytest
from conftest import assert_clean_error
from om_helpers import DEVLIBS, install_atc

from adnet.export.atc_config import AtcConfig
from adnet.export.atc_run import find_atc
from adnet.export.cann_install import atc_environment
from adnet.export.kit import emit
from adnet.export.om import prepare_onnx

LAYOUTS = [*DEVLIBS]

pytestmark = pytest.mark.skipif(
    Path("/usr/local/Ascend").exists(), reason="a real CANN or driver is here, and would be found"
)


def without_cann(**changes):
    """This process's environment without anything of CANN's."""
    names = ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "LD_LIBRARY_PATH")
    return {key: value for key, value in os.environ.items() if key not in names} | changes


def on_path(program):
    return without_cann(PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def export(cli, tmp_path, env):
    return cli("adnet-export", "om", "gray-blind", "-o", tmp_path / "m.om", "--soc",
               "Ascend310P3", env=env)  # fmt: skip


@pytest.fixture
def kit(tmp_path):
    onnx, card, input_name = prepare_onnx("gray-blind", tmp_path)
    return emit(onnx, card, tmp_path / "kit", "m", AtcConfig("Ascend310P3", input_name=input_name))


def convert(kit, env):
    return subprocess.run(
        ["bash", str(kit / "convert.sh")], capture_output=True, text=True, check=False, env=env
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_devlib_is_put_in_front_and_said(cli, tmp_path, layout):
    program = install_atc(tmp_path / "cann", layout)
    result = export(cli, tmp_path, on_path(program))
    assert result.returncode == 0, result.stderr
    devlib = tmp_path / "cann" / DEVLIBS[layout].format(machine=platform.machine())
    said = "no Ascend driver here (libascend_hal.so is not found); atc gets CANN's stand-in for it"
    assert f"{said}, {devlib} in front of LD_LIBRARY_PATH" in result.stderr


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_emitted_script_does_the_same(kit, tmp_path, layout):
    program = install_atc(tmp_path / "cann", layout)
    result = convert(kit, on_path(program))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no Ascend driver here" in result.stderr
    assert DEVLIBS[layout].format(machine=platform.machine()) in result.stderr
    assert (kit / "m.om").exists()


def test_without_devlib_the_error_names_it(cli, kit, tmp_path):
    program = install_atc(tmp_path / "cann", None)
    result = export(cli, tmp_path, on_path(program))
    devlib = tmp_path / "cann" / f"{platform.machine()}-linux" / "devlib"
    assert_clean_error(result, 1, "libascend_hal.so", "devlib, was not found", str(devlib))
    result = convert(kit, on_path(program))
    assert result.returncode == 1
    assert "nor CANN's stand-in for it (devlib); looked in:" in result.stderr
    assert str(tmp_path / "cann" / "devlib") in result.stderr


def test_a_driver_on_the_path_is_left_alone(cli, kit, tmp_path):
    program = install_atc(tmp_path / "cann")
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "libascend_hal.so").touch()
    env = on_path(program) | {"LD_LIBRARY_PATH": f"{tmp_path}:{driver}"}
    for result in (export(cli, tmp_path, env), convert(kit, env)):
        assert result.returncode == 0, result.stderr
        assert "no Ascend driver" not in result.stderr


def test_what_the_user_has_on_the_path_stays(tmp_path, monkeypatch):
    program = install_atc(tmp_path / "cann")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine:/other")
    found = atc_environment(program)
    first, *others = found.variables["LD_LIBRARY_PATH"].split(":")
    assert first.endswith("-linux/devlib")
    assert others == ["/mine", "/other"]
    monkeypatch.setenv("LD_LIBRARY_PATH", first)
    assert not any("driver" in note for note in atc_environment(program).notes)


@pytest.mark.parametrize("place", ["cann", "ascend-toolkit/latest"])
def test_an_install_of_ones_own_is_found_and_its_environment_set(
    cli, kit, tmp_path, monkeypatch, place
):
    """Without root CANN lies below $HOME/Ascend; its set_env.sh is not sourced in a new shell."""
    install_atc(tmp_path / "Ascend" / place)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert find_atc() == tmp_path / "Ascend" / place / "bin" / "atc"
    monkeypatch.undo()
    env = without_cann(HOME=str(tmp_path))
    for result in (export(cli, tmp_path, env), convert(kit, env)):
        assert result.returncode == 0, result.stdout + result.stderr
        assert str(tmp_path / "Ascend" / place / "set_env.sh") in result.stderr


def test_the_stand_in_fails_like_the_loader(tmp_path):
    program = install_atc(tmp_path / "cann")
    result = subprocess.run(
        [program, "--help"], capture_output=True, text=True, check=False, env=without_cann()
    )
    assert result.returncode == 127
    assert result.stdout == ""
    assert "error while loading shared libraries: libascend_hal.so: cannot open" in result.stderr
