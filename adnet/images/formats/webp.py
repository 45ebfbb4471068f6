"""WebP, still and animated: pixels through Pillow, metadata chunks as they were."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from adnet.errors import ImageError
from adnet.images.formats.exif import stripped_exif
from adnet.images.formats.image_file import (
    ImageFile,
    Pixels,
    has_alpha,
    require_pixels,
)
from adnet.images.formats.through_pillow import opened
from adnet.images.formats.webp_chunks import (
    PIXEL_KINDS,
    Chunk,
    canvas_size,
    join_chunks,
    make_file,
    portable_chunks,
    read_portable,
    split_chunks,
    three_bytes,
)

MAX_SIDE = 16_383

_WHOLE_FRAME = 2
"""Flags of a frame: do not blend, do not dispose."""


@dataclass(frozen=True, slots=True)
class WebpLayout:
    """What a WebP file holds beside its pixels."""

    metadata: tuple[Chunk, ...] = ()
    lossless: tuple[bool, ...] = (False,)
    """Of each frame."""
    animation: bytes | None = None
    """The ANIM chunk: background and number of plays; None for a still image."""
    durations: tuple[int, ...] = ()
    """Of each frame, in milliseconds."""

    @property
    def only_here(self) -> list[str]:
        """Chunks that only WebP has."""
        kinds = {chunk.kind for chunk in self.metadata} - {b"ICCP", b"EXIF", b"XMP "}
        return [f"WebP's {kind.decode('latin-1').strip()}" for kind in sorted(kinds)]

    def stripped(self) -> WebpLayout:
        """Keep colour and orientation."""
        exif = stripped_exif(read_portable(self.metadata).exif)
        kept = [chunk for chunk in self.metadata if chunk.kind == b"ICCP"]
        return replace(self, metadata=(*kept, *([Chunk(b"EXIF", exif)] if exif else [])))


def decode(data: bytes, limit: int) -> ImageFile:
    """Read a WebP file; see `codec.decode_image`."""
    chunks = split_chunks(data)
    layout = _layout(chunks)
    require_pixels([canvas_size(chunks)] * len(layout.lossless), limit)
    frames = []
    with opened(data, "WEBP") as image:
        count = getattr(image, "n_frames", 1)
        require_pixels([image.size] * count, limit)
        if layout.animation is not None and count != len(layout.durations):
            raise ImageError("cannot be decoded, the file may be damaged (animation).")
        for number in range(count):
            image.seek(number)
            image.load()
            frames.append(np.array(image.convert("RGBA" if image.mode == "RGBA" else "RGB")))
    portable = read_portable(layout.metadata)
    return ImageFile(frames[0], "WEBP", layout, portable, (), tuple(frames[1:]))


def encode(frames: Sequence[Pixels], like: ImageFile) -> bytes:
    """Write a WebP file, lossy frames at `like.quality` or 95; see `codec.encode_image`.

    What was none becomes lossy, unless `like.lossless` says otherwise.
    """
    same = isinstance(like.layout, WebpLayout)
    new = WebpLayout(tuple(portable_chunks(like.portable)), (like.lossless,))
    layout = like.layout if same else new
    height, width = frames[0].shape[:2]
    alpha = any(has_alpha(frame) for frame in frames)
    stills = [
        _still(frame, lossless, like.quality or 95)
        for frame, lossless in zip(frames, layout.lossless, strict=True)
    ]
    if layout.animation is None:
        return make_file((width, height), stills[0], layout.metadata, alpha)
    pixels = [Chunk(b"ANIM", layout.animation)]
    for still, duration in zip(stills, layout.durations, strict=True):
        place = bytes(6) + three_bytes(width - 1) + three_bytes(height - 1)
        head = place + three_bytes(duration) + bytes((_WHOLE_FRAME,))
        pixels.append(Chunk(b"ANMF", head + join_chunks(still)))
    return make_file((width, height), pixels, layout.metadata, alpha)


def _layout(chunks: list[Chunk]) -> WebpLayout:
    animation = None
    durations, lossless, metadata = [], [], []
    for chunk in chunks:
        if chunk.kind == b"ANIM":
            animation = chunk.data
        elif chunk.kind == b"ANMF":
            durations.append(int.from_bytes(chunk.data[12:15], "little"))
            parts = split_chunks(chunk.data, 16)
            lossless.append(any(part.kind == b"VP8L" for part in parts))
        elif chunk.kind in PIXEL_KINDS:
            if chunk.kind != b"ALPH":
                lossless.append(chunk.kind == b"VP8L")
        elif chunk.kind != b"VP8X":
            metadata.append(chunk)
    if not lossless:
        raise ImageError("cannot be decoded, the file may be damaged (it holds no pixels).")
    return WebpLayout(tuple(metadata), tuple(lossless), animation, tuple(durations))


def _still(frame: Pixels, lossless: bool, quality: int) -> list[Chunk]:
    file = io.BytesIO()
    image = Image.fromarray(frame)
    if image.mode in ("L", "LA"):
        image = image.convert("RGB" if image.mode == "L" else "RGBA")
    # `exact`: the colours of transparent pixels are somebody's, too.
    image.save(
        file,
        "WEBP",
        lossless=lossless,
        quality=95 if lossless else quality,
        method=4,
        exact=lossless,
    )
    return [chunk for chunk in split_chunks(file.getvalue()) if chunk.kind in PIXEL_KINDS]
