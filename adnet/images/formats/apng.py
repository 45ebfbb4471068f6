"""The frames of an animated PNG. Source: PNG specification, third edition, sections 11.3.6, 12.6.

Frames are composed as a viewer shows them, denoised whole and written back whole: a frame that
changes only a part of the canvas would have seams at its border.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ImageError
from adnet.images.formats.image_file import Pixels, require_pixels
from adnet.images.formats.png_chunks import Chunk

Decode = Callable[[bytes, tuple[int, int]], NDArray[Any]]
"""Compressed rows and (width, height) to (H, W, C)."""


@dataclass(frozen=True, slots=True)
class Animation:
    """Timing of an animated PNG."""

    plays: int
    """0: for ever."""
    delays: tuple[tuple[int, int], ...]
    """Seconds of each frame as numerator and denominator."""
    still: bool
    """The first picture is for viewers without animation and no frame of it."""

    def control(self, pictures: int) -> Chunk:
        """Make the chunk that announces the animation."""
        return Chunk(b"acTL", struct.pack(">II", pictures - self.still, self.plays))


@dataclass(frozen=True, slots=True)
class _Frame:
    size: tuple[int, int]
    offset: tuple[int, int]
    delay: tuple[int, int]
    dispose: int
    blend: int


def read_frames(
    chunks: Sequence[Chunk], canvas: tuple[int, int], limit: int, decode: Decode
) -> tuple[Animation, list[NDArray[Any]]]:
    """Decode and compose all frames.

    Args:
        canvas: (width, height).

    Returns:
        The timing, and (H, W, C) of each picture; the still picture first where there is one.

    Raises:
        ImageError: damaged, or more than `limit` pixels in all.
    """
    frames, packed, plays = _collect(chunks, canvas)
    still = frames[0] is None
    require_pixels([canvas] * len(frames), limit)
    moving = [frame for frame in frames if frame is not None]
    pictures = [decode(packed[0], canvas)] if still else []
    streams = packed[1:] if still else packed
    parts = (decode(data, frame.size) for data, frame in zip(streams, moving, strict=True))
    pictures += _compose(moving, parts, canvas)
    widest = max(picture.shape[2] for picture in pictures)
    pictures = [
        picture if picture.shape[2] == widest else _with_alpha(picture) for picture in pictures
    ]
    return Animation(plays, tuple(frame.delay for frame in moving), still), pictures


def write_frames(
    frames: Sequence[Pixels], animation: Animation, pack: Callable[[Pixels], bytes]
) -> list[Chunk]:
    """Make the chunks of all pictures, each of the whole canvas."""
    chunks: list[Chunk] = []
    number = 0
    height, width = frames[0].shape[:2]
    delays = iter(animation.delays)
    for at, frame in enumerate(frames):
        if at or not animation.still:
            control = struct.pack(">5I2H2B", number, width, height, 0, 0, *next(delays), 0, 0)
            chunks.append(Chunk(b"fcTL", control))
            number += 1
        data = pack(frame)
        if at == 0:
            chunks.append(Chunk(b"IDAT", data))
        else:
            chunks.append(Chunk(b"fdAT", struct.pack(">I", number) + data))
            number += 1
    return chunks


def _collect(
    chunks: Sequence[Chunk], canvas: tuple[int, int]
) -> tuple[list[_Frame | None], list[bytes], int]:
    frames: list[_Frame | None] = []
    streams: list[list[bytes]] = []
    plays = 0
    for kind, data in chunks:
        if kind == b"acTL" and len(data) == 8:
            plays = struct.unpack(">II", data)[1]
        elif kind == b"fcTL":
            frames.append(_parse_control(data, canvas))
            streams.append([])
        elif kind == b"IDAT":
            if not frames:
                frames.append(None)
                streams.append([])
            streams[0].append(data)
        elif kind == b"fdAT" and streams:
            streams[-1].append(data[4:])
    if not all(streams) or (frames[0] is not None and frames[0].size != canvas):
        raise ImageError("cannot be decoded, the file may be damaged (animation).")
    return frames, [b"".join(parts) for parts in streams], plays


def _parse_control(data: bytes, canvas: tuple[int, int]) -> _Frame:
    if len(data) != 26:
        raise ImageError("cannot be decoded, the file may be damaged (animation).")
    _, width, height, x, y, numerator, denominator, dispose, blend = struct.unpack(">5I2H2B", data)
    if x + width > canvas[0] or y + height > canvas[1] or not width or not height:
        raise ImageError("cannot be decoded, the file may be damaged (a frame leaves the canvas).")
    return _Frame((width, height), (x, y), (numerator, denominator), dispose, blend)


def _compose(frames: Sequence[_Frame], parts: Any, size: tuple[int, int]) -> list[NDArray[Any]]:
    """Draw each frame over what the ones before left."""
    # A frame that clears the canvas, or does not cover it, leaves transparent pixels to the next.
    clears = any(frame.dispose for frame in frames[:-1])
    whole = all(frame.size == size for frame in frames)
    canvas: NDArray[Any] | None = None
    pictures = []
    for frame, stored in zip(frames, parts, strict=True):
        part = stored if not clears or whole else _with_alpha(stored)
        if canvas is None:
            canvas = np.zeros((size[1], size[0], part.shape[2]), part.dtype)
        left, top = frame.offset
        area = (slice(top, top + part.shape[0]), slice(left, left + part.shape[1]))
        shown = canvas.copy()
        blended = frame.blend == 1 and part.shape[2] in (2, 4)
        shown[area] = _over(part, canvas[area]) if blended else part
        pictures.append(shown)
        if frame.dispose == 0:
            canvas = shown
        elif frame.dispose == 1:
            canvas = shown.copy()
            canvas[area] = 0
    return pictures


def _with_alpha(part: NDArray[Any]) -> NDArray[Any]:
    if part.shape[2] in (2, 4):
        return part
    opaque = np.full(part.shape[:2], np.iinfo(part.dtype).max, part.dtype)
    return np.dstack([part, opaque])


def _over(top: NDArray[Any], below: NDArray[Any]) -> NDArray[Any]:
    """Blend two arrays whose last plane is alpha; opaque and clear pixels are exact."""
    white = float(np.iinfo(top.dtype).max)
    front, back = top[..., -1:] / white, below[..., -1:] / white
    alpha = front + back * (1 - front)
    share = np.divide(front, alpha, out=np.zeros_like(front), where=alpha > 0)
    mixed = np.concatenate(
        [top[..., :-1] * share + below[..., :-1] * (1 - share), alpha * white], 2
    )
    result: NDArray[Any] = np.rint(mixed).astype(top.dtype)
    return result
