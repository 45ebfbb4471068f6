"""Pillow's decoders on bytes, with every error of theirs turned into one of ours."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from adnet.errors import ImageError

DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError,
    MemoryError, RuntimeError, AttributeError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files."""

_open_lock = threading.Lock()


@contextmanager
def opened(data: bytes, format_: str) -> Iterator[Image.Image]:
    """Open an image in memory.

    Raises:
        ImageError: it cannot be opened, or what the block does with it fails in Pillow.
    """
    try:
        with limit_lifted():
            image = Image.open(io.BytesIO(data), formats=[format_])
        with image:
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError as err:
        raise ImageError("cannot be decoded, the file may be damaged.") from err
    except DECODER_ERRORS as err:
        raise ImageError(f"cannot be decoded, the file may be damaged ({err}).") from err


@contextmanager
def limit_lifted() -> Iterator[None]:
    """Let Image.open read headers of any size, so that the caller's limit alone decides.

    Pillow's limit is a module global; the lock and the restore keep other users of Pillow in this
    process protected.
    """
    with _open_lock:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
