"""torch, torch-npu and CANN: what goes together, and what every program says when it does not."""

import json
import os
import re
from pathlib import Path

import pytest
from conftest import EXAMPLES, ROOT, assert_clean_error

from adnet import cann, npu_versions
from adnet.models.shipped import WEIGHTS
from adnet.npu_versions import PAIRS, explain_import_error, misfit, remedy

NO_CANN = "libhccl.so: cannot open shared object file: No such file or directory"
SYMBOL = "/site-packages/torch_npu/lib/libtorch_npu.so: undefined symbol: _ZN3c104impl13DeviceGuard"


@pytest.fixture
def machine(monkeypatch):
    """Say what is installed: machine(torch=..., torch_npu=..., cann=...)."""

    def be(torch=None, torch_npu=None, cann=None):
        there = {"torch": torch, "torch-npu": torch_npu}
        monkeypatch.setattr(npu_versions, "installed", there.get)
        monkeypatch.setattr(npu_versions, "cann_version", lambda: cann)

    be()
    return be


def install_torch_npu(folder, error, number="2.9.0"):
    """A torch-npu that torch loads by itself, and that fails as the real one does."""
    (folder / "torch_npu").mkdir(parents=True)
    (folder / "torch_npu" / "__init__.py").write_text(f"raise ImportError({error!r})\n")
    facts = folder / f"torch_npu-{number}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch-npu\nVersion: {number}\n")
    (facts / "entry_points.txt").write_text("[torch.backends]\ntorch_npu = torch_npu:_autoload\n")
    return os.environ | {"PYTHONPATH": str(folder)}


def install_cann(folder, number):
    (folder / "x86_64-linux").mkdir(parents=True)
    (folder / "x86_64-linux" / "ascend_toolkit_install.info").write_text(
        f"package_name=Ascend-cann-toolkit\nversion={number}\ninnerversion=V100R001C11B063\n"
    )
    return folder


# --- the table


def test_the_extras_and_the_docs_name_pairs_of_the_table():
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    known = {(pair.torch_npu, pair.torch, pair.cann) for pair in PAIRS}
    found = {name: dict(one.split("==") for one in needs)
             for name, needs in extras.items() if name.startswith("npu")}  # fmt: skip
    assert {"npu", "npu-cann85", "npu-cann90", "npu-cann91"} == set(found)
    for name, needs in found.items():
        digits = name.removeprefix("npu").removeprefix("-cann") or PAIRS[0].cann.replace(".", "")
        cann_ = f"{digits[0]}.{digits[1]}"
        assert (needs["torch-npu"], needs["torch"], cann_) in known
    page = (ROOT / "docs" / "ascend.md").read_text()
    rows = re.findall(r"^\| CANN ([\d.]+) \| ([\w.]+) \| ([\w.]+) \|", page, re.MULTILINE)
    assert {(torch_npu, torch, cann_) for cann_, torch_npu, torch in rows} == known
    assert npu_versions.CPU_INDEX in page


def test_torch_of_every_pair_is_one_that_adnet_takes():
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    wanted = [Requirement(one) for one in requires("adnet") if one.startswith("torch<")]
    wanted += [Requirement(one) for one in requires("adnet") if one.startswith("torch>")]
    assert wanted
    for pair in PAIRS:
        assert all(one.specifier.contains(pair.torch) for one in wanted)
        assert pair.torch_npu.startswith(pair.torch)


@pytest.mark.parametrize(
    ("cann", "torch", "expected"),
    [
        (None, None, "torch==2.12.0 .*torch-npu==2.12.0"),
        ("9.1.0", "2.13.0+cpu", "CANN 9.1: .*torch-npu==2.12.0"),
        ("9.1.0", "2.9.0+cpu", "CANN 9.1: .*torch-npu==2.9.0.post6"),
        ("9.0.0", None, "CANN 9.0: .*torch==2.9.0 .*torch-npu==2.9.0.post2"),
        ("8.5.0", "2.13.0", "CANN 8.5: .*torch==2.9.0 .*torch-npu==2.9.0[.]"),
        ("8.3.RC1", "2.8.0", "CANN 8.3.RC1 goes with versions .*CANN 8.5 or newer.*adnet-export"),
        ("10.0.0", None, "newer than adnet's table"),
    ],
)
def test_the_remedy_is_a_pair_that_exists(machine, cann, torch, expected):
    machine(torch=torch, cann=cann)
    text = remedy()
    assert re.search(expected, text)
    for number in re.findall(r"torch-npu==([\w.]*\w)", text):
        assert number in {pair.torch_npu for pair in PAIRS}
    if "torch==" in text:
        assert f"--index-url {npu_versions.CPU_INDEX}" in text  # PyPI has no +cpu build


@pytest.mark.parametrize(
    ("torch", "torch_npu", "cann", "expected"),
    [
        ("2.9.0+cpu", "2.9.0", "8.5.0", None),
        ("2.9.0+cpu", "2.9.0.post6", "9.1.0", None),
        ("2.13.0+cpu", "2.9.0", "8.5.0", "needs torch 2.9.0, found 2.13.0"),
        ("2.9.1", "2.9.0.post2", "9.0.0", "needs torch 2.9.0, found 2.9.1"),
        ("2.12.0+cpu", "2.12.0", "8.5.0", "needs CANN 9.1, found 8.5.0"),
        ("2.9.0+cpu", "2.9.0", "9.1.0", "needs CANN 8.5, found 9.1.0"),
        ("2.13.0", None, "8.5.0", None),
        ("2.14.0", "2.14.0", "9.2.0", None),  # newer than the table: not judged
    ],
)
def test_what_does_not_go_together(machine, torch, torch_npu, cann, expected):
    machine(torch, torch_npu, cann)
    found = misfit()
    assert found is None if expected is None else expected in found


