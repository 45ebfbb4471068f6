"""How many bytes of images may be in work at once."""

from __future__ import annotations

import os
import threading

SHARE = 4
"""One part in so many of the free memory is given to images in work; the network needs the rest."""

_UNKNOWN_FREE = 4 << 30


class ByteBudget:
    """Keeps a reader from running ahead of the memory.

    An image counts from its reading to its writing. The first one may always be read, however
    large, so work never stands still; the bound is the budget and one image.

    Args:
        limit: in bytes; None for a share of what is free now.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = free_memory() // SHARE if limit is None else limit
        self.most = 0
        """The most bytes that were in work at once."""
        self._held = 0
        self._open = True
        self._changed = threading.Condition()

    def wait(self) -> None:
        """Block until there is room, or nothing is in work, or the budget is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._held < self.limit or not self._open)

    def take(self, count: int) -> None:
        """Count bytes that are now in work."""
        with self._changed:
            self._held += count
            self.most = max(self.most, self._held)

    def give_back(self, count: int) -> None:
        """Count bytes as free again."""
        with self._changed:
            self._held -= count
            self._changed.notify_all()

    def close(self) -> None:
        """Let every waiting reader go on: the run ends."""
        with self._changed:
            self._open = False
            self._changed.notify_all()


def free_memory() -> int:
    """Return the free memory of this machine in bytes, a guess where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN_FREE
