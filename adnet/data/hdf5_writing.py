"""Write HDF5 files so that a full disk is an error.

The HDF5 library itself crashes (SIGSEGV) when it closes a file whose data could not all be written;
seen with HDF5 1.14.2 and 2.0. So it writes through a file that hides failures from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from adnet.failure_keeper import FailureKeeper


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