@pytest.mark.parametrize(
    ("number", "file"), [("8.5.0", None), ("8.3.RC1", None), ("7.0.RC1", "version.cfg")]
)
def test_the_version_of_cann_is_read_from_its_folder(tmp_path, monkeypatch, number, file):
    home = tmp_path / "Ascend" / "cann"
    if file is None:
        install_cann(home, number)
    else:
        home.mkdir(parents=True)
        (home / file).write_text(f"toolkit_running_version=[7.0.0.5.242:CANN-{number}]\n")
    for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert home in cann.cann_homes()
    monkeypatch.setenv("ASCEND_HOME_PATH", str(home))
    assert cann.cann_version() == number
    assert cann.cann_version(tmp_path) is None


# --- failures


def torch_s_error(text):
    error = RuntimeError(
        "Failed to load the backend extension: torch_npu. You can disable extension auto-loading "
        "with TORCH_DEVICE_BACKEND_AUTOLOAD=0."
    )
    error.__cause__ = ImportError(text)
    return error


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (torch_s_error(NO_CANN), ["libhccl.so is not found", "set_env.sh", "AUTOLOAD=0"]),
        (ImportError("libascendcl.so: cannot open shared object file"), ["libascendcl.so is not"]),
        (OSError("libascend_hal.so: cannot open shared object file"), ["set_env.sh"]),
        (torch_s_error(SYMBOL), ["undefined symbol _ZN3c10", "torch 2.13.0+cpu, torch-npu 2.9.0",
                                 "CANN 8.5.0", "needs torch 2.9.0", "pip install torch==2.9.0"]),
        (ImportError(SYMBOL), ["does not go with", "CANN 8.5"]),
        (torch_s_error("Two accelerators cannot be used at the same time in PyTorch: npu and cuda"),
         ["CPU build of torch", npu_versions.CPU_INDEX]),
    ],
)  # fmt: skip
def test_what_torch_npu_s_failures_mean(machine, error, parts):
    machine("2.13.0+cpu", "2.9.0", "8.5.0")
    text = explain_import_error(error)
    for part in parts:
        assert part in text
    assert ("set_env.sh" in text) != ("undefined symbol" in str(error.__cause__ or error)
                                      or "Two acc" in str(error.__cause__))  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        ValueError("torch_npu"),
        RuntimeError("function '_has_torch_function' already has a docstring"),
        RuntimeError("shapes do not match in torch_npu/optim.py"),
        ImportError("libcudart.so.12: cannot open shared object file"),
        FileNotFoundError(2, "No such file or directory", "torch_npu.png"),
        KeyError("x"),
    ],
)
def test_other_errors_are_not_blamed_on_cann(machine, error):
    machine("2.9.0", "2.9.0", "8.5.0")
    assert explain_import_error(error) is None


PROGRAMS = {
    "adnet-run": ["{image}", "-o", "out.png", "--backend", "torch"],
    "adnet-export": ["onnx", "{checkpoint}", "-o", "out.onnx"],
    "adnet-train": ["{folder}", "-o", "run", "--steps", "1", "--sigma", "25"],
    "adnet-bench": ["--backend", "torch", "--rounds", "1"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "error"), [*((one, NO_CANN) for one in PROGRAMS), ("adnet-train", SYMBOL)]
)
def test_every_program_says_what_is_wrong_with_torch_npu(cli, tmp_path, checkpoint, program, error):
    places = {"image": EXAMPLES / "noisy" / "shapes.png", "checkpoint": checkpoint,
              "folder": EXAMPLES / "clean"}  # fmt: skip
    arguments = [one.format(**places) for one in PROGRAMS[program]]
    environment = install_torch_npu(tmp_path / "installed", error)
    result = cli(program, *arguments, env=environment, cwd=tmp_path)
    part = "set_env.sh" if error == NO_CANN else "does not go with the other versions"
    assert_clean_error(result, 2, part, "TORCH_DEVICE_BACKEND_AUTOLOAD=0")
    assert "bug" not in result.stderr


def test_what_uses_no_torch_goes_on_beside_a_broken_torch_npu(cli, tmp_path):
    environment = install_torch_npu(tmp_path / "installed", NO_CANN)
    image = EXAMPLES / "noisy" / "shapes.png"
    for program, arguments in (
        ("adnet-run", [image, "-o", tmp_path / "out.png"]),
        ("adnet-data", ["list"]),
        ("adnet-export", ["inspect", WEIGHTS / "gray-blind.onnx"]),
    ):
        result = cli(program, *arguments, env=environment)
        assert result.returncode == 0, result.stderr
        assert "torch_npu" not in result.stderr


@pytest.mark.slow
@pytest.mark.torch
def test_the_list_of_backends_stays_readable_beside_a_broken_torch_npu(cli, tmp_path):
    environment = install_torch_npu(tmp_path / "installed", NO_CANN)
    result = cli("adnet-run", "--list-backends", "--json", env=environment)
    assert result.returncode == 0, result.stderr
    rows = {row["backend"]: row for row in json.loads(result.stdout)}
    for name in ("torch", "npu"):
        assert not rows[name]["available"]
        assert "set_env.sh" in rows[name]["note"]
        assert "docstring" not in rows[name]["note"]
    assert next(row for row in json.loads(result.stdout) if row["where"] == "cpu")["available"]
