"""TIFF files read and written a band of rows at a time."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ImageError
from adnet.images.formats.image_file import ImageFile, stand_in
from adnet.images.formats.source import Inflater, Sliced
from adnet.images.formats.tiff import TiffLayout, file_of, layout_to_write, open_pages, told_page
from adnet.images.formats.tiff_data import DEFLATE, NONE, OLD_DEFLATE, samples_of
from adnet.images.formats.tiff_kinds import RGB, Stored
from adnet.images.formats.tiff_page import PageLayout, PageReader, areas_of, mirrored, put
from adnet.images.formats.tiff_tags import Writer, number_tag, start_of_file
from adnet.images.formats.tiff_write import directory_to_write, segments_to_write

_BAND = 1 << 20
"""Bytes of a strip read at once."""
_STRIP = 1 << 20
"""Bytes of a strip written; larger ones are divided."""
_WORK = 8 << 20


class TiffSource:
    """A TIFF file whose pixels are read band by band; see `rows.RowSource`."""

    def __init__(self, data: Sliced, limit: int) -> None:
        kind, self._readers, notes = open_pages(data, limit)
        self._stored: list[Stored] = []
        frames, layouts = [], []
        for number, reader in enumerate(self._readers, 1):
            with told_page(number, len(self._readers)):
                stored, layout, shape = reader.open()
                reader.places(stored)
            seen = 3 if layout.photometric == RGB else 1
            channels = min(shape[2], seen + 1)
            frames.append(stand_in((*shape[:2], channels), layout.block.dtype))
            layouts.append(layout)
            self._stored.append(stored)
            notes += reader.notes
        self.file = file_of(frames, TiffLayout(kind, tuple(layouts)), notes)
        self.why_not = ""

    def band_bytes(self, page: int) -> int:
        """See `RowSource`."""
        stored, reader = self._stored[page], self._readers[page]
        row = reader.size[0] * stored.samples * 2 * max(1, stored.block.dtype.itemsize)
        if _in_parts(reader, stored):
            return _WORK + 6 * max(_BAND, row)
        tile = reader.tile()
        return _WORK + 5 * row * (tile[0] if tile else reader.strip())

    def bands(self, page: int) -> Iterator[NDArray[Any]]:
        """See `RowSource`."""
        reader, stored = self._readers[page], self._stored[page]
        with told_page(page + 1, len(self._readers)):
            rows = _parts if _in_parts(reader, stored) else _segments
            for band in rows(reader, stored):
                yield reader.coloured(band, stored)


def _in_parts(reader: PageReader, stored: Stored) -> bool:
    """Tell whether strips can be read a few rows at a time."""
    return reader.tile() is None and stored.block.compression in (NONE, DEFLATE, OLD_DEFLATE)


def _segments(reader: PageReader, stored: Stored) -> Iterator[NDArray[Any]]:
    """Decode one row of segments after the other."""
    places, tile = reader.places(stored), reader.tile()
    width, height = reader.size
    down = tile[0] if tile else reader.strip()
    across = -(-width // tile[1]) if tile else 1
    planes = stored.samples if reader.separate(stored) else 1
    every = -(-height // down) * across
    for number, top in enumerate(range(0, height, down)):
        lines = min(down, height - top)
        band = np.empty((lines, width, stored.samples), stored.block.dtype)
        areas = list(areas_of((lines, width), tile, lines))
        for plane in range(planes):
            first = plane * every + number * across
            rows = [tile[0] if tile else lines] * across
            target = band[..., plane : plane + 1] if planes > 1 else band
            decoded = reader.decode(places[first : first + across], rows, stored)
            for area, segment in zip(areas, decoded, strict=True):
                put(segment, target, area)
        yield band


def _parts(reader: PageReader, stored: Stored) -> Iterator[NDArray[Any]]:
    """Read strips of any height a few rows at a time."""
    separate = reader.separate(stored)
    places = reader.places(stored)
    count = -(-reader.size[1] // reader.strip())
    planes = [
        _plane(reader, stored, places[plane * count : (plane + 1) * count])
        for plane in range(stored.samples if separate else 1)
    ]
    for parts in zip(*planes, strict=True):
        yield np.concatenate(parts, axis=2) if separate else parts[0]


def _plane(
    reader: PageReader, stored: Stored, places: list[tuple[int, int]]
) -> Iterator[NDArray[Any]]:
    block = stored.block
    samples = 1 if reader.separate(stored) else stored.samples
    width, height = reader.size
    length = -(-width * samples * block.bits // 8)
    turned = reader.tags.number(266, 1) == 2
    together = max(1, _BAND // length)
    for top, (at, size) in zip(range(0, height, reader.strip()), places, strict=False):
        rows = min(reader.strip(), height - top)
        stream = Inflater(_pieces(reader.data, at, size, turned=turned))
        for start in range(0, rows, together):
            number = min(together, rows - start)
            if block.compression == NONE:
                here = at + start * length
                plain = reader.data[here : min(here + number * length, at + size)]
                plain = mirrored(plain) if turned else plain
            else:
                plain = stream.read(number * length)
            if len(plain) < number * length:
                raise ImageError("cannot be decoded, the file may be damaged (pixels are missing).")
            lines = np.frombuffer(plain, np.uint8).reshape(number, length)
            yield samples_of(lines, block, width, samples)


def _pieces(data: Sliced, at: int, size: int, *, turned: bool) -> Iterator[bytes]:
    for start in range(at, at + size, 2**16):
        piece = data[start : min(start + 2**16, at + size)]
        yield mirrored(piece) if turned else piece


class TiffSink:
    """Writes a TIFF file band by band; see `rows.RowSink`."""

    def __init__(self, file: BinaryIO, like: ImageFile) -> None:
        self._file, self._frames = file, like.frames
        self._layout = layout_to_write(like.frames, like)
        self._kind = self._layout.kind
        head = start_of_file(self._kind)
        file.write(head)
        self._end = len(head)
        self._link = len(head) - (8 if self._kind.big else 4)
        self._page = -1
        self._waiting: list[NDArray[Any]] = []
        self._seen = 0
        self._next_page()

    @staticmethod
    def work_bytes(like: ImageFile, page: int) -> int:
        """See `rows.work_bytes`."""
        layout = layout_to_write(like.frames, like).pages[page]
        row = 2 * like.frames[page][:1].nbytes
        down = layout.tile[0] if layout.tile else _strip(layout, row)
        return _WORK + 6 * row * down

    @staticmethod
    def divides(like: ImageFile) -> bool:
        """See `rows.divides`."""
        pages = layout_to_write(like.frames, like).pages
        return any(
            page.tile is None and _strip(page, frame[:1].nbytes) < min(page.strip, len(frame))
            for page, frame in zip(pages, like.frames, strict=True)
        )

    def put(self, rows: NDArray[Any]) -> None:
        """See `RowSink`."""
        down = self._now.tile[0] if self._now.tile else self._now.strip
        samples = rows.shape[2] if self._now.extra_codes else self._samples
        self._seen += len(rows)
        ready = self._waiting
        for start in range(0, len(rows), down):
            ready.append(rows[start : start + down, :, :samples])
        # Cut anew: bands of any height to whole rows of segments.
        held = sum(map(len, ready))
        while held >= down or (held and self._seen == self._frames[self._page].shape[0]):
            some, count = [], 0
            while ready and count < down:
                part = ready.pop(0)
                some.append(part[: down - count])
                if len(part) > down - count:
                    ready.insert(0, part[down - count :])
                count += len(some[-1])
            held -= count
            self._segments(some[0] if len(some) == 1 else np.concatenate(some))
        self._waiting = [part.copy() for part in ready]  # not to hold a band for a few rows

    def end_page(self) -> None:
        """See `RowSink`."""
        frame = self._frames[self._page]
        shape = (*frame.shape[:2], self._written)
        directory = directory_to_write(stand_in_planes(shape, frame.dtype), self._now)
        codes = (324, 325) if self._now.tile else (273, 279)
        long = 16 if self._kind.big else 4
        if self._end >= 2**32 and not self._kind.big:
            raise ImageError("a TIFF file cannot be larger than 4 GB.")
        places = [place for plane in self._places for place in plane]
        for code, numbers in zip(codes, zip(*places, strict=True), strict=True):
            directory.tags[code] = number_tag(self._kind, long, *numbers)
        writer = Writer(self._kind, self._end)
        writer.page(directory, codes, [])
        self._file.write(writer.out)
        self._file.seek(self._link)
        self._file.write(struct.pack(self._kind.order + writer.letter, writer.first))
        self._link = self._end + len(writer.out) - (8 if self._kind.big else 4)
        self._end += len(writer.out)
        self._file.seek(self._end)
        if self._page + 1 < len(self._frames):
            self._next_page()

    def close(self) -> None:
        """See `RowSink`."""

    def _next_page(self) -> None:
        self._page += 1
        frame = self._frames[self._page]
        layout = self._layout.pages[self._page]
        self._samples = 1 if frame.ndim == 2 else frame.shape[2]
        if layout.tile is None:
            layout = replace(layout, strip=_strip(layout, frame[:1].nbytes))
        self._now: PageLayout = layout
        self._waiting = []
        self._seen, self._written = 0, self._samples
        self._places: list[list[tuple[int, int]]] = []

    def _segments(self, rows: NDArray[Any]) -> None:
        planes = segments_to_write(rows, self._now)
        self._written = rows.shape[2]
        self._places = self._places or [[] for _ in planes]
        for found, segments in zip(self._places, planes, strict=True):
            for segment in segments:
                padding = -self._end % 2
                self._file.write(bytes(padding))
                found.append((self._end + padding, len(segment)))
                self._file.write(segment)
                self._end += padding + len(segment)
        if self._end >= 2**32 and not self._kind.big:
            raise ImageError("a TIFF file cannot be larger than 4 GB.")


def stand_in_planes(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Make (H, W, C) that takes no memory."""
    whole: NDArray[Any] = np.broadcast_to(np.zeros((), dtype), shape)
    return whole


def _strip(layout: PageLayout, row: int) -> int:
    """Rows per strip: as they were, but for strips that would have to be held as a whole."""
    return max(1, min(layout.strip, max(1, _STRIP // row)))
