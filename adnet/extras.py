"""How to install what the base install leaves out."""

from __future__ import annotations

from importlib.util import find_spec

from adnet.errors import UsageError


def install_extra(*extras: str) -> str:
    """Return the command that installs extras of pyproject.toml, and where it is typed.

    adnet is not on a package index, so pip needs a checkout of it.
    """
    return f"pip install '.[{','.join(extras)}]' in a checkout of adnet"


def require_packages(extra: str, *packages: str) -> None:
    """Name all packages that a command lacks, and the smallest extra that brings them.

    Raises:
        UsageError: one or more are not installed.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed. Install"
            f" what this command needs: {install_extra(extra)}."
        )
