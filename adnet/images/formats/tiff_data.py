"""The strips and tiles of a TIFF file: compressed bytes to arrays of samples and back.

The compressions themselves are libtiff's, through Pillow: it is given the segments as if they
were one gray 8-bit image, which keeps every bit whatever the samples are. Prediction, byte order
and odd numbers of bits are NumPy's. Source: TIFF 6.0, sections 3, 9, 13, 14; technical note 3 for
floating point prediction.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from adnet.errors import ImageError
from adnet.images.formats.bits import pack_bits, unpack_bits
from adnet.images.formats.source import Sliced
from adnet.images.formats.tiff_tags import (
    Directory,
    Kind,
    Tag,
    number_tag,
    read_directories,
    values,
    write_directories,
)

Bytes = NDArray[np.uint8]

NONE, CCITT, JPEG, DEFLATE, OLD_DEFLATE = 1, (2, 3, 4), 7, 8, 32946
LOSSLESS = {5: "tiff_lzw", 32773: "packbits", 34925: "lzma", 50000: "zstd"}
"""Compressions of whole bytes that go through libtiff, with Pillow's names."""
_LEVEL = 4
"""Of deflate: 6 takes twice the time for files 1 % smaller."""
WRITABLE = (NONE, DEFLATE, OLD_DEFLATE, *LOSSLESS)

DECODER_ERRORS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError,
                  OverflowError, MemoryError, RuntimeError, zlib.error)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """How the samples of one strip or tile are stored."""

    kind: Kind
    compression: int
    predictor: int
    """1 none, 2 differences, 3 differences of the bytes of floats."""
    bits: int
    dtype: np.dtype[Any]
    """Of the decoded samples, in native byte order."""


