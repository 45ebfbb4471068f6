"""glibc's allocator, set so that training on a CPU keeps its memory between steps."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h>


def keep_freed_memory() -> None:
    """Make this process keep freed memory for the next step; does nothing without glibc.

    torch has no caching allocator on CPUs, and glibc gives large blocks back to the system at
    once: a step of 64 patches of 50x50 then touches 750,000 fresh pages, a third of its time.
    Measured on two cores with batch 64: 9.4 patches/s before, 11.5 after. The peak stays the same.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another libc, or Windows
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
