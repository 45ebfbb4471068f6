"""Ctrl-C and SIGTERM, noticed between steps instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def stop_on_signal(*, patient: bool) -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request while a block runs.

    Args:
        patient: ignore further signals. Workers get several for one Ctrl-C, from the terminal and
            from their launcher; a run of one worker gives up at once on the second.
    """
    stop = StopRequest()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if stop.requested and not patient:
            raise KeyboardInterrupt
        stop.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    before = {which: signal.signal(which, handle) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
