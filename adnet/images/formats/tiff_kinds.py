"""Which pages of TIFF files can be read: kinds of colour, depths, compressions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adnet.errors import ImageError
from adnet.images.formats.tiff_data import CCITT, JPEG, WRITABLE, Block
from adnet.images.formats.tiff_tags import Directory, Kind, values

WHITE_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 2, 3, 5, 6, 8, 9
PHOTOMETRICS = {0: 1, 1: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, CIELAB: 3, ICCLAB: 3}
"""Kinds of colour that can be read, and their samples without extra ones."""
CONVERTED = (PALETTE, CMYK, CIELAB, ICCLAB)
_NAMES = {4: "a transparency mask", 10: "ITU LAB", 32844: "LogL", 32845: "LogLuv"}
_MOST_SAMPLES = 64
_PREDICTED = (5, 8, 32946, 34925, 50000)
"""Compressions that a predictor goes with."""
_CFA, _LINEAR_RAW, _DNG_VERSION = 32803, 34892, 50706


@dataclass(frozen=True, slots=True)
class PageTags:
    """The numbers in a page's tags."""

    kind: Kind
    page: Directory

    def numbers(self, code: int) -> tuple[int, ...]:
        """Return the whole numbers in a tag; none where it is missing or of another type."""
        tag = self.page.tags.get(code)
        return values(tag, self.kind) if tag is not None and tag.type in (1, 3, 4, 16) else ()

    def number(self, code: int, default: int) -> int:
        """Return the first number in a tag."""
        return (*self.numbers(code), default)[0]


@dataclass(frozen=True, slots=True)
class Stored:
    """How the samples of a page are stored."""

    photometric: int
    samples: int
    block: Block


def check_page(tags: PageTags) -> Stored:
    """Find out how a page is stored.

    Raises:
        ImageError: of a kind that is not supported.
    """
    photometric = tags.number(262, 1)
    if _DNG_VERSION in tags.page.tags or photometric in (_CFA, _LINEAR_RAW):
        raise ImageError(
            "is camera raw, which is not supported. Develop it to a 16-bit TIFF first, for "
            "example with darktable-cli or dcraw -T -6."
        )
    if photometric not in PHOTOMETRICS:
        name = _NAMES.get(photometric, f"of an unknown kind ({photometric})")
        raise ImageError(f"holds a page that is {name}, which is not supported.")
    samples = tags.number(277, 1)
    bits, dtype = _depth(tags, samples, PHOTOMETRICS[photometric])
    whole_bytes = dtype.kind == "u" and bits in (8, 16)
    if (photometric == CMYK and (bits, dtype.kind) != (8, "u")) or (
        photometric in (CIELAB, ICCLAB) and not whole_bytes
    ) or (photometric == PALETTE and dtype.kind != "u"):  # fmt: skip
        raise ImageError(
            f"holds CMYK, LAB or palette colours with {_bits(bits)} per sample, which is "
            "not supported. Convert it to RGB first."
        )
    compression, predictor = tags.number(259, 1), tags.number(317, 1)
    if compression not in _PREDICTED:
        predictor = 1  # as libtiff reads it, whatever the tag says
    predicted = {1: True, 2: bits % 8 == 0, 3: dtype.kind == "f"}
    known = compression in WRITABLE and predicted.get(predictor, False)
    known |= compression in CCITT and (bits, samples) == (1, 1)
    if photometric == YCBCR and compression == JPEG and tags.number(284, 1) == 2:
        raise ImageError(
            "holds YCbCr in JPEG with a plane for each of the three, which is not supported. Save "
            "it with deflate or LZW compression."
        )
    known |= compression == JPEG and bits == 8 and _in_jpeg(photometric, samples, tags)
    if not known:
        raise ImageError(
            f"TIFF compression {compression} (predictor {predictor}, {_bits(bits)}, kind of colour "
            f"{photometric}) is not supported. Save it with deflate or LZW compression."
        )
    if photometric == YCBCR and compression != JPEG and tags.numbers(530) != (1, 1):
        raise ImageError("holds subsampled YCbCr without JPEG, which is not supported. Convert it.")
    return Stored(photometric, samples, Block(tags.kind, compression, predictor, bits, dtype))


def _in_jpeg(photometric: int, samples: int, tags: PageTags) -> bool:
    """Tell what Pillow's libtiff takes out of JPEG as it is."""
    if tags.number(284, 1) == 2 and samples > 1:
        return photometric in (0, 1, RGB, CMYK)  # each plane is a gray JPEG
    kinds = {0: 1, 1: 1, RGB: samples if samples < 5 else 3, YCBCR: 3, CMYK: 4}
    return kinds.get(photometric) == samples


def _depth(tags: PageTags, samples: int, least: int) -> tuple[int, np.dtype[np.generic]]:
    depths = set(tags.numbers(258)[:samples] or (1,))
    formats = set(tags.numbers(339)[:samples] or (1,))
    if not least <= samples <= _MOST_SAMPLES or len(depths) > 1 or len(formats) > 1:
        raise ImageError(
            f"holds samples of {_bits(*sorted(depths))}, {samples} per pixel; expected one depth "
            f"for all, and {least} to {_MOST_SAMPLES} per pixel. Convert it to 8 or 16 bits first."
        )
    bits, format_ = max(depths), max(formats)
    if format_ == 3 and bits in (16, 32, 64):
        return bits, np.dtype(f"f{bits // 8}")
    if format_ in (1, 4) and 1 <= bits <= 16:
        return bits, np.dtype(np.uint8 if bits <= 8 else np.uint16)
    name = {2: "signed integer", 3: "float"}.get(format_, "integer")
    raise ImageError(
        f"holds {name} samples of {_bits(bits)}; supported are unsigned integers up to 16 bits and "
        "floats of 16, 32 and 64. Convert it first."
    )


def _bits(*depths: int) -> str:
    return "1 bit" if depths == (1,) else f"{' and '.join(map(str, depths))} bits"
