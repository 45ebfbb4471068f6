"""adnet-run --doctor: what it finds on machines of every kind, and its exit status."""

import json
import os
import platform
import sys
from pathlib import Path

import pytest
from om_helpers import FAKES

from adnet import npu_versions
from adnet.errors import UsageError
from adnet.runtime import doctor, host, inventory
from adnet.runtime.cli import main

MACHINE = platform.machine()
X86 = "model name\t: Some CPU\nflags\t\t: fpu sse2 avx2 avx512f avx512_vnni amx_tile avx512_bf16\n"
OLD = "model name\t: Some CPU\nflags\t\t: fpu sse2 avx2\n"
ARM = "Features\t: fp asimd asimddp i8mm bf16\n"


class Machine:
    """A machine's files below a folder."""

    def __init__(self, root):
        self.root = root
        self.ascend = root / "usr/local/Ascend"

    def write(self, path, text=""):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def cann(self, number="8.5.0", home="usr/local/Ascend/cann", devlib="devlib"):
        self.write(f"{home}/{MACHINE}-linux/ascend_toolkit_install.info", f"version={number}\n")
        self.write(f"{home}/set_env.sh")
        if devlib:
            self.write(f"{home}/{MACHINE}-linux/{devlib}/libascend_hal.so")
        return self.root / home

    def driver(self):
        self.write("usr/local/Ascend/driver/version.info", "Version=25.5.1\nInner=x\n")
        self.write("dev/davinci0")
        self.write("dev/davinci_manager")
        self.write("bin/npu-smi").chmod(0o755)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    there = Machine(tmp_path)
    for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH",
                 "ASCEND_RT_VISIBLE_DEVICES", "LD_LIBRARY_PATH"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(doctor, "ASCEND", there.ascend)
    monkeypatch.setattr(doctor, "DEVICES", tmp_path / "dev")
    monkeypatch.setattr(host, "PROC", tmp_path / "proc")
    there.write("proc/cpuinfo", X86)
    there.write("proc/meminfo", "MemTotal: 33554432 kB\nMemAvailable: 25165824 kB\n")
    packages = {"numpy": "1.26.4", "torch": "2.9.0+cpu", "torch-npu": None}
    for module in (npu_versions, doctor):
        monkeypatch.setattr(module, "installed", packages.get)
    there.packages = packages
    return there


def look(topic, backend=None):
    return next(one for one in doctor.examine(backend) if one.topic == topic)


def activate(monkeypatch, home):
    monkeypatch.setenv("ASCEND_HOME_PATH", str(home))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{home}/lib64")


def test_a_machine_without_ascend_has_nothing_to_mend(machine):
    findings = doctor.examine()
    assert [one.topic for one in findings] == [
        "Python", "NumPy", "CPU", "memory", "ONNX Runtime", "torch", "Ascend driver", "CANN",
        "CANN environment", "CANN devlib", "pyACL",
    ]  # fmt: skip
    assert doctor.works(findings)
    assert all("not" in one.found for one in findings if one.state == "note")


def test_a_machine_where_all_is_well(machine, monkeypatch, acl):
    machine.driver()
    activate(monkeypatch, machine.cann())
    machine.packages["torch-npu"] = "2.9.0"
    findings = doctor.examine("om")
    assert {one.topic: one.state for one in findings if one.state != "ok"} == {}
    told = {one.topic: one.found for one in findings}
    assert "25.5.1, devices davinci0" in told["Ascend driver"]
    assert told["CANN"].startswith("8.5.0 at ")
    assert told["chips"] == "1 of Ascend310P3"
    assert told["backend om"] == "can run on npu:0"
    assert acl.state.leftovers() == []


@pytest.mark.parametrize(
    ("cpuinfo", "there", "lacking"),
    [(X86, "AVX2, AVX-512, VNNI, BF16, AMX", None), (OLD, "AVX2", "AVX-512, VNNI, BF16, AMX"),
     (ARM, "BF16, NEON, DOTPROD, I8MM", "SVE"), ("", "features unknown", None)],
)  # fmt: skip
def test_what_the_processor_can_do(machine, cpuinfo, there, lacking):
    machine.write("proc/cpuinfo", cpuinfo)
    one = look("CPU")
    assert there in one.found
    assert ("without" in one.found) == (lacking is not None)
    assert lacking is None or f"without {lacking}" in one.found
    assert (one.state == "note") == (cpuinfo == OLD)


def test_little_memory_is_noted(machine):
    assert look("memory").found == "32.0 GiB, 24.0 free"
    machine.write("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 1048576 kB\n")
    assert "TE_PARALLEL_COMPILER=1" in look("memory").remedy
    (machine.root / "proc/meminfo").unlink()
    assert look("memory").found == "unknown"


@pytest.mark.parametrize(
    ("cann", "numpy", "python", "topic", "part"),
    [
        ("8.1.RC1", "1.26.4", (3, 11), "Python", "3.10 or older"),
        ("8.1.RC1", "1.26.4", (3, 10), "Python", None),
        ("8.5.0", "1.26.4", (3, 13), "Python", None),
        ("8.2.RC1", "2.1.0", (3, 11), "NumPy", "for ATC and for torch_npu"),
        ("8.5.0", "2.1.0", (3, 11), "NumPy", "for ATC"),
        ("8.5.0", "1.26.4", (3, 11), "NumPy", None),
        (None, "2.1.0", (3, 13), "NumPy", None),
    ],
)
def test_python_and_numpy_are_held_against_the_cann_that_is_there(
    machine, monkeypatch, cann, numpy, python, topic, part
):
    if cann is not None:
        activate(monkeypatch, machine.cann(cann))
    machine.packages["numpy"] = numpy
    monkeypatch.setattr(sys, "version_info", (*python, 0))
    one = look(topic)
    assert (one.state == "note") == (part is not None)
    assert part is None or part in one.expected


