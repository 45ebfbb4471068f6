"""Make the standard streams of a program safe to write to, whatever they are and whoever reads."""

from __future__ import annotations

import codecs
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def secure_streams() -> None:
    r"""Let no message end a program: closed streams, narrow encodings, lost readers do no harm.

    A stream that is closed (`2>&-`) becomes the null device. A character that stdout or stderr
    cannot encode is written as an escape (`\xe9`, `\u56fe`), and so is each byte of a file name
    that is not UTF-8 (0xE9 as `\udce9`). What is written after the reader went away (`| head -1`)
    is dropped. Other failures of stdout, such as a full disk, are raised once.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        _fill(number)
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _null(number))
        elif number != 0:
            setattr(sys, name, _patient(stream, number))


def was_closed(number: int) -> bool:
    """Whether a standard stream was closed when the program began, so that it leads nowhere."""
    return number in _closed


_closed: set[int] = set()


def _fill(number: int) -> None:
    """Open the null device as a closed descriptor.

    The next file opened would get its number, and with it what libraries write to stderr.
    """
    try:
        os.fstat(number)
    except OSError:
        _closed.add(number)
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        os.set_inheritable(number, True)


def _null(number: int) -> io.TextIOWrapper:
    raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
    buffer: Any = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, "utf-8", "backslashreplace", line_buffering=True)


def _patient(stream: Any, number: int) -> Any:
    """Return the stream with errors of encoding, and of a lost reader, taken out."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # there is no buffer between with PYTHONUNBUFFERED
    if type(raw) is io.FileIO and raw.fileno() == number:
        stream.flush()
        # Typer takes ASCII for a mistake and would write UTF-8 with question marks instead.
        is_ascii = codecs.lookup(stream.encoding).name == "ascii"
        return io.TextIOWrapper(
            io.BufferedWriter(_Pipe(number, "w", closefd=False)),
            "utf-8" if is_ascii else stream.encoding,
            "backslashreplace",
            line_buffering=stream.line_buffering or stream.write_through,
        )
    if isinstance(stream, io.TextIOWrapper):  # a console of Windows, or a test's
        stream.reconfigure(errors="backslashreplace")
    return stream


@contextmanager
def own_stderr() -> Iterator[None]:
    """Let `sys.stderr` write to a copy of descriptor 2, so that 2 itself may be sent elsewhere.

    What C libraries write goes to 2. Leaves a stream alone that is not on 2, such as a test's.
    """
    before = sys.stderr
    try:
        if before.fileno() != 2:
            raise OSError
        copy = os.dup(2)
    except (OSError, AttributeError, ValueError):
        yield
        return
    before.flush()
    raw = _Pipe(copy, "w")
    raw.never_fails = True
    after = io.TextIOWrapper(
        io.BufferedWriter(raw), before.encoding, "backslashreplace", line_buffering=True
    )
    sys.stderr = after
    try:
        yield
    finally:
        sys.stderr = before
        after.close()


@contextmanager
def descriptor_2_into(lines: list[bytes]) -> Iterator[None]:
    """Keep the lines, ends included, that go to descriptor 2 while a block runs.

    C libraries write there. A pipe would have to be emptied by a thread of its own, or a library
    that says a lot would wait for ever; so it is a file. Where 2 is closed, nothing is kept.
    """
    try:
        before = os.dup(2)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            lines += file.read().splitlines(keepends=True)


class _Pipe(io.FileIO):
    """A descriptor that takes what nobody reads, and fails only once; stderr never does."""

    _failed = False
    never_fails = False

    def write(self, data: Any) -> int:
        if not self._failed:
            try:
                return super().write(data)
            except BrokenPipeError:
                self._failed = True
            except BlockingIOError:
                raise
            except OSError:
                self._failed = True  # what is kept in buffers fails at the exit no more
                if self.fileno() != 2 and not self.never_fails:
                    raise
        return memoryview(data).nbytes
