"""What lies in the wheel and in the source archive, and what the base install pulls in."""

import subprocess
import sys
import tarfile
import zipfile

import pytest
import tomllib
from conftest import ROOT, tracked

from adnet import __version__
from adnet.__main__ import PROGRAMS

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_SHIPPED = ("benchmarks/release/", "benchmarks/studies/")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The wheel, made from the source archive, and that."""
    target = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("source") / "adnet"
    tracked()  # skips outside of a checkout
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(target), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return wheel, sdist


def imported_as(name):
    """Where a file of the checkout lies in the wheel."""
    return name if name.startswith("adnet/") else f"adnet/{name}"


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(archives):
    wheel, _ = archives
    assert wheel.name == f"adnet-{__version__}-py3-none-any.whl"
    names = {one for one in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in one}
    expected = {
        imported_as(name)
        for name in tracked("adnet", "export", "runtime", "benchmarks")
        if not name.startswith(NOT_SHIPPED)
    }
    assert names == expected
    assert wheel.stat().st_size < 45e6


@pytest.mark.slow
def test_the_source_archive_is_the_checkout(archives):
    _, sdist = archives
    with tarfile.open(sdist) as archive:
        names = {one.name.partition("/")[2] for one in archive.getmembers() if one.isfile()}
    made = {one for one in names if one in ("PKG-INFO", "setup.cfg") or ".egg-info/" in one}
    assert names - made == set(tracked())


@pytest.mark.slow
def test_base_requirements_are_light(archives):
    archive = zipfile.ZipFile(archives[0])
    (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
    lines = archive.read(metadata).decode().splitlines()
    requires = [line.split(": ")[1] for line in lines if line.startswith("Requires-Dist")]
    base = sorted(line.partition(">")[0] for line in requires if "extra ==" not in line)
    assert base == ["numpy", "onnxruntime", "pillow", "typer"]


def test_one_version_everywhere():
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_python_m_adnet_names_every_program():
    assert {name: f"{module}:main" for name, (module, _) in PROGRAMS.items()} == (
        DECLARED["project"]["scripts"]
    )
    run = subprocess.run(
        [sys.executable, "-m", "adnet"], capture_output=True, text=True, check=True
    )
    for name in PROGRAMS:
        assert name in run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_options(name, shell):
    module = PROGRAMS[name][0]
    words = f"{name} --vers" if module.endswith(("runtime.cli", "training.cli")) else f"{name} --he"
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    code = f"import sys; sys.argv = [{name!r}]; from {module} import app; app(prog_name={name!r})"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={"PATH": "", variable: f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": "1",
             "_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    )  # fmt: skip
    assert words.split()[1] in run.stdout, run.stderr


def test_no_source_file_is_too_long():
    for folder in ("adnet", "export", "runtime", "benchmarks", "tests", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_imports_point_one_way():
    allowed = {
        "adnet": (),
        "export": ("adnet.export", "adnet.runtime"),  # int8 and OM are measured through the runtime
        "runtime": ("adnet.runtime",),
        "benchmarks": ("adnet.benchmarks", "adnet.export", "adnet.runtime"),
    }
    packages = ("adnet.export", "adnet.runtime", "adnet.benchmarks")
    for folder, own in allowed.items():
        for path in (ROOT / folder).rglob("*.py"):
            if path == ROOT / "adnet" / "__init__.py":
                continue  # names the runtime, imports it only when asked for
            for line in path.read_text(encoding="utf-8").splitlines():
                words = line.split()
                if words[:1] in (["from"], ["import"]) and words[1].startswith(packages):
                    assert words[1].startswith(own), f"{path}: {line}"
                    assert not words[1].endswith("cli"), f"{path}: {line}"


@pytest.mark.parametrize("words", [["run"], ["--verson"], ["adnet-run", "in", "-o", "out"]])
def test_the_list_of_programs_takes_no_arguments(words):
    command = [sys.executable, "-m", "adnet"]
    result = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert "only lists the programs" in result.stderr
    for asked, part in ((["--version"], f"adnet {__version__}"), (["--help"], "adnet-run ")):
        result = subprocess.run([*command, *asked], capture_output=True, text=True, check=False)
        assert result.returncode == 0
        assert part in result.stdout
