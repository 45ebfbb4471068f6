"""Walk a folder for images, and say what was ignored and why."""

from __future__ import annotations

import errno
import heapq
import os
import stat
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(slots=True)
class Found:
    """What a folder holds."""

    images: list[Path] = field(default_factory=list)
    """Regular files with an image's suffix, and links to them, sorted. A link of such a name that
    leads nowhere is among them, so that reading it fails: an image is missing."""
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    """Folders (or links) that could not be read, and why: images may be missing."""
    other_files: Counter[str] = field(default_factory=Counter)
    """Files of other kinds, counted by suffix in lower case; "" for those without."""
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    """What is no regular file, and links to folders that were not followed, and why."""
    linked: list[Path] = field(default_factory=list)
    """Links to folders elsewhere that were followed."""

    def add(self, other: Found) -> None:
        """Take in what another folder holds."""
        self.images += other.images
        self.unreadable += other.unreadable
        self.other_files += other.other_files
        self.left_out += other.left_out
        self.linked += other.linked

    def describe_other_files(self) -> str:
        """Say which files were ignored, such as "3 .txt, 1 without a suffix"; may be empty."""
        return ", ".join(
            f"{count} {suffix or 'without a suffix'}"
            for suffix, count in sorted(self.other_files.items(), key=lambda one: (-one[1], one[0]))
        )


def scan_folder(folder: Path, suffixes: Collection[str]) -> Found:
    """Find the images below `folder`; hidden files and folders are left out.

    Each real folder is read once. Links to folders are looked at last, so a folder is found under
    its own name, however a link to it is called. A link that leads elsewhere is followed; one to a
    folder that is read anyway, or that contains `folder`, is not. Nothing but folders is opened.

    Args:
        folder: an existing folder.
        suffixes: of images, in lower case with the dot.
    """
    scan = _Scan(folder, suffixes)
    scan.walk(folder)
    scan.follow_links()
    scan.found.images.sort()
    return scan.found


class _Scan:
    def __init__(self, folder: Path, suffixes: Collection[str]) -> None:
        self.found = Found()
        self._folder = folder
        self._suffixes = suffixes
        self._read_as: dict[str, Path] = {}
        self._links: list[tuple[int, str, str]] = []
        """A heap: parts of the real path, link, real path. Outer folders come first."""

    def walk(self, top: Path) -> None:
        """Read a folder and the real folders below it; note the links to others."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            real = os.path.realpath(folder)
            if real in self._read_as:  # an outer folder that a link led to later
                self._leave_out(folder, f"read as {self._read_as[real]}")
                continue
            self._read_as[real] = folder
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as err:
                self.found.unreadable.append((folder, f"cannot be read: {err.strerror or err}"))
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                else:
                    self._sort_in(entry)

    def follow_links(self) -> None:
        """Walk the folders that links lead to, unless they are read already."""
        root = Path(os.path.realpath(self._folder))
        while self._links:
            _, name, real = heapq.heappop(self._links)
            link = Path(name)
            if real in self._read_as:
                where = self._read_as[real]
                self._leave_out(link, f"a link to {where}, which is read under that name")
            elif root.is_relative_to(real):
                self._leave_out(link, f"a link to {real}, which contains {self._folder}")
            else:
                self.found.linked.append(link)
                self.walk(link)

    def _sort_in(self, entry: os.DirEntry[str]) -> None:
        path = Path(entry.path)
        suffix = path.suffix.lower()
        try:
            mode = entry.stat().st_mode
        except OSError as err:
            if suffix in self._suffixes:
                self.found.images.append(path)
            elif err.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                self._leave_out(path, "a link to nothing")
            else:
                self.found.unreadable.append((path, f"cannot be read: {err.strerror or err}"))
            return
        if stat.S_ISDIR(mode):
            real = os.path.realpath(path)
            heapq.heappush(self._links, (len(Path(real).parts), entry.path, real))
        elif not stat.S_ISREG(mode):
            self._leave_out(path, f"{kind_of(mode)}, not a file")
        elif suffix in self._suffixes:
            self.found.images.append(path)
        else:
            self.found.other_files[suffix] += 1

    def _leave_out(self, path: Path, reason: str) -> None:
        self.found.left_out.append((path, reason))


def kind_of(mode: int) -> str:
    """Say what a file of this `st_mode` is, if no regular file and no folder."""
    return _KINDS.get(stat.S_IFMT(mode), "something else")
