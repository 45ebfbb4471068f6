"""What to do when the system refuses a file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_REMEDIES = {
    errno.ENOSPC: "Free some space there, or write to another disk",
    errno.EDQUOT: "Free some space there, or write to another disk",
    errno.EROFS: "Write to another folder",
    errno.EACCES: "Change its permissions, or choose another path",
    errno.EPERM: "Change its permissions, or choose another path",
    errno.EEXIST: "A folder was expected. Choose another path, or move the file away",
    errno.ENOTDIR: "A folder was expected. Choose another path, or move the file away",
    errno.EISDIR: "A file was expected. Name one",
    errno.ENOENT: "Make the folder first, or choose another path",
    errno.ENAMETOOLONG: "Choose a shorter name",
}


def explain_file_error(err: OSError) -> str:
    """Say which file or folder was refused, why, and what to do about it.

    Ours that are still being written are named by their folder.
    """
    if err.errno is None or err.strerror is None:
        return str(err)
    remedy = _REMEDIES.get(err.errno, "")
    if not err.filename or isinstance(err.filename, int):
        return f"{err.strerror}. {remedy}".rstrip(". ") + "."
    path = Path(os.fsdecode(err.filename))
    if path.name.startswith(".adnet-"):
        path = path.parent
    return f"{path}: {err.strerror}. {remedy}".rstrip(". ") + "."
