"""Images read and written a band of rows at a time: PNG and TIFF files that do not fit into memory.

What is written equals what `codec` writes for the whole image, pixel by pixel and tag by tag; only
strips of more than a megabyte are divided.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from numpy.typing import NDArray

from adnet.images.formats.codec import arranged, damage_told
from adnet.images.formats.extra_samples import is_multiplied, straightened
from adnet.images.formats.image_file import ImageFile
from adnet.images.formats.kinds import format_of
from adnet.images.formats.png_rows import PngSink, PngSource
from adnet.images.formats.source import FileBytes, Sliced
from adnet.images.formats.tiff_rows import TiffSink, TiffSource


class RowSource(Protocol):
    """An open image file."""

    file: ImageFile
    """All that is known without the pixels; these are stand-ins that take no memory."""
    why_not: str
    """What kind of file it is that cannot be read in bands; empty where it can."""

    def band_bytes(self, page: int, /) -> int:
        """Return about how many bytes reading takes, the rows that it yields included."""

    def bands(self, page: int, /) -> Iterator[NDArray[Any]]:
        """Yield (rows, W, C) from top to bottom.

        C may be more than the frame has in `file`: samples that are to be copied.

        Raises:
            ImageError: the file is damaged.
        """


class RowSink(Protocol):
    """An image file that is being written; it is whole after `close`."""

    def put(self, rows: NDArray[Any], /) -> None:
        """Write the next (rows, W, C) of a page."""

    def end_page(self) -> None:
        """All rows of a page were put; go on with the next."""

    def close(self) -> None:
        """Write what comes after the pixels."""


_SINKS: dict[str, type[PngSink | TiffSink]] = {"PNG": PngSink, "TIFF": TiffSink}


@contextmanager
def open_rows(path: Path, max_pixels: int) -> Iterator[RowSource | None]:
    """Open a PNG or TIFF file; None for what is neither.

    Raises:
        ImageError: the file is damaged, too large, or of a kind that is not supported.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        yield source_of(FileBytes(file), str(path), max_pixels)


def source_of(data: Sliced, name: str, max_pixels: int) -> RowSource | None:
    """Open a PNG or TIFF file by its content; see `open_rows`."""
    found = format_of(data[:32])
    with damage_told(name):
        if found == "PNG":
            return PngSource(data, max_pixels)
        if found == "TIFF":
            return TiffSource(data, max_pixels)
    return None


def open_sink(file: BinaryIO, like: ImageFile, wanted: str) -> RowSink:
    """Begin to write a file in the format `wanted`, PNG or TIFF, with the metadata of `like`.

    Raises:
        ImageError: the format cannot hold such pixels.
    """
    _, made = arranged(like.frames, like, wanted)
    sink = _SINKS[wanted](file, made)
    return _Straight(sink, like, wanted) if is_multiplied(like, wanted) else sink


class _Straight:
    """Divides the rows of a TIFF by their alpha before they go to the sink of another format."""

    def __init__(self, sink: RowSink, like: ImageFile, wanted: str) -> None:
        self._sink, self._like, self._wanted = sink, like, wanted
        self._samples = like.pixels.shape[2]
        self.end_page, self.close = sink.end_page, sink.close

    def put(self, rows: NDArray[Any]) -> None:
        """See `RowSink`."""
        (straight,) = straightened([rows[..., : self._samples]], self._like, self._wanted)
        self._sink.put(straight)


def work_bytes(like: ImageFile, wanted: str, page: int) -> int | None:
    """Return what writing in bands takes; None for a format that cannot be written so."""
    if wanted not in _SINKS:
        return None
    _, made = arranged(like.frames, like, wanted)
    return _SINKS[wanted].work_bytes(made, page)


def divides(like: ImageFile, wanted: str) -> bool:
    """Tell whether the file would be laid out differently than when it is written as a whole."""
    _, made = arranged(like.frames, like, wanted)
    return _SINKS[wanted].divides(made)
