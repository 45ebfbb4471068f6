"""Where results go: checked before any work, so that none is lost at its end."""

from __future__ import annotations

from pathlib import Path

from adnet.errors import UsageError


def require_file(output: Path, suffix: str, *inputs: Path) -> None:
    """Refuse a file that cannot be written, or that is an input.

    Args:
        suffix: that it must have, with the point.
        inputs: files that are read, or folders of such.

    Raises:
        UsageError: naming the file.
    """
    require_suffix(output, suffix)
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent}: no such folder for the output.")
    if output.is_dir():
        raise UsageError(f"{output}: is a folder; name the file to write, {output}/NAME{suffix}.")
    for path in inputs:
        if path.exists() and output.exists() and output.samefile(path):
            raise UsageError(f"{output}: is what is read ({path}), by this name or another. "
                             "Choose another output.")  # fmt: skip


def require_suffix(output: Path, suffix: str) -> None:
    """Refuse a name that does not end in `suffix`.

    Raises:
        UsageError: it does not.
    """
    if output.suffix.lower() != suffix:
        raise UsageError(f"{output}: the output must be named {suffix}.")


def require_folder(output: Path, *, option: str = "the output") -> None:
    """Refuse a folder that holds something, or that cannot be made.

    Args:
        option: what the folder was given with.

    Raises:
        UsageError: naming the folder.
    """
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() and output.is_dir():
        raise UsageError(f"{output}: exists and is not empty. Choose another folder for {option}.")
    for path in (output, *output.parents):
        if path.is_symlink() and not path.exists():
            raise UsageError(f"{path}: is a link to nothing, no folder for {option}.")
        if path.exists():
            if not path.is_dir():
                raise UsageError(f"{path}: is a file. Choose another folder for {option}.")
            return
