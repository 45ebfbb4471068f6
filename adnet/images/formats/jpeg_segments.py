"""JPEG files as lists of segments.

Sources: ITU-T T.81, annex B; JFIF 1.02; Exif 2.32, section 4.7; ICC.1, annex B.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from adnet.errors import ImageError
from adnet.images.formats.image_file import Portable

MAX_SEGMENT = 65_533
"""Bytes that fit into one segment."""

_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
_XMP_MORE, _IPTC, _PAIR = b"http://ns.adobe.com/xmp/extension/\0", b"Photoshop 3.0\0", b"MPF\0"
COLOUR_MARKS = (b"JFIF\0", b"Adobe")
"""How segments begin that tell a decoder which colours the pixels are."""
_PART = MAX_SEGMENT - len(_ICC) - 2
_APP0, _APP1, _APP2, _APP13, _APP14, _COMMENT = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE
_SCAN, _END = 0xDA, 0xD9
_BARE = (0x01, *range(0xD0, 0xD9))
"""Markers without a length."""


class Segment(NamedTuple):
    """One segment of a JPEG file."""

    marker: int
    data: bytes

    @property
    def is_metadata(self) -> bool:
        """An application's segment or a comment."""
        return 0xE0 <= self.marker <= 0xEF or self.marker == _COMMENT


def split_segments(data: bytes) -> tuple[list[Segment], bytes, int]:
    """Cut a JPEG file in two.

    Returns:
        The segments before the first scan; all from that scan to the end marker; and how many
        bytes follow the end.

    Raises:
        ImageError: not a JPEG file, or it ends before the scan.
    """
    if data[:2] != b"\xff\xd8":
        raise ImageError("not a JPEG file.")
    segments = []
    position = 2
    while True:
        marker, position = _marker(data, position)
        if marker == _SCAN:
            break
        if marker in _BARE:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        if length < 2 or position + length > len(data) or marker == _END:
            raise ImageError("the file ends early; it may be damaged.")
        segments.append(Segment(marker, data[position + 2 : position + length]))
        position += length
    start = position - 2
    end = _end_of_scans(data, position)
    scans = data[start:end]
    return segments, scans, len(data) - end


def join_segments(segments: Iterable[Segment], scans: bytes) -> bytes:
    """Make a JPEG file."""
    parts = [b"\xff\xd8"]
    for marker, data in segments:
        parts += [struct.pack(">BBH", 0xFF, marker, len(data) + 2), data]
    return b"".join([*parts, scans])


def carried(segments: Iterable[Segment]) -> tuple[list[Segment], list[str]]:
    """Choose the metadata that is right for the new pixels, as it is; and what was left out.

    Adobe's APP14 tells how the old pixels were stored, so it is no metadata.
    """
    kept, notes = [], []
    for segment in segments:
        if segment.marker == _APP2 and segment.data.startswith(_PAIR):
            notes.append("the further pictures beside the main one (MPO) were left out.")
        elif segment.is_metadata and not (
            segment.marker == _APP14 and segment.data.startswith(b"Adobe")
        ):
            kept.append(segment)
    return kept, notes


def read_portable(segments: Iterable[Segment]) -> Portable:
    """Find the metadata that other formats have a place for."""
    exif = xmp = dpi = None
    parts: dict[int, bytes] = {}
    for marker, data in segments:
        if marker == _APP1 and data.startswith(_EXIF):
            exif = exif or data[len(_EXIF) :]
        elif marker == _APP1 and data.startswith(_XMP):
            xmp = xmp or data[len(_XMP) :]
        elif is_icc(Segment(marker, data)) and len(data) > len(_ICC) + 2:
            parts.setdefault(data[len(_ICC)], data[len(_ICC) + 2 :])
        elif marker == _APP0 and data.startswith(b"JFIF\0") and len(data) >= 12:
            unit, across, down = struct.unpack(">BHH", data[7:12])
            if unit in (1, 2) and across and down:
                factor = 2.54 if unit == 2 else 1.0
                dpi = (across * factor, down * factor)
    icc = b"".join(parts[number] for number in sorted(parts)) or None
    return Portable(icc, exif, xmp, dpi)


def portable_segments(portable: Portable) -> list[Segment]:
    """Make the segments that hold `portable`; what does not fit was found by `too_long`."""
    left_out = too_long(portable)
    unit, density = 0, [1, 1]
    if portable.dpi and "resolution" not in left_out:
        unit, density = 1, [round(value) for value in portable.dpi]
    found = [Segment(_APP0, b"JFIF\0" + struct.pack(">BBBHHBB", 1, 1, unit, *density, 0, 0))]
    if portable.exif and "Exif" not in left_out:
        found.append(Segment(_APP1, _EXIF + portable.exif))
    if portable.xmp and "XMP" not in left_out:
        found.append(Segment(_APP1, _XMP + portable.xmp))
    if portable.icc and "ICC profile" not in left_out:
        found += icc_segments(portable.icc)
    return found


def icc_segments(profile: bytes) -> list[Segment]:
    """Cut an ICC profile into as many segments as it needs."""
    parts = [profile[at : at + _PART] for at in range(0, len(profile), _PART)]
    return [
        Segment(_APP2, _ICC + bytes((number, len(parts))) + part)
        for number, part in enumerate(parts, 1)
    ]


def is_icc(segment: Segment) -> bool:
    """Tell whether a segment holds a part of an ICC profile."""
    return segment.marker == _APP2 and segment.data.startswith(_ICC)


def too_long(portable: Portable) -> list[str]:
    """Name what does not fit into a JPEG file."""
    limits = (
        ("Exif", portable.exif, MAX_SEGMENT - len(_EXIF)),
        ("XMP", portable.xmp, MAX_SEGMENT - len(_XMP)),
        ("ICC profile", portable.icc, 255 * _PART),
    )
    told = [name for name, block, most in limits if block and len(block) > most]
    if portable.dpi and not all(1 <= round(value) <= 65535 for value in portable.dpi):
        told.append("resolution")
    return told


def only_jpeg_has(segments: Sequence[Segment]) -> list[str]:
    """Name the metadata that no other format has a place for."""
    names = {_APP13: "JPEG's IPTC", _COMMENT: "JPEG comments", _APP0: ""}
    told = []
    for segment in segments:
        known = segment.data.startswith((_EXIF, _XMP, b"JFIF\0", b"JFXX\0")) or is_icc(segment)
        if not known:
            told.append(names.get(segment.marker) or f"JPEG's APP{segment.marker - 0xE0}")
    return list(dict.fromkeys(told))


def look_segments(segments: Iterable[Segment], exif: bytes | None) -> list[Segment]:
    """Keep what the image would look different without: density, profile, `exif`."""
    kept = [one for one in segments if is_icc(one) or one.data.startswith(b"JFIF\0")]
    return [*kept, Segment(_APP1, _EXIF + exif)] if exif else kept


def _marker(data: bytes, position: int) -> tuple[int, int]:
    """Return the next marker and where its contents begin; fill bytes and garbage are skipped."""
    position = data.find(b"\xff", position)
    while 0 <= position < len(data) and data[position] == 0xFF:
        position += 1
    if position < 0 or position >= len(data):
        raise ImageError("the file ends early; it may be damaged.")
    return data[position], position + 1


def _end_of_scans(data: bytes, position: int) -> int:
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return len(data)
        marker = data[position + 1]
        if marker == _END:
            return position + 2
        if marker in (0x00, 0xFF) or marker in _BARE:
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
