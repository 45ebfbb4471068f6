"""What visitors bring and get: in a folder of its own, gone when the visit or the program ends."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from adnet.errors import UsageError
from adnet.images.image import FORMATS

ORDER = "order-"
"""Begins the name of an order's folder."""
AGAIN = "again-"
"""Begins the name of a file in it that can be made again from the others."""
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server takes on.

    Raises:
        UsageError: a limit under 1.
    """

    pixels: int = 50_000_000
    """Of one image, frames or pages together."""
    file_bytes: int = 500_000_000
    visit_bytes: int = 2_000_000_000
    """Of all that a visitor brought and has not given back, and of what came of it."""
    files: int = 100
    """In one order."""
    queue: int = 16
    """Orders that wait, of all visitors."""
    visits: int = 64
    idle_seconds: int = 3600
    """After which a visit that was not heard of ends."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise UsageError(f"the limit of {name} must be at least 1.")


class FullError(UsageError):
    """There is no room for more now; there may be later."""


class TooLargeError(UsageError):
    """A file or a number of files is beyond the limits."""


class GoneError(UsageError):
    """No such visit, file or order; it may have ended."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One file of a visitor."""

    name: str
    """What the visitor calls it; never part of a path here."""
    path: Path
    clean: Path | None = None
    """The same picture without noise, where it is one of our samples."""


@dataclass(slots=True)
class Visit:
    """One open page."""

    folder: Path
    files: dict[str, Kept] = field(default_factory=dict)
    orders: dict[str, object] = field(default_factory=dict)
    """One, and those that a new one took the place of just now."""
    size: int = 0
    """Bytes of what was brought."""
    seen: float = field(default_factory=time.monotonic)

    def file(self, key: str) -> Kept:
        """Return a file by its key."""
        try:
            return self.files[key]
        except KeyError:
            raise GoneError("no such file; it may have been removed. Give it again.") from None


class Store:
    """All visits. A context manager: at the end nothing is left.

    Keys are secret, so that nobody comes upon another visitor's files.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._folder = Path(tempfile.mkdtemp(prefix="adnet-web-"))
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Remove everything."""
        for _ in range(_TRIES):  # a file that is just being written can come in between
            shutil.rmtree(self._folder, ignore_errors=True)
            if not self._folder.exists():
                break
            time.sleep(0.05)

    def open_visit(self) -> str:
        """Begin a visit.

        Raises:
            FullError: there are too many.
        """
        with self._lock:
            if len(self._visits) >= self.limits.visits:
                raise FullError("too many visitors at once; try again later.")
            key = secrets.token_urlsafe(16)
            folder = self._folder / key
            folder.mkdir()
            self._visits[key] = Visit(folder)
            return key

    def visit(self, key: str) -> Visit:
        """Return a visit that goes on.

        Raises:
            GoneError: it has ended, or never began.
        """
        with self._lock:
            if key not in self._visits:
                raise GoneError("this visit has ended; load the page again.")
            visit = self._visits[key]
            visit.seen = time.monotonic()
            return visit

    def end_visit(self, key: str) -> Visit | None:
        """Take a visit out; its orders and its folder are the caller's to remove."""
        with self._lock:
            return self._visits.pop(key, None)

    def end_idle(self) -> list[Visit]:
        """Take out the visits that were not heard of for long, as `end_visit` does."""
        with self._lock:
            old = time.monotonic() - self.limits.idle_seconds
            keys = [key for key, one in self._visits.items() if one.seen < old]
            return [self._visits.pop(key) for key in keys]

    def place(self, visit: Visit, name: str) -> tuple[str, Kept]:
        """Choose where a file of that name goes; nothing is written.

        Raises:
            UsageError: a name that is none of an image.
        """
        shown = shown_name(name)
        key = secrets.token_urlsafe(12)
        return key, Kept(shown, visit.folder / f"{key}{PurePosixPath(shown).suffix.lower()}")

    def used(self, visit: Visit) -> int:
        """Count the bytes of what was brought and of what came of it."""
        return visit.size + sum(map(_size, _made(visit, "*")))

    def make_room(self, visit: Visit, more: int = 0) -> bool:
        """Say whether a visitor may have more; what can be made again is removed before."""
        most = self.limits.visit_bytes - more
        if self.used(visit) < most:
            return True
        for path in _made(visit, f"{AGAIN}*"):
            path.unlink(missing_ok=True)
        return self.used(visit) < most

    def require_room(self, visit: Visit, name: str, more: int = 0) -> None:
        """Make sure that a visitor may bring a file.

        Args:
            more: bytes of it that are not counted yet.

        Raises:
            TooLargeError: it is too much.
        """
        if not self.make_room(visit, more):
            raise TooLargeError(
                f"{name}: is too much; files and results of one visitor may take "
                f"{self.limits.visit_bytes / 1e6:g} MB. Remove other files, or use adnet-run."
            )

    def keep(self, visit: Visit, key: str, kept: Kept) -> None:
        """Take a written file into a visit.

        Raises:
            GoneError: the visit ended meanwhile.
        """
        if not kept.path.exists():
            raise GoneError("this visit has ended; load the page again.")
        visit.files[key] = kept

    def drop(self, visit: Visit, key: str) -> None:
        """Remove one file."""
        kept = visit.files.pop(key, None)
        for path in () if kept is None else filter(None, (kept.path, kept.clean)):
            visit.size -= _size(path)
            path.unlink(missing_ok=True)


def _made(visit: Visit, pattern: str) -> list[Path]:
    """List files of a visitor's orders."""
    try:
        return list(visit.folder.glob(f"{ORDER}*/{pattern}"))
    except FileNotFoundError:  # an order was removed just now
        return []


def _size(path: Path) -> int:
    """Return the bytes of a file; 0 of one that was removed just now."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def shown_name(name: str) -> str:
    """Return a visitor's file name without folders and without what a terminal could stumble on.

    Raises:
        UsageError: its suffix is none of an image.
    """
    last = PureWindowsPath(PurePosixPath(name).name).name
    kept = "".join(one for one in last if unicodedata.category(one)[0] != "C")
    path = PurePosixPath(kept[-120:])
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"{kept or 'this file'}: the suffix {path.suffix or '(none)'} is not one of "
            f"{', '.join(FORMATS)}."
        )
    return path.name
