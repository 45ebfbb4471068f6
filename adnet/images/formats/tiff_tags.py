"""TIFF directories: tags read and written as bytes, with their sub-directories.

Sources: TIFF 6.0, section 2; BigTIFF as libtiff documents it; Exif 2.32, section 4.6.3.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from adnet.errors import ImageError
from adnet.images.formats.source import Sliced

SUB_DIRECTORIES = {34665: "Exif", 34853: "GPS", 40965: "interoperability"}
"""Tags that point to a directory which moves with the image."""

_FORMATS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 6: "b", 7: "B", 8: "h", 9: "i", 10: "i",
            11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}  # fmt: skip
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_MAX_PAGES = 65_536
_MOST = 2**32
"""Bytes of a file that is no BigTIFF."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a directory."""

    type: int
    count: int
    data: bytes
    """In the byte order of the file that it was read from."""


@dataclass(slots=True)
class Directory:
    """Tags of one page, of its Exif block, and so on."""

    tags: dict[int, Tag] = field(default_factory=dict)
    children: dict[int, Directory] = field(default_factory=dict)
    """Sub-directories by the tag that points to them; such tags are not in `tags`."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Byte order and offsets of a TIFF file."""

    order: Literal["<", ">"] = "<"
    big: bool = False
    """BigTIFF: offsets of 8 bytes."""


