"""GIF, still and animated: frames composed, denoised as RGB and given palettes of their own.

Source: GIF89a specification. Pillow decodes the pictures. Frames are composed here, as browsers do:
what a disposal clears, and what no frame has covered, is transparent; Pillow paints it in the
background colour. The file is put together here, too: Pillow joins frames that are alike and
loses their timing.
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
_CLEAR, _RESTORE = 2, 3
"""Disposals: to nothing, to what was there before."""
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


@dataclass(frozen=True, slots=True)
class _Picture:
    """One picture of the file, as stored."""

    place: tuple[slice, slice]
    """Rows and columns of the canvas, maybe beyond its border."""
    disposal: int
    clear: int | None
    """The index that is transparent."""
    table: bytes
    interlaced: bool
    packed: bytes

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        rows, columns = self.place
        return columns.stop - columns.start, rows.stop - rows.start

    def pixels(self) -> NDArray[np.uint8]:
        """Decode to (H, W, 4)."""
        width, height = self.size
        if not width or not height:
            raise ImageError("cannot be decoded, the file may be damaged (an empty frame).")
        # A file of this picture alone, whose colours are the indices.
        ramp = np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes()
        head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + ramp
        flags = 0x40 if self.interlaced else 0
        head += struct.pack("<BHHHHB", _IMAGE, 0, 0, width, height, flags)
        # The file may have ended before the empty block that closes the pixels.
        with opened(head + self.packed + bytes((0, _TRAILER)), "GIF") as image:
            indices = np.asarray(image)
        table = np.zeros((256, 4), np.uint8)
        table[:, 3] = 255
        colours = np.frombuffer(self.table, np.uint8).reshape(-1, 3)
        table[: len(colours), :3] = colours
        if self.clear is not None:
            table[self.clear] = 0
        found: NDArray[np.uint8] = table[indices]
        return found


def decode(data: bytes, limit: int) -> ImageFile:
    """Read a GIF file; see `codec.decode_image`."""
    layout, (width, height), pictures, cut = _layout(data)
    # A first picture that is larger than the screen enlarges it; what else is beyond is not seen.
    width = max(width, pictures[0].place[1].stop)
    height = max(height, pictures[0].place[0].stop)
    require_pixels([(width, height)] * len(pictures), limit)
    canvas = np.zeros((height, width, 4), np.uint8)
    frames = []
    for picture in pictures:
        require_pixels([picture.size], limit)
        view = canvas[picture.place]
        before = view.copy() if picture.disposal == _RESTORE else None
        new = picture.pixels()[: view.shape[0], : view.shape[1]]
        np.copyto(view, new, where=new[..., 3:] > 0)
        frames.append(canvas.copy())
        if picture.disposal == _CLEAR:
            view[:] = 0
        elif before is not None:
            view[:] = before
    clear = any((frame[..., 3] < 255).any() for frame in frames)
    if not clear:
        frames = [np.ascontiguousarray(frame[..., :3]) for frame in frames]
    notes = [f"the palette became RGB{' and alpha' * clear}, the result has a new one."]
    if cut:
        notes.append("it ends without a trailer, so pictures may be missing at its end.")
    return ImageFile(frames[0], "GIF", layout, notes=tuple(notes), more=tuple(frames[1:]))


def encode(frames: Sequence[Pixels], like: ImageFile) -> bytes:
    """Write a GIF file, up to 256 colours in each frame; see `codec.encode_image`."""
    layout = like.layout if isinstance(like.layout, GifLayout) else GifLayout()
    height, width = frames[0].shape[:2]
    parts = [b"GIF89a", struct.pack("<HHBBB", width, height, 0x70, 0, layout.aspect)]
    parts += layout.extensions
    # What is transparent must not show the frame before.
    cleared = any(_hidden(frame).any() for frame in frames)
    disposal = _CLEAR if cleared else 1
    for frame, delay in zip(frames, layout.delays, strict=True):
        table, indices, clear = _quantised(frame, reserve=cleared)
        flags = disposal << 2 | (clear is not None)
        parts.append(struct.pack("<BBBBHBB", _EXTENSION, _CONTROL, 4, flags, delay, clear or 0, 0))
        parts.append(struct.pack("<BHHHHB", _IMAGE, 0, 0, width, height, 0x87))
        parts += [table, b"\x08", Image.fromarray(indices).tobytes("gif", "L", 8, 0), b"\0"]
    return b"".join([*parts, bytes((_TRAILER,))])


def losses(frames: Sequence[Pixels]) -> list[str]:
    """Say what pixels of another format lose in a GIF file, one sentence each."""
    told = []
    if any(frame.ndim > 2 for frame in frames):
        told.append("the colours became a palette of at most 256, since GIF has no more.")
    clear = [frame[..., -1] for frame in frames if has_alpha(frame)]
    if any(((alpha > 0) & (alpha < 255)).any() for alpha in clear):
        told.append("partly transparent pixels became opaque or clear, all that GIF knows.")
    return told


def _quantised(frame: Pixels, *, reserve: bool) -> tuple[bytes, NDArray[np.uint8], int | None]:
    """Choose a palette: exact for up to 256 colours, else by median cut, without dither.

    Args:
        reserve: keep an index for transparency, where all are not needed for opaque colours: Pillow
            clears a frame that has none to the background colour.
    """
    whole = planes(frame)
    colour = whole[..., :-1] if has_alpha(frame) else whole
    colour = np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)))
    hidden = _hidden(frame)
    shown = colour.copy()
    shown[hidden] = colour[~hidden][:1] if (~hidden).any() else 0
    packed = (shown.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(2, dtype=np.uint32)
    found, places = np.unique(packed, return_inverse=True)
    room = 255 if hidden.any() or (reserve and found.size != 256) else 256
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
    return table.tobytes(), indices, 255 if room == 255 else None


def _hidden(frame: Pixels) -> NDArray[np.bool_]:
    """Tell which pixels are transparent: GIF knows only that and opaque."""
    if not has_alpha(frame):
        return np.zeros(frame.shape[:2], bool)
    found: NDArray[np.bool_] = frame[..., -1] < 128
    return found


def _layout(data: bytes) -> tuple[GifLayout, tuple[int, int], list[_Picture], bool]:
    """Walk through the blocks of the file.

    Returns:
        The layout, (width, height) of the screen, the pictures, and whether the trailer is missing.

    Raises:
        ImageError: the file ends early.
    """
    if len(data) < 13 or data[:6] not in (b"GIF87a", b"GIF89a"):
        raise ImageError("not a GIF file, or it ends early.")
    width, height, flags, _, aspect = struct.unpack("<HHBBB", data[6:13])
    position = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    common = data[13:position]
    extensions, delays = [], []
    pictures: list[_Picture] = []
    delay, disposal, clear = 0, 0, None
    # Viewers need no trailer where the pictures are whole.
    while not (cut := bool(pictures) and position == len(data)):
        kind = _byte(data, position)
        if kind == _TRAILER:
            break
        if kind == _EXTENSION:
            end = _end_of_blocks(data, position + 2)
            label = _byte(data, position + 1)
            if label == _CONTROL:
                how, delay, index = struct.unpack("<BHB", data[position + 3 : position + 7])
                disposal, clear = how >> 2 & 7, index if how & 1 else None
            elif label in (_COMMENT, _APPLICATION):
                extensions.append(data[position:end])
        elif kind == _IMAGE:
            flags = _byte(data, position + 9)
            start = position + 10 + (3 << (flags & 7) + 1 if flags & 128 else 0)
            end = _end_of_blocks(data, start + 1, may_lack=True)
            left, top, *size = struct.unpack("<4H", data[position + 1 : position + 9])
            place = slice(top, top + size[1]), slice(left, left + size[0])
            table = data[position + 10 : start] or common
            pictures.append(
                _Picture(place, disposal, clear, table, bool(flags & 64), data[start:end])
            )
            delays.append(delay)
            delay, disposal, clear = 0, 0, None
        else:
            raise ImageError("cannot be decoded, the file may be damaged (unknown block).")
        position = end
    if not delays:
        raise ImageError("cannot be decoded, the file may be damaged (it holds no pixels).")
    return GifLayout(tuple(extensions), tuple(delays), aspect), (width, height), pictures, cut


def _byte(data: bytes, position: int) -> int:
    if position >= len(data):
        raise ImageError("the file ends early; it may be damaged.")
    return data[position]


def _end_of_blocks(data: bytes, position: int, *, may_lack: bool = False) -> int:
    """Return where the blocks end; `may_lack`: the file may end instead of the last, empty one."""
    while length := _byte(data, position):
        position += 1 + length
        if may_lack and position == len(data):
            return position
    return position + 1
