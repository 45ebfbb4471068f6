"""What lies in the wheel, and what the base install pulls in."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    target = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source") / "adnet"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(target), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    (path,) = target.glob("*.whl")
    return path


@pytest.mark.slow
def test_wheel_holds_one_package_and_little_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"adnet", f"{wheel.name.rpartition('-py3')[0]}.dist-info"}
    suffixes = {Path(name).suffix for name in names if name.startswith("adnet/")}
    assert suffixes == {".py", ".typed", ".onnx", ".json", ".html", ".css", ".js"}
    for name in ("adnet/export/web/site/worker.js", "adnet/pages/assets/compare.js"):
        assert name in names
    assert not [name for name in names if "ort-wasm" in name or name.endswith(".wasm")]
    for name in ("adnet/export/cli.py", "adnet/runtime/cli.py", "adnet/benchmarks/__init__.py"):
        assert name in names
    assert not [
        name
        for name in names
        if name.startswith(("adnet/benchmarks/release", "adnet/benchmarks/studies"))
    ]
    assert wheel.stat().st_size < 45e6


@pytest.mark.slow
def test_base_requirements_are_light(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
    lines = archive.read(metadata).decode().splitlines()
    requires = [line.split(": ")[1] for line in lines if line.startswith("Requires-Dist")]
    base = sorted(line.partition(">")[0] for line in requires if "extra ==" not in line)
    assert base == ["numpy", "onnxruntime", "pillow", "typer"]


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