def is_tiff(data: bytes) -> bool:
    """Tell whether a file starts as TIFF or BigTIFF files do."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_directories(
    data: Sliced, *, lenient: bool = False
) -> tuple[Kind, list[Directory], list[str]]:
    """Read all pages' directories.

    Args:
        lenient: what is damaged behind the first directory is left out with a note.

    Returns:
        Byte order, one directory per page, and notes on tags that point out of the file: these
        are left out.

    Raises:
        ImageError: the file is no TIFF file or ends before the first directory.
    """
    if not is_tiff(data[:4]):
        raise ImageError("not a TIFF file.")
    order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
    kind = Kind(order, data[2:4].strip(b"\0") == b"+")
    reader = _Reader(data, kind)
    pages: list[Directory] = []
    seen: set[int] = set()
    position = reader.offset(8 if kind.big else 4)
    while position:
        try:
            if position in seen or len(pages) > _MAX_PAGES:
                raise ImageError(
                    "cannot be decoded, the file may be damaged (pages form a circle)."
                )
            seen.add(position)
            page, position = reader.directory(position)
        except ImageError:
            if not (lenient and pages):
                raise
            reader.notes.append("what follows its first directory is damaged and was left out.")
            break
        pages.append(page)
    if not pages:
        raise ImageError("cannot be decoded, the file may be damaged (it has no page).")
    return kind, pages, reader.notes


def values(tag: Tag, kind: Kind) -> tuple[Any, ...]:
    """Return the numbers in a tag; rationals as numerators and denominators in turn."""
    letter = _FORMATS[tag.type]
    count = len(tag.data) // struct.calcsize(letter)
    return struct.unpack(f"{kind.order}{count}{letter}", tag.data)


def number_tag(kind: Kind, type_: int, *numbers: int) -> Tag:
    """Make a tag of integers; for rationals, of numerators and denominators in turn."""
    data = struct.pack(f"{kind.order}{len(numbers)}{_FORMATS[type_]}", *numbers)
    return Tag(type_, len(data) // _SIZES[type_], data)


def reordered(directory: Directory, old: Kind, new: Kind) -> Directory:
    """Turn the numbers in all tags to another byte order."""
    if old.order == new.order:
        return directory
    tags = {}
    for code, tag in directory.tags.items():
        letter = _FORMATS[tag.type]
        data = tag.data
        if struct.calcsize(letter) > 1:
            data = struct.pack(f"{new.order}{len(values(tag, old))}{letter}", *values(tag, old))
        tags[code] = Tag(tag.type, tag.count, data)
    children = {code: reordered(child, old, new) for code, child in directory.children.items()}
    return Directory(tags, children)


def write_directories(
    kind: Kind, pages: Sequence[tuple[Directory, tuple[int, int], Sequence[bytes]]]
) -> bytes:
    """Make a TIFF file.

    Args:
        pages: directory, the tags for the offsets and the lengths of its segments (strips or
            tiles), and the segments. No segments: only the directory is written.

    Raises:
        ImageError: more than 4 GB in a file that is not BigTIFF.
    """
    writer = Writer(kind)
    for directory, codes, segments in pages:
        writer.page(directory, codes, segments)
    if not kind.big and len(writer.out) >= _MOST:
        raise ImageError("a TIFF file cannot be larger than 4 GB; give it the form of a BigTIFF.")
    return bytes(writer.out)


def start_of_file(kind: Kind) -> bytes:
    """Return the first bytes of a file; at their end is the place of the first directory, 0."""
    start = b"II" if kind.order == "<" else b"MM"
    if kind.big:
        return start + struct.pack(f"{kind.order}HHHQ", 43, 8, 0, 0)
    return start + struct.pack(f"{kind.order}HI", 42, 0)


class _Reader:
    def __init__(self, data: Sliced, kind: Kind) -> None:
        self.data, self.kind = data, kind
        self.notes: list[str] = []

    def offset(self, at: int) -> int:
        return self._number(at, "Q" if self.kind.big else "I")

    def _number(self, at: int, letter: str) -> int:
        size = struct.calcsize(letter)
        if at + size > len(self.data):
            raise ImageError("the file ends early; it may be damaged.")
        (value,) = struct.unpack(self.kind.order + letter, self.data[at : at + size])
        return int(value)

    def directory(self, at: int, depth: int = 0) -> tuple[Directory, int]:
        """Read one directory; returns it and where the next one is."""
        big = self.kind.big
        count = self._number(at, "Q" if big else "H")
        at += 8 if big else 2
        length = 20 if big else 12
        if at + count * length + (8 if big else 4) > len(self.data):
            # The pointer to the next page may be missing at the end of a sub-directory.
            if not depth or at + count * length > len(self.data):
                raise ImageError("the file ends early; it may be damaged.")
            following = 0
        else:
            following = self.offset(at + count * length)
        directory = Directory()
        for entry in range(at, at + count * length, length):
            self._entry(entry, directory, depth)
        return directory, following

    def _entry(self, at: int, directory: Directory, depth: int) -> None:
        code, type_ = self._number(at, "H"), self._number(at + 2, "H")
        count = self._number(at + 4, "Q" if self.kind.big else "I")
        room, start = (8, at + 12) if self.kind.big else (4, at + 8)
        size = _SIZES.get(type_, 0) * count
        if size > room:
            start = self.offset(start)
        if type_ not in _SIZES or not count or start + size > len(self.data):
            if count:
                self.notes.append(f"tag {code} is damaged and was left out.")
            return
        tag = Tag(type_, count, self.data[start : start + size])
        if code in directory.tags or code in directory.children:
            if directory.tags.get(code) != tag:
                self.notes.append(f"tag {code} is there twice; the second was left out.")
            return
        if code not in SUB_DIRECTORIES or count != 1 or type_ not in (4, 13, 16, 18):
            directory.tags[code] = tag
            return
        (position,) = values(tag, self.kind)
        try:
            if depth > 2:
                raise ImageError("a circle of directories.")
            child, _ = self.directory(position, depth + 1)
            directory.children[code] = child
        except ImageError:
            self.notes.append(f"{SUB_DIRECTORIES[code]} data are damaged and were left out.")


class Writer:
    """Makes a TIFF file in memory, or the rest of one whose segments are in a file already.

    Args:
        start: of the rest, in the file; None for a whole file.
    """

    def __init__(self, kind: Kind, start: int | None = None) -> None:
        self.kind = kind
        self._start = start or 0
        self.letter = "Q" if kind.big else "I"
        self.out = bytearray() if start else bytearray(start_of_file(kind))
        self._link = -1 if start else len(self.out) - (8 if kind.big else 4)
        self.first = 0
        """Where the first directory of the rest of a file is."""

    def page(self, directory: Directory, codes: tuple[int, int], segments: Sequence[bytes]) -> None:
        """Add a page; segments that are written already are in the directory."""
        if segments:
            places = []
            for segment in segments:
                self._align()
                places.append(self._end)
                self.out += segment
            long = 16 if self.kind.big else 4
            lengths = [len(segment) for segment in segments]
            if max(places) >= _MOST and not self.kind.big:
                raise ImageError("a TIFF file cannot be larger than 4 GB.")
            directory.tags[codes[0]] = number_tag(self.kind, long, *places)
            directory.tags[codes[1]] = number_tag(self.kind, long, *lengths)
        at, link = self._directory(directory)
        if self._link < 0:
            self.first = at
        else:
            self._patch(self._link, at)
        self._link = link

    @property
    def _end(self) -> int:
        return self._start + len(self.out)

    def _align(self) -> None:
        self.out += bytes(-self._end % 2)

    def _patch(self, at: int, value: int) -> None:
        if value >= _MOST and not self.kind.big:
            raise ImageError("a TIFF file cannot be larger than 4 GB.")
        struct.pack_into(self.kind.order + self.letter, self.out, at, value)

    def _directory(self, directory: Directory) -> tuple[int, int]:
        """Write a directory; returns where it is and where its link to the next one is."""
        pointer = 18 if self.kind.big else 4
        tags = dict(directory.tags)
        for code, child in directory.children.items():
            place, _ = self._directory(child)
            tags[code] = number_tag(self.kind, pointer, place)
        room = 8 if self.kind.big else 4
        entries = []
        for code, tag in sorted(tags.items()):
            data = tag.data
            if len(data) > room:
                self._align()
                place = self._end
                self.out += data
                data = struct.pack(self.kind.order + self.letter, place)
            head = struct.pack(f"{self.kind.order}HH{self.letter}", code, tag.type, tag.count)
            entries.append(head + data.ljust(room, b"\0"))
        self._align()
        at = self._end
        count = struct.pack(self.kind.order + ("Q" if self.kind.big else "H"), len(entries))
        self.out += count + b"".join(entries) + bytes(room)
        return at, len(self.out) - room
