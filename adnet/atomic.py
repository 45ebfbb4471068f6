"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LEFTOVER_SECONDS = 24 * 3600.0
"""A temporary file untouched for so long belongs to a run that was killed."""

_swept: set[Path] = set()


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; move it there when the block succeeds.

    The temporary file lies in the same folder, so that the move is atomic, and has a short name
    of its own, so that a long target name still fits the file system's limit. It exists already,
    empty: the name is random and was taken exclusively, because process numbers repeat where
    containers share a folder. When the block raises, KeyboardInterrupt included, the temporary
    file is removed and `target` stays as it was.

    What is written in the block must raise when the disk is full; `write_atomically` does.

    Raises:
        OSError: the file cannot be written, flushed to disk or moved.
    """
    descriptor, temporary = _create(target.parent)
    try:
        now = os.fstat(descriptor).st_mtime
        os.close(descriptor)
        _sweep_once(target.parent, now)
        yield temporary
        # Without the flush a power cut right after the rename could leave an empty file.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_atomically(target: Path, data: bytes | memoryview) -> None:
    """Write a whole file, or none: some encoders do not notice a short write, this does.

    Raises:
        OSError: the disk is full, a limit is reached, the folder cannot be written.
    """
    with atomic_path(target) as temporary:
        with temporary.open("wb") as file:
            file.write(data)
        size = temporary.stat().st_size
        if size != len(data):
            raise OSError(f"{size} of {len(data)} bytes were written, is the disk full?")


def require_writable(folder: Path) -> None:
    """Make the folder, put a file into it and take it out; sweep what killed runs left there.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, probe = _create(folder)
    try:
        now = os.fstat(descriptor).st_mtime
        os.close(descriptor)
    finally:
        probe.unlink()
    sweep_leftovers(folder, now)


def sweep_leftovers(folder: Path, now: float) -> None:
    """Remove our temporary files that are older than a day; never fails.

    Left alone are younger files, which a run beside this one may be writing, files of other
    users, and whatever is no plain file.

    Args:
        now: the time by the clock of the file system, seconds since the epoch: that of this
            machine may be another.
    """
    with suppress(OSError):
        for path in folder.glob(".adnet-*.tmp"):
            with suppress(OSError):
                status = path.lstat()
                ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
                old = now - status.st_mtime > LEFTOVER_SECONDS
                if ours and old and stat.S_ISREG(status.st_mode):
                    path.unlink()


def _create(folder: Path) -> tuple[int, Path]:
    """Create a file that nobody else has; returns its descriptor and its path."""
    while True:
        path = folder / f".adnet-{secrets.token_hex(8)}.tmp"
        with suppress(FileExistsError):
            return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), path


def _sweep_once(folder: Path, now: float) -> None:
    """Sweep a folder at the first file written there: listing it for each would cost."""
    if (key := folder.absolute()) not in _swept:
        _swept.add(key)
        sweep_leftovers(folder, now)