def test_the_driver(machine, monkeypatch):
    assert "pass the devices in" in look("Ascend driver").remedy
    machine.driver()
    assert look("Ascend driver").state == "ok"
    (machine.root / "bin/npu-smi").unlink()
    assert look("Ascend driver").expected == "npu-smi on PATH"
    monkeypatch.setattr(host, "may_use", lambda path: path.name != "davinci0")
    assert "HwHiAiUser" in look("Ascend driver").remedy
    (machine.root / "dev/davinci0").unlink()
    assert "25.5.1, no /dev/davinci*" in look("Ascend driver").found


@pytest.mark.parametrize("home", ["home/Ascend/cann", "home/Ascend/ascend-toolkit/latest"])
def test_cann_below_the_home_folder_is_found_and_its_script_named(machine, home):
    machine.cann("8.3.RC1", home)
    assert look("CANN").found == f"8.3.RC1 at {machine.root / home}"
    one = look("CANN environment")
    assert (one.state, one.found) == ("note", "not set")
    assert one.remedy == f"run 'source {machine.root / home}/set_env.sh'"


def test_the_environment(machine, monkeypatch):
    home = machine.cann(home="home/Ascend/cann")
    monkeypatch.setenv("ASCEND_HOME_PATH", str(home))
    assert "LD_LIBRARY_PATH" in look("CANN environment").expected
    activate(monkeypatch, home)
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "1")
    one = look("CANN environment")
    assert one.state == "ok"
    assert "ASCEND_RT_VISIBLE_DEVICES=1" in one.found
    machine.cann("9.1.0", "home/Ascend/ascend-toolkit/latest")
    assert look("CANN").expected == "one version"
    monkeypatch.setenv("ASCEND_OPP_PATH", str(machine.root / "gone"))
    assert look("CANN environment").expected == "ASCEND_OPP_PATH is a folder"


@pytest.mark.parametrize("devlib", ["devlib", f"devlib/linux/{MACHINE}", None])
def test_devlib_in_both_layouts(machine, monkeypatch, devlib):
    activate(monkeypatch, machine.cann(devlib=devlib))
    one = look("CANN devlib")
    assert one.state == ("ok" if devlib else "note")
    assert devlib is None or one.found.endswith(devlib)


@pytest.mark.parametrize(
    ("torch", "torch_npu", "cann", "parts"),
    [
        ("2.9.0+cpu", "2.9.0", "8.5.0", None),
        ("2.13.0", "2.9.0", "8.5.0", ["needs torch 2.9.0", "torch-npu==2.9.0"]),
        ("2.12.0", "2.12.0", "8.5.0", ["needs CANN 9.1", "torch-npu==2.9.0"]),
        (None, None, None, ["only for training", "pip install '.[train,export]'"]),
    ],
)
def test_the_pair(machine, monkeypatch, torch, torch_npu, cann, parts):
    machine.packages |= {"torch": torch, "torch-npu": torch_npu}
    if cann:
        activate(monkeypatch, machine.cann(cann))
    one = look("torch")
    assert (one.state == "ok") == (parts is None)
    for part in parts or []:
        assert part in one.expected + one.remedy


@pytest.mark.parametrize("devices", [0, 2])
def test_chips_and_what_is_asked_for(machine, acl, devices):
    acl.state.device_count = devices
    findings = doctor.examine("om")
    assert doctor.works(findings) == (devices > 0)
    assert look("chips").state == ("ok" if devices else "note")
    assert doctor.works(doctor.examine("onnx"))
    assert doctor.works(doctor.examine())


def test_what_cannot_run_gives_status_1(cli_here, monkeypatch):
    monkeypatch.setitem(sys.modules, "acl", None)
    for backend, status in [("om", 1), ("onnx", 0), (None, 0), ("quantum", 2)]:
        asked = [] if backend is None else ["--backend", backend]
        result = cli_here(main, "adnet-run", "--doctor", "--json", *asked)
        assert result.returncode == status, result.stderr
        if status == 2:
            assert "unknown backend 'quantum'" in result.stderr
            continue
        report = json.loads(result.stdout)
        assert report["works"] == (status == 0)
        assert {"topic", "state", "found", "expected", "remedy"} == set(report["findings"][0])
    text = cli_here(main, "adnet-run", "--doctor", "--backend", "om")
    assert text.returncode == 1
    last = text.stdout.splitlines()[-2]
    assert last.startswith("backend om       no   cannot run; to do: ")
    assert "set_env.sh" in last
    assert "bug report" in text.stdout.splitlines()[-1]
    with pytest.raises(UsageError):
        doctor.examine("quantum")


def test_it_loads_no_torch(cli, tmp_path):
    for name in ("torch", "torch_npu"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported')\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{FAKES}"}
    result = cli("adnet-run", "--doctor", "--backend", "om", env=environment)
    assert result.returncode == 0, result.stderr
    assert "chips            ok   1 of Ascend310P3" in result.stdout


def test_a_row_for_every_backend():
    assert inventory.list_backends()
    for name in ("onnx", "torch", "npu", "om"):
        assert inventory.rows_of(name)
