"""Nothing that only Linux has is needed to denoise: it is taken away, and a run goes on."""

import subprocess
import sys

import pytest
from PIL import Image

WITHOUT = """
import builtins, os, pathlib, signal, sys

for name in ("sched_getaffinity", "sched_setaffinity", "geteuid", "getuid", "setsid", "killpg",
             "fork", "register_at_fork", "getloadavg", "sysconf", "mkfifo", "link"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGXFSZ", "SIGUSR1", "SIGALRM"):
    if hasattr(signal, name):
        delattr(signal, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios", "pty", "tty"):
    sys.modules[name] = None

def is_linux(path):
    return str(path).startswith(("/proc", "/sys"))

opened, path_opened = builtins.open, pathlib.Path.open
def open_(file, *args, **kwargs):
    if is_linux(file):
        raise FileNotFoundError(2, "not here", str(file))
    return opened(file, *args, **kwargs)
def path_open(self, *args, **kwargs):
    if is_linux(self):
        raise FileNotFoundError(2, "not here", str(self))
    return path_opened(self, *args, **kwargs)
builtins.open, pathlib.Path.open = open_, path_open
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.png", "-o", "out", "--strength", "0.5", "--compare", "cmp"],
        ["a.png", "-o", "out", "--max-memory", "2G", "--sigma", "auto", "--json"],
        ["a.png", "--suffix", "_x"],
        ["a.png", "-o", "out", "--dry-run"],
        ["--list-models"],
        ["--doctor"],
    ],
    ids=" ".join,
)
def test_a_run_needs_nothing_that_only_linux_has(tmp_path, make_image, arguments):
    make_image(tmp_path / "a.png", size=(20, 20))
    code = WITHOUT + "from adnet.runtime.cli import main\nmain()\n"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    if arguments[0] == "a.png" and "--dry-run" not in arguments:
        made = tmp_path / ("a_x.png" if "--suffix" in arguments else "out/a.png")
        with Image.open(made) as image:
            assert image.size == (20, 20)
