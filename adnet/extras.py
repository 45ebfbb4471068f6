"""How to install what the base install leaves out."""

from __future__ import annotations


def install_extra(*extras: str) -> str:
    """Return the command that installs extras of pyproject.toml, and where it is typed.

    adnet is not on a package index, so pip needs a checkout of it.
    """
    return f"pip install '.[{','.join(extras)}]' in a checkout of adnet"
