"""GIF, still and animated: frames composed, denoised as RGB and given palettes of their own.

Source: GIF89a specification. Pillow composes the frames; the file is put together here, because
Pillow joins frames that are alike and loses their timing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats.image_file import ImageFile, Pixels, has_alpha, planes, require_pixels
from adnet.images.formats.through_pillow import opened

MAX_SIDE = 65_535

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL, _COMMENT, _APPLICATION = 0xF9, 0xFE, 0xFF
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


@dataclass(frozen=True, slots=True)
class GifLayout:
    """What a GIF file holds beside its pixels."""

    extensions: tuple[bytes, ...] = ()
    """Comments and application extensions, whole: the number of plays, XMP, ICC."""
    delays: tuple[int, ...] = (0,)
    """Of each frame, in hundredths of a second."""
    aspect: int = 0

    @property
    def only_here(self) -> list[str]:
        """Extensions that only GIF has."""
        kinds = {block[1] for block in self.extensions if block[3:14] not in _LOOPS}
        names = {_COMMENT: "GIF comments", _APPLICATION: "GIF application extensions"}
        return [names[kind] for kind in sorted(kinds)]

    def stripped(self) -> GifLayout:
        """Keep the number of plays."""
        kept = (*_LOOPS, b"ICCRGBG1012")
        found = tuple(block for block in self.extensions if block[3:14] in kept)
        return replace(self, extensions=found)


def decode(data: bytes, limit: int) -> ImageFile:
    """Read a GIF file; see `codec.decode_image`."""
    layout, size = _layout(data)
    count = len(layout.delays)
    require_pixels([size] * count, limit)
    frames = []
    with opened(data, "GIF") as image:
        require_pixels([image.size] * count, limit)
        for number in range(count):
            image.seek(number)
            frames.append(np.array(image.convert("RGBA")))
    clear = any((frame[..., 3] < 255).any() for frame in frames)
    if not clear:
        frames = [np.ascontiguousarray(frame[..., :3]) for frame in frames]
    notes = (f"the palette became RGB{' and alpha' * clear}, the result has a new one.",)
    return ImageFile(frames[0], "GIF", layout, notes=notes, more=tuple(frames[1:]))


def encode(frames: Sequence[Pixels], like: ImageFile) -> bytes:
    """Write a GIF file, up to 256 colours in each frame; see `codec.encode_image`."""
    layout = like.layout if isinstance(like.layout, GifLayout) else GifLayout()
    height, width = frames[0].shape[:2]
    parts = [b"GIF89a", struct.pack("<HHBBB", width, height, 0x70, 0, layout.aspect)]
    parts += layout.extensions
    for frame, delay in zip(frames, layout.delays, strict=True):
        table, indices, clear = _quantised(frame)
        flags, index = (0b1001, clear) if clear is not None else (0b0100, 0)
        parts.append(struct.pack("<BBBBHBB", _EXTENSION, _CONTROL, 4, flags, delay, index, 0))
        parts.append(struct.pack("<BHHHHB", _IMAGE, 0, 0, width, height, 0x87))
        parts += [table, b"\x08", Image.fromarray(indices).tobytes("gif", "L", 8, 0), b"\0"]
    return b"".join([*parts, bytes((_TRAILER,))])


def _quantised(frame: Pixels) -> tuple[bytes, NDArray[np.uint8], int | None]:
    """Choose a palette: exact for up to 256 colours, else by median cut, without dither."""
    whole = planes(frame)
    colour = whole[..., :-1] if has_alpha(frame) else whole
    colour = np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)))
    # GIF knows only transparent and opaque.
    hidden = whole[..., -1] < 128 if has_alpha(frame) else np.zeros(whole.shape[:2], bool)
    room = 255 if hidden.any() else 256
    shown = colour.copy()
    shown[hidden] = colour[~hidden][:1] if (~hidden).any() else 0
    packed = (shown.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(2, dtype=np.uint32)
    found, places = np.unique(packed, return_inverse=True)
    table = np.zeros((256, 3), np.uint8)
    if found.size <= room:
        table[: found.size] = found[:, None] >> np.array([16, 8, 0], np.uint32) & 255
        indices = places.reshape(packed.shape).astype(np.uint8)
    else:
        image = Image.fromarray(shown).quantize(
            room, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE
        )
        colours = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[:room]
        table[: len(colours)] = colours
        indices = np.array(image)
    indices[hidden] = 255
    return table.tobytes(), indices, 255 if hidden.any() else None


def _layout(data: bytes) -> tuple[GifLayout, tuple[int, int]]:
    """Walk through the blocks of the file.

    Raises:
        ImageError: the file ends early.
    """
    if len(data) < 13 or data[:6] not in (b"GIF87a", b"GIF89a"):
        raise ImageError("not a GIF file, or it ends early.")
    width, height, flags, _, aspect = struct.unpack("<HHBBB", data[6:13])
    position = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    extensions, delays = [], []
    delay = 0
    while True:
        kind = _byte(data, position)
        if kind == _TRAILER:
            break
        if kind == _EXTENSION:
            end = _end_of_blocks(data, position + 2)
            label = _byte(data, position + 1)
            if label == _CONTROL:
                delay = int.from_bytes(data[position + 4 : position + 6], "little")
            elif label in (_COMMENT, _APPLICATION):
                extensions.append(data[position:end])
        elif kind == _IMAGE:
            flags = _byte(data, position + 9)
            table = 3 << (flags & 7) + 1 if flags & 128 else 0
            end = _end_of_blocks(data, position + 11 + table)
            delays.append(delay)
            delay = 0
        else:
            raise ImageError("cannot be decoded, the file may be damaged (unknown block).")
        position = end
    if not delays:
        raise ImageError("cannot be decoded, the file may be damaged (it holds no pixels).")
    return GifLayout(tuple(extensions), tuple(delays), aspect), (width, height)


def _byte(data: bytes, position: int) -> int:
    if position >= len(data):
        raise ImageError("the file ends early; it may be damaged.")
    return data[position]


def _end_of_blocks(data: bytes, position: int) -> int:
    while length := _byte(data, position):
        position += 1 + length
    return position + 1
