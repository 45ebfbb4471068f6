"""TIFF and BigTIFF: all pages, with their tags, depth, byte order, compression and tiling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from adnet.errors import ImageError
from adnet.images.float_range import parse_no_data
from adnet.images.formats.exif import exif_with_orientation, orientation_of, resolution_in
from adnet.images.formats.image_file import ImageFile, Pixels, Portable, require_pixels
from adnet.images.formats.source import Sliced
from adnet.images.formats.tiff_page import ICC, LAYOUT_TAGS, PageLayout, PageReader
from adnet.images.formats.tiff_tags import (
    Directory,
    Kind,
    Tag,
    number_tag,
    read_directories,
    reordered,
    write_directories,
)
from adnet.images.formats.tiff_write import page_to_write, plain_layout

MAX_SIDE = 2**32 - 1

_XMP, _IPTC, _PHOTOSHOP, _NO_DATA = 700, 33723, 34377, 42113
_EXIF_TAGS = (269, 270, 271, 272, 274, 285, 305, 306, 315, 316, 18246, 18249, 33432, 40091, 40092,
              40093, 40094, 40095, 50341)  # fmt: skip
"""Tags of a page that an Exif block of another format holds, too: Exif's own, and what Windows and
printers add."""
_OF_PIXELS = LAYOUT_TAGS | {254, 255, 280, 281, 332, 333, 334, 336, 337, 340, 341, 342, 532, ICC,
                            50706}  # fmt: skip
"""Tags that mean something else in a TIFF than in an Exif block, or nothing for these pixels."""
_LOOKS = (254, 255, 274, 282, 283, 296, 297, 301, 318, 319, 532, ICC)
"""What `--strip-metadata` leaves: orientation, resolution, colour, numbers of pages."""


@dataclass(frozen=True, slots=True)
class TiffLayout:
    """What a TIFF file holds beside its pixels."""

    kind: Kind
    pages: tuple[PageLayout, ...]

    @property
    def only_here(self) -> list[str]:
        """Tags that only TIFF has."""
        known = {*_EXIF_TAGS, *_LOOKS, _XMP}
        names = {_IPTC: "IPTC", _PHOTOSHOP: "Photoshop data", 34735: "geo tags"}
        codes = sorted({code for page in self.pages for code in page.directory.tags} - known)
        told = [names[code] for code in codes if code in names]
        others = [str(code) for code in codes if code not in names]
        return told + ([f"TIFF tags {', '.join(others)}"] if others else [])

    def stripped(self) -> TiffLayout:
        """Keep colour, resolution and orientation."""
        pages = []
        for page in self.pages:
            tags = {code: tag for code, tag in page.directory.tags.items() if code in _LOOKS}
            pages.append(replace(page, directory=Directory(tags)))
        return replace(self, pages=tuple(pages))


def decode(data: bytes, limit: int) -> ImageFile:
    """Read a TIFF file; see `codec.decode_image`."""
    kind, readers, notes = open_pages(data, limit)
    frames, layouts = [], []
    for number, reader in enumerate(readers, 1):
        with told_page(number, len(readers)):
            pixels, layout = reader.read()
        frames.append(pixels)
        layouts.append(layout)
        notes += reader.notes
    return file_of(frames, TiffLayout(kind, tuple(layouts)), notes)


def open_pages(data: Sliced, limit: int) -> tuple[Kind, list[PageReader], list[str]]:
    """Read the directories of all pages.

    Raises:
        ImageError: damaged, or more than `limit` pixels in all.
    """
    kind, directories, notes = read_directories(data)
    readers = [PageReader(data, kind, page) for page in directories]
    require_pixels([reader.size for reader in readers], limit)
    return kind, readers, notes


@contextmanager
def told_page(number: int, count: int) -> Iterator[None]:
    """Say in errors which page is meant, where there are several."""
    try:
        yield
    except ImageError as err:
        if count == 1:
            raise
        raise ImageError(f"page {number} of {count}: {err}") from err


def file_of(frames: Sequence[Pixels], layout: TiffLayout, notes: Sequence[str]) -> ImageFile:
    """Put pixels, layout and portable metadata together."""
    portable = _portable(layout.pages[0].directory, layout.kind)
    told = tuple(dict.fromkeys(notes))
    return ImageFile(frames[0], "TIFF", layout, portable, told, tuple(frames[1:]))


def encode(frames: Sequence[Pixels], like: ImageFile) -> bytes:
    """Write a TIFF file; see `codec.encode_image`."""
    layout = layout_to_write(frames, like)
    pages = (page_to_write(*pair) for pair in zip(frames, layout.pages, strict=True))
    return write_directories(layout.kind, list(pages))


def layout_to_write(frames: Sequence[Pixels], like: ImageFile) -> TiffLayout:
    """Choose how to store `frames`: as `like` where it is a TIFF file, BigTIFF where needed."""
    if isinstance(like.layout, TiffLayout):
        kind, layouts = like.layout.kind, list(like.layout.pages)
    else:
        kind = Kind()
        layouts = [plain_layout(frame, kind) for frame in frames]
        layouts[0] = replace(layouts[0], directory=_directory(like.portable, kind))
    # Tags and the tables of segments take place, too; deflated noise can grow a little.
    size = sum(frame.nbytes for frame in frames)
    if size > 4_000_000_000 and not kind.big:
        old, kind = kind, replace(kind, big=True)
        layouts = [
            replace(page, block=replace(page.block, kind=kind),
                    directory=reordered(page.directory, old, kind))
            for page in layouts
        ]  # fmt: skip
    return TiffLayout(kind, tuple(layouts))


def no_data_of(image: ImageFile) -> list[float | None]:
    """Return what each page writes for missing data by GDAL's tag; None where it has none."""
    if not isinstance(image.layout, TiffLayout):
        return [None] * len(image.frames)
    tags = [page.directory.tags.get(_NO_DATA) for page in image.layout.pages]
    return [
        parse_no_data(tag.data, frame.dtype) if tag else None
        for tag, frame in zip(tags, image.frames, strict=True)
    ]


