"""Files that appear whole or not at all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_counter = itertools.count()


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; move it there when the block succeeds.

    The temporary file lies in the same folder, so that the move is atomic, and has a short name
    of its own, so that a long target name still fits the file system's limit. When the block
    raises, KeyboardInterrupt included, the temporary file is removed and `target` stays as it was.

    Raises:
        OSError: the file cannot be written, flushed to disk or moved.
    """
    temporary = target.parent / f".adnet-{os.getpid()}-{next(_counter)}.tmp"
    try:
        yield temporary
        # Without the flush a power cut right after the rename could leave an empty file.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
