"""TIFF by window: its tiles or strips are decoded where a window needs them (tifffile)."""

from __future__ import annotations

import math
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from adnet import storage
from adnet.errors import ImageError
from adnet.images.float_range import parse_no_data
from adnet.runtime.gigapixel.grid import Place
from adnet.runtime.gigapixel.source import Carried, require_kind

_CACHE = 128 << 20
"""Bytes of decoded tiles or strips that are kept: neighbouring windows share them."""
_SEGMENT = 256 << 20
"""Bytes of the largest tile or strip that is decoded."""
_GRAY, _RGB, _YCBCR, _JPEG = 1, 2, 6, 7
_TEXTS = (269, 270, 271, 272, 285, 315, 33432)
"""DocumentName, ImageDescription, Make, Model, PageName, Artist, Copyright."""


class TiffSource:
    """The first page of a TIFF, tiled or in strips; see `Source`.

    Raises:
        ImageError: it is damaged, or of a kind that is not read by window.
    """

    def __init__(self, place: str) -> None:
        self._place = self.pixels = place
        self._file: Any = None
        try:
            if storage.is_address(place):
                self._file = storage.open_for_reading(place)
                self._tiff = tifffile.TiffFile(self._file)
            else:
                self._tiff = tifffile.TiffFile(place)
            page = self._tiff.pages.first
            self._page: Any = page
            self.dtype = np.dtype(page.dtype or "V1").newbyteorder("=")
            self._planar = page.planarconfig == 2 and page.samplesperpixel > 1
            shape = page.shape
            self.shape: tuple[int, ...] = (*shape[1:], shape[0]) if self._planar else shape
            self._require_kind()
            self.carried = self._carry()
            self.notes = self._note()
        except (tifffile.TiffFileError, OSError, ValueError, KeyError, IndexError) as err:
            self.close()
            told = str(err) or type(err).__name__
            raise ImageError(f"{place}: cannot be read as TIFF: {told}.") from err
        except BaseException:
            self.close()
            raise
        self._cache: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._held = 0

    def read(self, place: Place) -> NDArray[Any]:
        """See `Source`."""
        rows, columns = place
        planes = self.shape[2] if len(self.shape) == 3 else 1
        out = np.empty((rows.stop - rows.start, columns.stop - columns.start, planes), self.dtype)
        try:
            if self._is_plain():
                self._read_rows(place, out)
            else:
                self._read_segments(place, out)
        except ImageError:
            raise
        except Exception as err:  # every codec has its own errors
            raise ImageError(
                f"{self._place}: cannot be decoded at rows {rows.start} to {rows.stop}, columns "
                f"{columns.start} to {columns.stop}, the file may be damaged "
                f"({str(err) or type(err).__name__})."
            ) from err
        return out if len(self.shape) == 3 else out[..., 0]

    def close(self) -> None:
        """See `Source`."""
        with suppress(AttributeError):
            self._tiff.close()
        if self._file is not None:
            self._file.close()

    def _require_kind(self) -> None:
        page, place = self._page, self._place
        require_kind(place, self.shape, self.dtype)
        bits = page.bitspersample
        if bits != 8 * self.dtype.itemsize:
            raise ImageError(f"{place}: samples of {bits} bits are not read by chunk.")
        photometric = int(page.photometric)
        ycbcr_in_jpeg = photometric == _YCBCR and int(page.compression) == _JPEG
        if photometric not in (_GRAY, _RGB) and not ycbcr_in_jpeg:
            name = getattr(page.photometric, "name", photometric)
            raise ImageError(
                f"{place}: colours stored as {name} are not read by chunk, only gray with black at "
                "0, RGB, and YCbCr in JPEG. Convert it first."
            )
        if (self.shape[2] if len(self.shape) == 3 else 1) < (1 if photometric == _GRAY else 3):
            raise ImageError(f"{place}: {self.shape[2]} planes are no RGB.")
        same = [one for one in self._tiff.pages[1:64] if _shape(one) == page.shape]
        if same:
            raise ImageError(
                f"{place}: is a stack of {len(self._tiff.pages)} pages of one size; one image is "
                "denoised by chunk. Split it into files first."
            )
        if not self._is_plain():
            size = math.prod(self._segment_shape()) * self.dtype.itemsize
            if size > _SEGMENT:
                raise ImageError(
                    f"{place}: is stored in strips or tiles of {size / 1e6:.0f} MB, which must be "
                    "decoded as a whole. Convert it to a tiled TIFF first, for example with 'vips "
                    "tiffsave IN OUT --tile --bigtiff'."
                )

    def _segment_shape(self) -> tuple[int, ...]:
        page = self._page
        if page.is_tiled:
            return page.tilelength, page.tilewidth, 1 if self._planar else page.samplesperpixel
        rows = min(page.rowsperstrip, self.shape[0])
        return rows, self.shape[1], 1 if self._planar else page.samplesperpixel

    def _is_plain(self) -> bool:
        """Tell whether the rows lie in the file one after the other."""
        page = self._page
        plain = page.is_contiguous and int(page.compression) == 1 and not page.is_tiled
        return bool(plain and not self._planar and page.fillorder == 1 and page.predictor == 1)

    def _read_rows(self, place: Place, out: NDArray[Any]) -> None:
        rows, columns = place
        handle, page = self._tiff.filehandle, self._page
        stored = self.dtype.newbyteorder(self._tiff.byteorder)
        pixel = out.shape[2] * self.dtype.itemsize
        for row in range(rows.start, rows.stop):
            handle.seek(page.dataoffsets[0] + (row * self.shape[1] + columns.start) * pixel)
            data = handle.read(out.shape[1] * pixel)
            out[row - rows.start] = np.frombuffer(data, stored).reshape(out.shape[1:])

    def _read_segments(self, place: Place, out: NDArray[Any]) -> None:
        high, wide, _ = self._segment_shape()
        across = -(-self.shape[1] // wide)
        of_plane = -(-self.shape[0] // high) * across
        rows, columns = place
        for plane in range(out.shape[2] if self._planar else 1):
            target = out[..., plane : plane + 1] if self._planar else out
            for down in range(rows.start // high, -(-rows.stop // high)):
                for right in range(columns.start // wide, -(-columns.stop // wide)):
                    segment = self._segment(plane * of_plane + down * across + right)
                    _paste(segment, (down * high, right * wide), target, place)

    def _segment(self, index: int) -> NDArray[Any]:
        """Decode a tile or strip to (h, w, C), cut to the image."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        page = self._page
        handle = self._tiff.filehandle
        count = page.databytecounts[index]
        data = None
        if count:  # else it is not stored: TIFF readers take that as zeros
            handle.seek(page.dataoffsets[index])
            data = handle.read(count)
            if len(data) != count:
                raise ImageError(f"{self._place}: the file is cut short; pixels are missing.")
        decoded, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
        if decoded is None:
            decoded = np.zeros(shape, self.dtype)
        found: NDArray[Any] = decoded[0, : shape[1], : shape[2]].astype(self.dtype, copy=False)
        self._cache[index] = found
        self._held += found.nbytes
        while self._held > _CACHE and len(self._cache) > 1:
            self._held -= self._cache.popitem(last=False)[1].nbytes
        return found

    def _carry(self) -> Carried:
        page = self._page
        tags = {tag.code: tag.value for tag in page.tags}
        resolution = None
        if 282 in tags and 283 in tags:
            pairs = [tags[code] for code in (282, 283)]
            if all(isinstance(pair, tuple) and len(pair) == 2 and pair[1] for pair in pairs):
                resolution = (pairs[0][0] / pairs[0][1], pairs[1][0] / pairs[1][1])
        extra = [int(one) for one in page.extrasamples or ()]
        return Carried(
            resolution=resolution,
            unit=int(tags.get(296, 2)),
            profile=tags.get(34675),
            orientation=int(tags.get(274, 1)),
            alpha=extra[-1] if extra else None,
            no_data=parse_no_data(str(tags.get(42113)), self.dtype),
            texts={code: tags[code] for code in _TEXTS if isinstance(tags.get(code), str)},
        )

    def _note(self) -> list[str]:
        others = len(self._tiff.pages) - 1
        notes = []
        if others or self._page.subifds:
            notes.append("the first page is denoised; reduced copies and other pages are left out.")
        if any(code in self._page.tags for code in (700, 33723, 34377, 34665, 34853)):
            notes.append("Exif, GPS, XMP, IPTC and Photoshop's blocks are left out by chunk.")
        return notes


def _paste(segment: NDArray[Any], corner: tuple[int, int], out: NDArray[Any], place: Place) -> None:
    """Put what a decoded tile has of a window into it."""
    here, there = [], []
    for start, length, window in zip(corner, segment.shape, place, strict=False):
        first, last = max(start, window.start), min(start + length, window.stop)
        here.append(slice(first - window.start, last - window.start))
        there.append(slice(first - start, last - start))
    out[tuple(here)] = segment[tuple(there)]


def _shape(page: Any) -> tuple[int, ...] | None:
    return getattr(page, "shape", None)
