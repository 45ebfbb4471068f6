"""What a process that was forked may do with what its parent opened: nothing, but never hang.

Fork copies memory and one thread. The threads of a runtime or a driver stay behind, and whoever
waits for them waits for ever: a call, a release, and the destructor of a native object alike. So
everything that was opened remembers its process, refuses to work in another, and is never
destroyed there, not even when the child ends.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any
from weakref import WeakSet

from adnet.errors import UsageError

_NO_DESTRUCTORS = ("onnxruntime",)
"""Packages that wait for their threads when a process ends: a static destructor of ONNX Runtime
1.32 hangs, or aborts, in a forked child, even one whose parent only imported it."""

_opened: WeakSet[Any] = WeakSet()
_torch_before_fork = False


class OfOneProcess:
    """Base of what only the process that opened it can use, and release."""

    def __init__(self) -> None:
        self._process = os.getpid()
        _opened.add(self)

    def _is_of_this_process(self) -> bool:
        return os.getpid() == self._process

    def _require_own_process(self, who: str) -> None:
        """Refuse to work in a forked child.

        Raises:
            UsageError: this process was forked from the one that opened it.
        """
        if not self._is_of_this_process():
            raise UsageError(
                f"{who}: opened in process {self._process}, used in {os.getpid()}, which was "
                "forked from it; threads and devices do not survive that. Start worker processes "
                "with the 'spawn' method; on a CPU, the child can also open the model itself."
            )


def forked_with_torch() -> bool:
    """Tell whether this process was forked from one that had loaded torch."""
    return _torch_before_fork


def _in_child() -> None:
    """Keep for ever what the parent had opened: a destructor would wait for threads left behind."""
    global _torch_before_fork  # noqa: PLW0603  (the process's own state)
    _torch_before_fork = _torch_before_fork or "torch" in sys.modules
    opened = list(_opened)
    for one in opened:
        # A reference that nobody gives back; one in a module would go when the program ends.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))
    _opened.clear()
    # A program that opened nothing of ours keeps its C handlers, whatever it imported.
    if opened and any(package in sys.modules for package in _NO_DESTRUCTORS):
        _end_without_destructors()


def _end_without_destructors() -> None:
    """Have exit() of C, which Python calls last, end with _exit() before older handlers run.

    Python's own handlers and buffers come before. Only glibc has on_exit.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):
        libc.on_exit(libc["_exit"], None)  # called with the exit status


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
