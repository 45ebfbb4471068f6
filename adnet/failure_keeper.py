"""A file for libraries that crash, or lose the reason, when a disk is full."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer


class FailureKeeper(io.FileIO):
    """A file that keeps its first failure to itself and takes no more from then on."""

    error: OSError | None = None

    def check(self) -> None:
        """Raise the failure, if there was one."""
        if self.error is not None:
            raise self.error

    def write(self, data: Buffer, /) -> int:
        """Write all of it; a failed disk seems to take it."""
        view = memoryview(data).cast("B")
        size, done = len(view), 0
        try:
            while self.error is None and done < size:
                done += super().write(view[done:]) or 0
        except OSError as err:
            self._keep(err)
        return size

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length."""
        try:
            return super().truncate(size)
        except OSError as err:
            self._keep(err)
            return size or 0

    def readinto(self, buffer: Any, /) -> int:
        """Read; what a failed disk did not take is zero."""
        view = memoryview(buffer).cast("B")
        found = super().readinto(view) or 0
        if self.error is None:
            return found
        view[found:] = bytes(len(view) - found)
        return len(view)

    def _keep(self, error: OSError) -> None:
        folder = str(Path(str(self.name)).parent)  # the file's own name is a temporary one
        self.error = self.error or OSError(error.errno, error.strerror, folder)
