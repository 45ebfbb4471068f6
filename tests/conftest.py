"""Shared fixtures. Tests marked `dataset` need the image sets that are not part of the project."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from adnet.images.levels import to_levels
from adnet.images.synthetic import render

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores, and small images need one
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No deadline: the machines that run this are noisy. The same examples every time.
settings.register_profile("adnet", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("adnet")

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


HAS_TORCH = importlib.util.find_spec("torch") is not None
"""Without it, what needs it is skipped; the summary at the end lists that."""


class _ModuleThatMayNeedTorch(pytest.Module):
    """A test module; skipped where an import of its own needs torch, and torch is missing."""

    def _getobj(self):
        try:
            return super()._getobj()
        except self.CollectError as err:
            cause = err.__cause__
            if isinstance(cause, ModuleNotFoundError) and cause.name == "torch":
                pytest.skip("needs torch: it or what it tests imports it", allow_module_level=True)
            raise


def pytest_configure():
    """Let programs that tests start heed Ctrl-C and hang-up, though the tests were told not to.

    Started in the background, tests have signals ignored, and what they start inherits that; a
    handler, even one that does nothing, is not inherited.
    """
    for name in ("SIGINT", "SIGHUP"):
        which = getattr(signal, name, None)  # Windows has no SIGHUP
        if which is not None and signal.getsignal(which) is signal.SIG_IGN:
            signal.signal(which, lambda *_: None)


def pytest_pycollect_makemodule(module_path, parent):
    """Collect without torch; with it, as ever, so that nothing is skipped unseen."""
    if HAS_TORCH:
        return None
    return _ModuleThatMayNeedTorch.from_parent(parent, path=module_path)


def pytest_runtest_setup(item):
    """Skip the tests marked `torch` where it is missing."""
    if item.get_closest_marker("torch") is not None and not HAS_TORCH:
        pytest.skip("needs torch")


def tracked(*patterns: str) -> list[str]:
    """Return the files of the checkout, or skip: a source archive has no list of them."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.splitlines()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with data/ and weights/, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("ADNET_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "BSD68").is_dir():
        pytest.skip(f"no image sets at {folder} (set ADNET_SHARED)")
    return folder


@pytest.fixture
def make_image():
    """Write a rendered 8-bit image: make_image(path, mode, size) with size (width, height)."""

    def make(path: Path, mode: str = "L", size: tuple[int, int] = (60, 45), seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        channels = 1 if mode in ("L", "LA") else 3
        pixels = to_levels(render(size[1], size[0], channels, seed))
        image = Image.fromarray(pixels)
        if mode in ("LA", "RGBA"):
            ramp = np.linspace(0, 255, size[0] * size[1]).reshape(size[1], size[0])
            image.putalpha(Image.fromarray(ramp.astype(np.uint8)))
        image.save(path)
        return path

    return make


@pytest.fixture
def cli():
    """Run an installed program in a process of its own: cli("adnet-run", arguments ...)."""

    def run(program: str, *arguments: object, **options):
        script = Path(sys.executable).parent / program
        return subprocess.run(
            [str(script), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            **options,
        )

    return run


@pytest.fixture
def cli_here(monkeypatch, capsys):
    """Run a program in this process, for cases where importing torch would take the time.

    cli_here(main, "adnet-train", arguments ...); the cases that need a process of their own use
    `cli`.
    """

    hasten_benchmarks(monkeypatch)

    def run(main, program: str, *arguments: object, cwd: Path | None = None):
        if cwd is not None:
            monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        output = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, exit_.value.code or 0, output.out, output.err)

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """The shipped gray model as a checkpoint, gray-blind.pth."""
    if not HAS_TORCH:
        pytest.skip("needs torch: makes a checkpoint")
    from adnet.models.checkpoint import load_checkpoint, save_checkpoint
    from adnet.models.shipped import WEIGHTS

    loaded = load_checkpoint(WEIGHTS / "gray-blind.onnx")
    path = tmp_path_factory.mktemp("checkpoint") / "gray-blind.pth"
    save_checkpoint(path, loaded.network.state_dict(), loaded.card)
    return path


@pytest.fixture
def clean(tmp_path, make_image) -> Path:
    """A folder of clean images of two sizes."""
    for index, size in enumerate([(60, 45), (45, 60), (60, 45)]):
        make_image(tmp_path / "Clean3" / f"{index}.png", size=size, seed=index)
    return tmp_path / "Clean3"


@pytest.fixture
def acl(monkeypatch):
    """The simulated pyACL, new for each test; after it nothing may be left on the device."""
    from adnet.runtime.backends import acl as ours

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] == "acl"]:
            del sys.modules[name]

    monkeypatch.syspath_prepend(str(ROOT / "tests" / "fakes"))
    monkeypatch.setattr(ours, "_initialised_in", None)
    monkeypatch.setattr(ours.atexit, "register", lambda *_: None)
    forget()
    import acl as simulated

    yield simulated
    assert simulated.state.leftovers() == []
    if simulated.state.initialised:
        assert simulated.finalize() == 0
    forget()


def hasten_benchmarks(patch: pytest.MonkeyPatch) -> None:
    """Take out what makes a benchmark's figures steady, and its tests slow."""
    from adnet.benchmarks import machine, measure, memory, scaling, timing

    patch.setattr(timing, "_PAUSE", 0.0)
    patch.setattr(timing, "_MOST_WARM_UP", 0)
    patch.setattr(scaling, "_SIZE_ROUNDS", 2)
    patch.setattr(measure, "_END_TO_END_IMAGES", 1)
    # In a process of its own, which imports everything again; test_memory_... has one.
    patch.setattr(measure, "load_alone", lambda *_: memory.Footprint(0.1, 100.0))
    patch.setattr(machine, "_COPIED", 2**22)
    patch.setattr(machine, "_MATRIX", 256)


FAILURES = ("error:", "failed:", "Error:")
"""How a line that says why begins; the last is typer's, of an option that it refuses itself."""


def assert_clean_error(result, status: int, *parts: str) -> None:
    """The program failed as promised: its status, one line that says why, no traceback."""
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith(FAILURES)]
    assert len(lines) == 1, result.stderr
    for part in parts:
        assert part in lines[0]


@pytest.fixture(scope="module")
def browser():
    """Chromium, for tests marked `browser`."""
    from browser import chromium

    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """adnet-web with low limits: (process, address); its files are below process.folder."""
    from web_server import web_server

    folder = tmp_path_factory.mktemp("tmp")
    with web_server("--max-files", "5", "--max-megabytes", "1", "--max-pixels", "300000", "--queue",
                    "2", temporary=folder) as (process, address):  # fmt: skip
        process.folder = folder
        yield process, address


@pytest.fixture
def visitor(server):
    """A visitor of that adnet-web."""
    from web_server import Visitor

    one = Visitor(server[1])
    yield one
    one.raw("DELETE", one.visit)
