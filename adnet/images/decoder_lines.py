"""What image decoders complain about, as lines of one file instead of noise on the terminal.

Python warnings of Pillow, and what C libraries such as libtiff write to descriptor 2. Both are of
the whole process, so only a program that owns it turns this on, with `heard`; a library call leaves
warnings and descriptors alone.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from adnet._streams import descriptor_2_into, own_stderr

_MOST = 3
"""Lines of one file."""
_C_LINE = re.compile(
    r"TIFF\w*: |: Warning, |: Error, |libpng|libjpeg|Corrupt JPEG|JPEG|^_?TIFF|LZW|ZIP|Fax"
)
_state = threading.local()
_one_at_a_time = threading.Lock()
_is_on = False


@contextmanager
def heard() -> Iterator[None]:
    """Let `listening` hear what decoders say, while the block runs.

    Python warnings outside of `listening` go their usual way, and so does what this program itself
    writes to stderr.
    """
    global _is_on  # noqa: PLW0603  (as the streams that it is about)
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        lines: list[str] | None = getattr(_state, "lines", None)
        if lines is None:
            before(message, category, filename, lineno, file, line)
        else:
            lines.append(str(message))

    with own_stderr(), warnings.catch_warnings():
        warnings.filterwarnings("always", module=r"PIL\.")
        warnings.filterwarnings("always", module=r"adnet\.images\.")
        warnings.showwarning = show
        _is_on = True
        try:
            yield
        finally:
            _is_on = False


@contextmanager
def listening(found: list[str], *, to_c: bool = False) -> Iterator[None]:
    """Collect into `found` what decoders say in this thread, each line once.

    Args:
        to_c: hear what C libraries write to descriptor 2, too, in one thread at a time.
    """
    if not _is_on:
        yield
        return
    lines: list[str] = []
    _state.lines = lines
    try:
        if to_c:
            with _one_at_a_time, _descriptor_read(lines):
                yield
        else:
            yield
    finally:
        del _state.lines
        told = list(dict.fromkeys(" ".join(line.split()) for line in lines))
        found += told[:_MOST]
        if len(told) > _MOST:
            found.append(f"{len(told) - _MOST} more of such complaints")


@contextmanager
def _descriptor_read(lines: list[str]) -> Iterator[None]:
    """Hear descriptor 2 for a while; what is no decoder's goes on to where it was to."""
    said: list[bytes] = []
    try:
        with descriptor_2_into(said):
            yield
    finally:
        rest: list[str] = []
        for line in (one.decode(errors="backslashreplace") for one in said):
            (lines if _C_LINE.search(line) else rest).append(line)
        if rest:
            with suppress(OSError):
                os.write(2, "".join(rest).encode(errors="backslashreplace"))
