"""Import the sub-packages that lie beside this folder in a source checkout.

An installation maps `export/`, `runtime/` and `benchmarks/` to `adnet.export` and so on
(pyproject.toml). In a checkout where nothing is installed, the entry that `adnet/__init__.py` puts
at the end of its `__path__` is read here: it offers exactly these folders, so that walking the
package's modules ends (the checkout's root itself holds `adnet/` again).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

_MARK = "adnet-checkout:"
_FOLDERS = ("benchmarks", "export", "runtime")


def checkout_entry(root: Path) -> str | None:
    """Return the entry for `adnet.__path__`; None when `root` is no source checkout."""
    if not (root / "pyproject.toml").is_file() or not (root / "runtime" / "__init__.py").is_file():
        return None
    if _hook not in sys.path_hooks:
        sys.path_hooks.append(_hook)
    return f"{_MARK}{root}"


class _Finder:
    """Path entry finder (importlib's protocol, with the `iter_modules` that pkgutil asks for)."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find_spec(self, name: str, _target: object = None) -> ModuleSpec | None:
        folder = name.rpartition(".")[2]
        if name != f"adnet.{folder}" or folder not in _FOLDERS:
            return None
        path = self._root / folder
        return spec_from_file_location(
            name, path / "__init__.py", submodule_search_locations=[str(path)]
        )

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        return ((prefix + folder, True) for folder in _FOLDERS)

    def invalidate_caches(self) -> None:
        """Nothing is cached."""


def _hook(entry: str) -> _Finder:
    if not entry.startswith(_MARK):
        raise ImportError("not a checkout of adnet", path=entry)
    return _Finder(Path(entry.removeprefix(_MARK)))
