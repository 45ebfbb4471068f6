"""What made a result: versions, the revision of the source, and how many cores there are."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from adnet import __version__


def git_revision() -> str | None:
    """Return the commit of the source checkout, with `-dirty` after local changes.

    None when adnet runs from an installation, or without git.
    """
    root = Path(__file__).parent.parent
    if not (root / "pyproject.toml").is_file():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, adnet and those of `packages` that are installed."""
    found = {"python": platform.python_version(), "adnet": __version__}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def usable_cores() -> int:
    """Count the cores that this process may use; fewer than the machine's in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
