"""A checkout where nothing is installed, and what each module needs beside the base install."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import tomllib
from conftest import EXAMPLES, ROOT

from adnet._cli import _EXTRAS

PROGRAMS = ("training", "data", "export", "runtime", "runtime.serve", "benchmarks")
FOLDERS = ("adnet", "export", "runtime", "benchmarks")

_BLOCKED = "import sys\nfor name in {names!r}: sys.modules[name] = None\n"
_RUN = "import runpy, sys\nrunpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)\n"
_WALK = """
import json, pkgutil, sys
from importlib import import_module
import adnet
found = {}
for module in pkgutil.walk_packages(adnet.__path__, "adnet."):
    assert module.name not in found, module.name
    try:
        found[module.name] = [import_module(module.name).__file__, None]
    except ModuleNotFoundError as err:
        found[module.name] = [None, err.name]
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy, so that an import that ends up at an installed adnet is seen by its path."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def python(checkout, *arguments, interpreter=sys.executable):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(interpreter), *map(str, arguments)],
        cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip


def modules_of(checkout):
    """Name every module by its file."""
    names = set()
    for folder in FOLDERS:
        for path in (checkout / folder).rglob("*.py"):
            parts = path.relative_to(checkout).with_suffix("").parts
            parts = parts if folder == "adnet" else ("adnet", *parts)
            names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names - {"adnet"}


def require_walk(checkout, result):
    """Every module was found once, in the checkout, and imports or lacks what an extra brings."""
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found) == modules_of(checkout)
    for name, (file, missing) in found.items():
        assert file is None or Path(file).is_relative_to(checkout), name
        assert missing is None or missing.partition(".")[0] in _EXTRAS, f"{name}: {missing}"
    return found


def test_every_module_is_found_once_and_imports_or_names_its_extra(checkout):
    script = _BLOCKED.format(names=tuple(_EXTRAS)) + _WALK
    found = require_walk(checkout, python(checkout, "-W", "error", "-c", script))
    # What denoises, reads images and shows help needs none of them.
    for name, (_, missing) in found.items():
        parts = name.split(".")
        if "images" in parts or parts[-1] == "cli" or name.startswith("adnet.runtime"):
            backends = [f"adnet.runtime.backends.{one}" for one in ("pytorch", "ov", "mnn")]
            rooms = ("serve", "web", "cluster", "gigapixel")
            in_room = len(parts) > 3 and parts[2] in rooms and parts[-1] != "cli"
            assert missing is None or name in backends or in_room, name


def test_every_extra_that_a_message_names_brings_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for package, extra in _EXTRAS.items():
        name = "MNN" if package == "_tools" else package
        listed = project["optional-dependencies"][extra]
        assert any(re.match(rf"{name}\b", one) for one in listed), package


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_run_as_modules_without_what_the_extras_bring(checkout, program):
    """Uninstalled and without torch; and without a warning of runpy's."""
    module = f"adnet.{program}.cli"
    result = python(checkout, "-W", "error", "-m", module, "--help")
    assert result.returncode == 0, result.stderr
    assert "Usage: python -m adnet" in result.stdout
    bare = _BLOCKED.format(names=tuple(_EXTRAS)) + _RUN
    result = python(checkout, "-W", "error", "-c", bare, module, "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("adnet ")


def test_an_uninstalled_checkout_lists_its_models_and_denoises(checkout, tmp_path):
    bare = _BLOCKED.format(names=tuple(_EXTRAS)) + _RUN
    result = python(checkout, "-c", bare, "adnet.runtime.cli", "--list-models", "--json")
    rows = json.loads(result.stdout)
    assert {row["name"] for row in rows} >= {"gray-25", "gray-blind"}
    assert all(Path(row["path"]).is_relative_to(checkout) for row in rows)
    source = EXAMPLES / "noisy" / "shapes.png"
    result = python(
        checkout, "-c", bare, "adnet.runtime.cli", source, "-o", tmp_path / "out", "--quiet"
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "shapes.png").is_file()


def test_a_denoise_loads_no_torch(checkout, tmp_path):
    """Where torch is installed, too, it stays out: it would take seconds and 300 MB."""
    script = (
        "import sys\nfrom adnet.runtime.cli import app\n"
        "app(standalone_mode=False)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    source = EXAMPLES / "noisy" / "shapes.png"
    result = python(checkout, "-c", script, source, "-o", tmp_path / "out", "--quiet")
    assert result.returncode == 0, result.stderr
    loaded = set(re.findall(r"'(\w+)'", result.stdout.splitlines()[-1]))
    assert "onnxruntime" in loaded
    assert not loaded & set(_EXTRAS)


@pytest.mark.slow
def test_a_bare_environment(checkout, tmp_path):
    """The base requirements alone: the same as above, with nothing pretended."""
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^dependencies = \[(.*?)\]", declared, re.MULTILINE | re.DOTALL)
    venv.create(tmp_path / "bare", with_pip=True)
    interpreter = tmp_path / "bare" / "bin" / "python"
    subprocess.run(
        [interpreter, "-m", "pip", "install", "-q", *re.findall(r'"(.*?)"', listed)],
        check=True, capture_output=True,
    )  # fmt: skip
    found = require_walk(checkout, python(checkout, "-c", _WALK, interpreter=interpreter))
    assert {missing for _, missing in found.values()} >= {"torch", "onnx", "h5py"}
    for program in PROGRAMS:
        result = python(checkout, "-m", f"adnet.{program}.cli", "--help", interpreter=interpreter)
        assert result.returncode == 0, result.stderr
    result = python(
        checkout, "-m", "adnet.runtime.cli", EXAMPLES / "noisy", "-o", tmp_path / "out", "--quiet",
        interpreter=interpreter,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "out").iterdir())) == 3