def unpack_segments(
    segments: Sequence[bytes], block: Block, rows: Sequence[int], width: int, samples: int
) -> list[NDArray[Any]]:
    """Decode segments of whole bytes.

    Args:
        rows: rows of each segment.
        width: columns of each segment.
        samples: interleaved samples per pixel.

    Returns:
        (rows, width, samples) each.

    Raises:
        ImageError: damaged, or too short.
    """
    length = -(-width * samples * block.bits // 8)
    plain = _decompress(segments, block.compression, rows, length)
    result = []
    for raw, count in zip(plain, rows, strict=True):
        if raw.size < count * length:
            raise ImageError("cannot be decoded, the file may be damaged (pixels are missing).")
        lines = raw[: count * length].reshape(count, length)
        result.append(samples_of(lines, block, width, samples))
    return result


def pack_segments(parts: Sequence[NDArray[Any]], block: Block) -> list[bytes]:
    """Encode (rows, width, samples) each; undoes `unpack_segments`."""
    lines = [_stored(part, block) for part in parts]
    if block.compression == NONE:
        return [part.tobytes() for part in lines]
    if block.compression in (DEFLATE, OLD_DEFLATE):
        return [zlib.compress(part.data, _LEVEL) for part in lines]
    whole = np.concatenate(lines)
    name = LOSSLESS[block.compression]
    file = io.BytesIO()
    size = whole.shape[1] * lines[0].shape[0]
    Image.fromarray(whole).save(file, "TIFF", compression=name, strip_size=size)
    kind, (page,), _ = read_directories(file.getvalue())
    found = segments_of(file.getvalue(), page, kind)
    if len(found) != len(lines):
        raise ImageError(f"TIFF compression {name} cannot be written in these strips.")
    return found


def segments_of(data: Sliced, page: Directory, kind: Kind) -> list[bytes]:
    """Cut the strips or tiles of a page out of the file."""
    return [data[at : at + length] for at, length in places_of(page, kind)]


def places_of(page: Directory, kind: Kind) -> list[tuple[int, int]]:
    """Return offset and length of each strip or tile of a page; 0 for lengths that are not told."""
    for places, lengths in ((324, 325), (273, 279)):
        if places in page.tags:
            found = values(page.tags[places], kind)
            told = values(page.tags[lengths], kind) if lengths in page.tags else ()
            return list(zip(found, (*told, *(0,) * len(found)), strict=False))
    raise ImageError("cannot be decoded, the file may be damaged (it holds no pixels).")


def unpack_jpeg(
    segments: Sequence[bytes],
    page: Directory,
    kind: Kind,
    rows: Sequence[int],
    width: int,
    samples: int,
) -> list[NDArray[Any]]:
    """Decode segments of baseline JPEG; colour comes as RGB, a plane of its own as it is."""
    result = []
    copied: dict[int, Tag] = {
        code: page.tags[code] for code in (262, 347, 530, 532) if code in page.tags
    }
    if samples == 1 and 277 in page.tags and values(page.tags[277], kind)[0] > 1:
        copied[262] = number_tag(kind, 3, 1)
    for segment, count in zip(segments, rows, strict=True):
        array = _through_pillow(segment, kind, (width, count), samples, 7, copied)
        result.append(array.reshape(count, width, -1))
    return result


def unpack_fax(
    segments: Sequence[bytes], page: Directory, kind: Kind, rows: Sequence[int], width: int
) -> list[NDArray[np.uint8]]:
    """Decode segments of CCITT fax compression to 0 and 1, as stored."""
    result = []
    compression = values(page.tags[259], kind)[0]
    copied: dict[int, Tag] = {
        code: page.tags[code] for code in (266, 292, 293) if code in page.tags
    }
    copied[262] = number_tag(kind, 3, 1)
    for segment, count in zip(segments, rows, strict=True):
        bits = _through_pillow(segment, kind, (width, count), 1, compression, copied, 1)
        result.append(bits.astype(np.uint8).reshape(count, width, 1))
    return result


def _decompress(
    segments: Sequence[bytes], compression: int, rows: Sequence[int], length: int
) -> list[Bytes]:
    if compression == NONE:
        return [np.frombuffer(segment, np.uint8) for segment in segments]
    if compression in (DEFLATE, OLD_DEFLATE):
        plain = []
        for segment, count in zip(segments, rows, strict=True):
            try:
                raw = zlib.decompressobj().decompress(segment, count * length)
            except zlib.error as err:
                raise ImageError(f"cannot be decoded, the file may be damaged ({err}).") from err
            plain.append(np.frombuffer(raw, np.uint8))
        return plain
    whole = _through_libtiff(segments, compression, rows, length)
    ends = np.cumsum(rows)[:-1]
    return [np.ascontiguousarray(part).reshape(-1) for part in np.split(whole, ends)]


def _through_libtiff(
    segments: Sequence[bytes], compression: int, rows: Sequence[int], length: int
) -> Bytes:
    """Let libtiff unpack the segments as one gray image of 8 bits; only the last may be shorter."""
    kind = Kind()
    page = _plain_page(kind, (length, sum(rows)), 1, compression, 8)
    page.tags[262] = number_tag(kind, 3, 1)
    page.tags[278] = number_tag(kind, 4, rows[0])
    return _open(write_directories(kind, [(page, (273, 279), segments)])).reshape(-1, length)


def _through_pillow(
    segment: bytes, kind: Kind, size: tuple[int, int], samples: int, compression: int,
    tags: dict[int, Tag], bits: int = 8,
) -> NDArray[Any]:  # fmt: skip
    kind = Kind(kind.order)  # Pillow has no big-endian BigTIFF
    page = _plain_page(kind, size, samples, compression, bits)
    page.tags |= tags
    page.tags[278] = number_tag(kind, 4, size[1])
    return _open(write_directories(kind, [(page, (273, 279), [segment])]))


def _plain_page(
    kind: Kind, size: tuple[int, int], samples: int, compression: int, bits: int
) -> Directory:
    tags = {256: size[0], 257: size[1], 259: compression, 277: samples}
    page = Directory({code: number_tag(kind, 4, value) for code, value in tags.items()})
    page.tags[259] = number_tag(kind, 3, compression)
    page.tags[277] = number_tag(kind, 3, samples)
    page.tags[258] = number_tag(kind, 3, *[bits] * samples)
    return page


def _open(data: bytes) -> NDArray[Any]:
    try:
        # Not Image.open: its guard against bombs would count bytes for pixels; sizes are checked.
        with TiffImagePlugin.TiffImageFile(io.BytesIO(data)) as image:
            image.load()
            return np.asarray(image)
    except DECODER_ERRORS as err:
        raise ImageError(f"cannot be decoded, the file may be damaged ({err}).") from err


def samples_of(lines: Bytes, block: Block, width: int, samples: int) -> NDArray[Any]:
    """Rows of stored bytes to (rows, width, samples)."""
    count = width * samples
    if block.predictor == 3:
        return _undo_float_prediction(lines, block, width, samples)
    if block.bits % 8:
        return unpack_bits(lines, block.bits, count).reshape(-1, width, samples)
    stored = np.ascontiguousarray(lines).view(block.dtype.newbyteorder(block.kind.order))
    array: NDArray[Any] = stored.astype(block.dtype).reshape(-1, width, samples)
    if block.predictor == 2:
        whole = array.view(f"u{array.dtype.itemsize}")
        array = np.add.accumulate(whole, axis=1, dtype=whole.dtype).view(block.dtype)
    return array


def _stored(part: NDArray[Any], block: Block) -> Bytes:
    """(rows, width, samples) to rows of stored bytes."""
    rows = part.shape[0]
    if block.predictor == 3:
        return _float_prediction(part, block)
    if block.bits % 8:
        return pack_bits(np.ascontiguousarray(part).reshape(rows, -1), block.bits)
    array = np.ascontiguousarray(part)
    if block.predictor == 2:
        array = array.view(f"u{array.dtype.itemsize}").copy()
        array[:, 1:] -= array[:, :-1].copy()
    order = array.dtype.newbyteorder(block.kind.order)
    return np.ascontiguousarray(array.astype(order)).view(np.uint8).reshape(rows, -1)


def _float_prediction(part: NDArray[Any], block: Block) -> Bytes:
    rows, width, samples = part.shape
    size = block.dtype.itemsize
    high_first = np.ascontiguousarray(part.astype(block.dtype.newbyteorder(">")))
    # All high bytes of a row, then all second bytes, and so on; then differences across the row.
    shuffled = high_first.view(np.uint8).reshape(rows, width * samples, size).transpose(0, 2, 1)
    flat = np.ascontiguousarray(shuffled).reshape(rows, -1, samples)
    flat[:, 1:] -= flat[:, :-1].copy()
    return flat.reshape(rows, -1)


def _undo_float_prediction(lines: Bytes, block: Block, width: int, samples: int) -> NDArray[Any]:
    rows, size = lines.shape[0], block.dtype.itemsize
    flat = np.add.accumulate(lines.reshape(rows, -1, samples), axis=1, dtype=np.uint8)
    high_first = flat.reshape(rows, size, width * samples).transpose(0, 2, 1)
    stored = np.ascontiguousarray(high_first).reshape(rows, -1)
    array = stored.view(block.dtype.newbyteorder(">")).astype(block.dtype)
    result: NDArray[Any] = array.reshape(rows, width, samples)
    return result
