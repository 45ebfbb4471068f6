"""One page of a TIFF file: from its directory and segments to pixels and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats.bits import widened
from adnet.images.formats.colour import cmyk_to_rgb, srgb_profile, stored_lab_to_rgb
from adnet.images.formats.image_file import Pixels, squeezed
from adnet.images.formats.source import Sliced
from adnet.images.formats.tiff_data import (
    CCITT,
    DEFLATE,
    JPEG,
    NONE,
    WRITABLE,
    Block,
    places_of,
    unpack_fax,
    unpack_jpeg,
    unpack_segments,
)
from adnet.images.formats.tiff_kinds import (
    CMYK,
    CONVERTED,
    ICCLAB,
    PALETTE,
    PHOTOMETRICS,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    PageTags,
    Stored,
    check_page,
)
from adnet.images.formats.tiff_tags import Directory, Kind, Tag

ICC = 34675
TOGETHER = 16
"""Segments decoded at once."""
LAYOUT_TAGS = frozenset(
    (256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 284, 288, 289, 292, 293, 317,
     320, 322, 323, 324, 325, 326, 327, 328, 330, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519,
     520, 521, 529, 530, 531)
)  # fmt: skip
"""Tags that are made from the new pixels, or mean nothing for them."""
_OLD_COLOUR_TAGS = (280, 281, 301, 318, 319, 332, 333, 334, 336, 337, 340, 341, 342, 532)
"""Tags about colours or samples that a converted page no longer has."""


@dataclass(frozen=True, slots=True)
class PageLayout:
    """How to store a page like the one that was read."""

    block: Block
    directory: Directory = field(default_factory=Directory)
    """The tags that are carried over."""
    photometric: int = 1
    """0 white is zero, 1 black is zero, 2 RGB."""
    planar: bool = False
    """Each sample has a plane of its own."""
    tile: tuple[int, int] | None = None
    """(height, width); None for strips."""
    strip: int = 0
    """Rows per strip."""
    extra_codes: tuple[int, ...] = ()
    """What each sample beyond gray or RGB means."""
    extras: NDArray[Any] | None = None
    """(H, W, n) samples beyond gray or RGB and one alpha, copied."""


class PageReader:
    """Reads one page."""

    def __init__(self, data: Sliced, kind: Kind, page: Directory) -> None:
        self.data, self.kind, self.page = data, kind, page
        self.tags = PageTags(kind, page)
        self.notes: list[str] = []
        self.size = (self.tags.number(256, 0), self.tags.number(257, 0))
        """(width, height)."""

    def read(self) -> tuple[Pixels, PageLayout]:
        """Decode the page.

        Raises:
            ImageError: damaged, or of a kind that is not supported.
        """
        stored, layout, _ = self.open()
        pixels = self.coloured(self._whole(stored), stored)
        seen = 3 if layout.photometric == RGB else 1
        if len(layout.extra_codes) > 1:
            layout = replace(layout, extras=np.ascontiguousarray(pixels[..., seen + 1 :]))
        return squeezed(pixels[..., : seen + 1]), layout

    def open(self) -> tuple[Stored, PageLayout, tuple[int, int, int]]:
        """Find out all but the pixels.

        Returns:
            How the page is stored; its layout, without samples beyond alpha; and the shape
            (height, width, samples) that `coloured` gives in all.

        Raises:
            ImageError: of a kind that is not supported.
        """
        stored = check_page(self.tags)
        if 330 in self.page.tags:
            self.notes.append("smaller or other pictures inside the page were left out.")
        tags = {code: tag for code, tag in self.page.tags.items() if code not in LAYOUT_TAGS}
        if 274 in tags and not 1 <= self.tags.number(274, 0) <= 8:
            self.notes.append("its orientation is none of the eight and was left out.")
            del tags[274]
        one = np.zeros((1, 1, stored.samples), stored.block.dtype)
        pixels, photometric = self._in_rgb(one, stored, tags, self.notes)
        count = pixels.shape[2] - (3 if photometric == RGB else 1)
        codes = self.tags.numbers(338)[:count]
        layout = PageLayout(
            self._block_to_write(stored, pixels.dtype),
            Directory(tags, dict(self.page.children)),
            photometric,
            self.tags.number(284, 1) == 2,
            self.tile(),
            self.strip(),
            codes + (0,) * (count - len(codes)),
        )
        return stored, layout, (self.size[1], self.size[0], pixels.shape[2])

    def coloured(self, rows: NDArray[Any], stored: Stored) -> NDArray[Any]:
        """Turn (rows, W, samples) as stored to gray or RGB of a whole depth, with all samples.

        Raises:
            ImageError: there are values that are no finite numbers.
        """
        pixels, _ = self._in_rgb(rows, stored, dict(self.page.tags), [])
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise ImageError(
                "holds values that are no finite numbers; the network would spread them. Fill "
                "them first."
            )
        return pixels

    def _in_rgb(
        self, stored: NDArray[Any], how: Stored, tags: dict[int, Tag], notes: list[str]
    ) -> tuple[NDArray[Any], int]:
        """Turn samples as stored to gray or RGB of a whole depth; also its photometric."""
        bits, photometric = how.block.bits, how.photometric
        colour, extra = np.split(stored, [PHOTOMETRICS[photometric]], axis=2)
        if photometric in CONVERTED:
            colour = self._converted(photometric, colour, tags, notes)
            # A palette's alpha has as many bits as its index; the colours have 8.
            extra = widened(extra, bits) if bits not in (8, 16) else extra
            extra = extra if extra.dtype == colour.dtype else (extra >> 8).astype(np.uint8)
            for code in _OLD_COLOUR_TAGS:
                tags.pop(code, None)
            return np.dstack([colour, extra]), RGB
        if photometric == YCBCR:
            tags.pop(532, None)
            if how.block.compression != JPEG:
                notes.append("YCbCr became RGB.")
                image = Image.frombuffer("YCbCr", colour.shape[1::-1], np.ascontiguousarray(colour))
                colour = np.asarray(image.convert("RGB"))
            return np.dstack([colour, extra]), RGB
        pixels = stored
        if bits not in (8, 16) and stored.dtype.kind == "u":
            pixels = widened(stored, bits)
        if bits < 8:
            what = "1 bit became gray" if bits == 1 else f"{bits} bits per sample became samples"
            notes.append(f"{what} with 8 bits.")
        if photometric == WHITE_IS_ZERO and stored.dtype.kind == "u":
            pixels = np.dstack([~pixels[..., :1], pixels[..., 1:]])
        return pixels, photometric

    def _block_to_write(self, stored: Stored, dtype: np.dtype[Any]) -> Block:
        """Keep depth, compression and prediction where the new pixels can have them."""
        compression, predictor = stored.block.compression, stored.block.predictor
        if compression not in WRITABLE:
            self.notes.append("its compression became deflate, which loses nothing.")
            compression, predictor = DEFLATE, 2
        bits = stored.block.bits
        if bits < 8 or stored.photometric in CONVERTED:
            bits = 8 * dtype.itemsize
        if predictor == 2 and dtype.kind == "f":
            predictor = 1
        return Block(self.kind, compression, predictor, bits, dtype)

    def tile(self) -> tuple[int, int] | None:
        """(height, width) of the tiles; None for strips.

        Raises:
            ImageError: they have no size.
        """
        if 324 not in self.page.tags and 322 not in self.page.tags:
            return None
        width, height = self.tags.number(322, 0), self.tags.number(323, 0)
        if not 0 < width <= 65536 or not 0 < height <= 65536:
            raise ImageError("cannot be decoded, the file may be damaged (tiles).")
        return height, width

    def strip(self) -> int:
        """Rows per strip."""
        return max(1, min(self.tags.number(278, self.size[1]), self.size[1]))

    def places(self, stored: Stored) -> list[tuple[int, int]]:
        """Return offset and length of each segment, all that the page must have.

        Raises:
            ImageError: there are too few.
        """
        places = places_of(self.page, self.kind)
        width, height = self.size
        down, over = self.tile() or (self.strip(), width)
        planes = stored.samples if self.separate(stored) else 1
        # Told sizes alone must not cost memory, so they are compared before anything is made.
        if -(-height // down) * -(-width // over) * planes > len(places):
            raise ImageError("cannot be decoded, the file may be damaged (pixels are missing).")
        if down * over > 64 * width * height + 2**20:
            raise ImageError("cannot be decoded, the file may be damaged (tiles).")
        return self._lengths_known(places, stored) if stored.block.compression == NONE else places

    def _lengths_known(
        self, places: list[tuple[int, int]], stored: Stored
    ) -> list[tuple[int, int]]:
        """Fill in the lengths that an old program did not tell, as libtiff does.

        Those that are told but too small stay: what follows may be no pixels.
        """
        width, height = self.size
        down, over = self.tile() or (self.strip(), width)
        samples = 1 if self.separate(stored) else stored.samples
        row = -(-over * samples * stored.block.bits // 8)
        tops = range(0, height, down)
        result = []
        for number, (at, length) in enumerate(places):
            top = tops[number // -(-width // over) % len(tops)]
            full = row * (down if self.tile() else min(down, height - top))
            result.append((at, length or full))
        return result

    def separate(self, stored: Stored) -> bool:
        """Tell whether each sample has a plane of its own."""
        return self.tags.number(284, 1) == 2 and stored.samples > 1

    def decode(
        self, places: list[tuple[int, int]], rows: list[int], stored: Stored
    ) -> list[NDArray[Any]]:
        """Decode segments of one plane to (rows, width, samples) each.

        Args:
            rows: of each of them.
        """
        block = stored.block
        segments = [self.data[at : at + length] for at, length in places]
        if self.tags.number(266, 1) == 2 and block.compression not in CCITT:
            segments = [mirrored(segment) for segment in segments]
        tile = self.tile()
        across = tile[1] if tile else self.size[0]
        decoded: list[Any]
        samples = 1 if self.separate(stored) else stored.samples
        if block.compression == JPEG:
            decoded = unpack_jpeg(segments, self.page, self.kind, rows, across, samples)
        elif block.compression in CCITT:
            decoded = unpack_fax(segments, self.page, self.kind, rows, across)
        else:
            decoded = unpack_segments(segments, block, rows, across, samples)
        return decoded

    def _whole(self, stored: Stored) -> NDArray[Any]:
        """Decode all segments to (H, W, samples) as stored."""
        width, height = self.size
        places, tile = self.places(stored), self.tile()
        areas = list(areas_of((height, width), tile, self.strip()))
        rows = [tile[0] if tile else area[0].stop - area[0].start for area in areas]
        whole = np.empty((height, width, stored.samples), stored.block.dtype)
        separate = self.separate(stored)
        for plane in range(stored.samples if separate else 1):
            target = whole[..., plane : plane + 1] if separate else whole
            first = plane * len(areas)
            for start in range(0, len(areas), TOGETHER):
                some = slice(start, start + TOGETHER)
                part = places[first + start : first + min(start + TOGETHER, len(areas))]
                decoded = self.decode(part, rows[some], stored)
                for area, array in zip(areas[some], decoded, strict=True):
                    put(array, target, area)
        return whole

    def _converted(
        self, photometric: int, stored: NDArray[Any], tags: dict[int, Tag], notes: list[str]
    ) -> NDArray[Any]:
        if photometric == PALETTE:
            table = np.array(self.tags.numbers(320), np.uint16)
            entries = 1 << self.tags.number(258, 1)
            if table.size < 3 * entries:
                raise ImageError("cannot be decoded, the file may be damaged (palette).")
            table = table[: 3 * entries].reshape(3, entries).T
            # Old programs wrote 8 bits; libtiff's tools tell it in the same way.
            colours = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
            notes.append("the palette became RGB.")
            found: NDArray[Any] = colours[stored[..., 0]]
            return found
        if photometric == CMYK:
            profile = tags.pop(ICC).data if ICC in tags else None
            rgb, told, is_srgb = cmyk_to_rgb(stored, profile)
            notes.append(told)
            if not is_srgb:
                return rgb
        else:
            rgb = stored_lab_to_rgb(stored, offset=photometric == ICCLAB)
            notes.append("LAB became sRGB.")
        tags[ICC] = Tag(7, len(srgb_profile()), srgb_profile())
        return rgb


def put(segment: NDArray[Any], target: NDArray[Any], area: tuple[slice, slice]) -> None:
    """Place a decoded segment, cut to what is inside, into (rows, W, samples).

    Raises:
        ImageError: it has another number of samples.
    """
    lines, columns = area
    if segment.shape[2] != target.shape[2]:
        raise ImageError("cannot be decoded, the file may be damaged (samples).")
    inside = (lines.stop - lines.start, columns.stop - columns.start)
    target[lines, columns] = segment[: inside[0], : inside[1]]


def areas_of(
    size: tuple[int, int], tile: tuple[int, int] | None, strip: int
) -> Iterator[tuple[slice, slice]]:
    """List the part of the image (rows, columns) that each strip or tile holds."""
    height, width = size
    down, across = tile or (strip, width)
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield slice(top, min(top + down, height)), slice(left, min(left + across, width))


def mirrored(segment: bytes) -> bytes:
    """Turn the bits of each byte around (FillOrder 2)."""
    bits = np.unpackbits(np.frombuffer(segment, np.uint8).reshape(-1, 1), axis=1)
    return np.packbits(bits[:, ::-1], axis=1).tobytes()
