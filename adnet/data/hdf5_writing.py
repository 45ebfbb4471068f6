"""Write HDF5 files so that a full disk is an error.

The HDF5 library itself crashes (SIGSEGV) when it closes a file whose data could not all be written;
seen with HDF5 1.14.2 and 2.0. So it writes through a file that hides failures from it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

if TYPE_CHECKING:
    from typing_extensions import Buffer


@contextmanager
def hdf5_writer(path: Path) -> Iterator[tuple[h5py.File, FailureKeeper]]:
    """Open a new HDF5 file to write.

    Yields:
        The file, and what keeps the first failure: call its `check` now and then, so that a long
        job does not go on in vain.

    Raises:
        OSError: not everything could be written.
    """
    with FailureKeeper(path, "w+") as raw:
        with h5py.File(raw, "w") as file:
            yield file, raw
        raw.check()


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