def exif_to_directory(exif: bytes, kind: Kind) -> Directory:
    """Read the tags of an Exif block that belong into a TIFF page.

    Of a damaged one, the orientation alone.
    """
    try:
        old, pages, _ = read_directories(exif, lenient=True)
    except ImageError:
        upright = exif_with_orientation(orientation_of(exif))
        return Directory() if upright is None else exif_to_directory(upright, kind)
    page = pages[0]
    tags = {code: tag for code, tag in page.tags.items() if code not in _OF_PIXELS}
    return reordered(Directory(tags, page.children), old, kind)


def told_of_exif(exif: bytes | None) -> list[str]:
    """Say what `exif_to_directory` leaves out, one sentence each."""
    if not exif:
        return []
    try:
        _, pages, notes = read_directories(exif, lenient=True)
    except ImageError:
        return ["Exif is damaged and was left out."]
    told = [f"in Exif, {note}" for note in notes]
    if len(pages) > 1:
        told.append("Exif's thumbnail cannot be carried into TIFF and was left out.")
    return told


def _directory(portable: Portable, kind: Kind) -> Directory:
    directory = exif_to_directory(portable.exif, kind) if portable.exif else Directory()
    if portable.icc:
        directory.tags[ICC] = Tag(7, len(portable.icc), portable.icc)
    if portable.xmp:
        directory.tags[_XMP] = Tag(1, len(portable.xmp), portable.xmp)
    if portable.dpi and portable.dpi != resolution_in(directory, kind):
        for code, value in zip((282, 283), portable.dpi, strict=True):
            directory.tags[code] = number_tag(kind, 5, *_ratio(value))
        directory.tags[296] = number_tag(kind, 3, 2)
    return directory


def _ratio(value: float) -> tuple[int, int]:
    return (round(value), 1) if value == round(value) else (round(value * 10_000), 10_000)


def _portable(page: Directory, kind: Kind) -> Portable:
    def data(code: int) -> bytes | None:
        return page.tags[code].data if code in page.tags else None

    tags = {code: page.tags[code] for code in _EXIF_TAGS if code in page.tags}
    exif = None
    if tags or page.children:
        small = Kind(kind.order)
        exif = write_directories(small, [(Directory(tags, page.children), (273, 279), [])])
    return Portable(data(ICC), exif, data(_XMP), resolution_in(page, kind))
