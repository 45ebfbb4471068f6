"""What other formats get of a TIFF's samples beyond colour: straight alpha, or nothing.

Source: TIFF 6.0, section 18 (ExtraSamples).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adnet.images.formats.image_file import ImageFile, Pixels
from adnet.images.formats.tiff import TiffLayout
from adnet.images.formats.tiff_page import PageLayout

_ASSOCIATED, _STRAIGHT = 1, 2
_ROWS = 256
"""Worked on at once, to keep the memory flat."""


def without_unknown(frames: Sequence[Pixels], like: ImageFile, wanted: str) -> tuple[Pixels, ...]:
    """Leave out the sample beside the colours where it is no alpha: a mask, or infrared.

    Takes no memory, so that frames may be stand-ins.
    """
    return tuple(
        frame if page is None or _alpha(page) else _colour(frame)
        for frame, page in _with_pages(frames, like, wanted)
    )


def straightened(frames: Sequence[Pixels], like: ImageFile, wanted: str) -> tuple[Pixels, ...]:
    """Divide colours by an alpha that they were multiplied with, rounded at their own depth."""
    return tuple(
        _divided(frame, page) if page is not None and _alpha(page) == _ASSOCIATED else frame
        for frame, page in _with_pages(frames, like, wanted)
    )


def is_multiplied(like: ImageFile, wanted: str) -> bool:
    """Tell whether `straightened` has anything to do."""
    pairs = _with_pages(like.frames, like, wanted)
    return any(page is not None and _alpha(page) == _ASSOCIATED for _, page in pairs)


def told(image: ImageFile, wanted: str) -> list[str]:
    """Say what becomes of them, one sentence each."""
    notes = []
    lost: list[int] = []
    for _, page in _with_pages(image.frames, image, wanted):
        if page is not None:
            lost += page.extra_codes[1:] if _alpha(page) else page.extra_codes
    if lost:
        names = ("a second alpha" if code in (_ASSOCIATED, _STRAIGHT) else "unspecified"
                 for code in lost)  # fmt: skip
        what = "1 sample" if len(lost) == 1 else f"{len(lost)} samples"
        notes.append(
            f"{what} per pixel beside colour and alpha ({', '.join(dict.fromkeys(names))}) cannot "
            f"be carried into {wanted} and {'was' if len(lost) == 1 else 'were'} left out."
        )
    if is_multiplied(image, wanted):
        notes.append(
            "colours that were multiplied with alpha (associated alpha) were divided by it, "
            f"since {wanted} has straight alpha."
        )
    return notes


def _with_pages(
    frames: Sequence[Pixels], like: ImageFile, wanted: str
) -> list[tuple[Pixels, PageLayout | None]]:
    """Each frame with its page, where a TIFF becomes another format and it has such samples."""
    pages: list[PageLayout | None] = [None] * len(frames)
    if wanted != "TIFF" and isinstance(like.layout, TiffLayout):
        found = [page if page.extra_codes else None for page in like.layout.pages]
        pages = (found + pages)[: len(frames)]
    return list(zip(frames, pages, strict=True))


def _alpha(page: PageLayout) -> int:
    """The kind of alpha; 0: none."""
    return page.extra_codes[0] if page.extra_codes[0] in (_ASSOCIATED, _STRAIGHT) else 0


def _colour(frame: Pixels) -> Pixels:
    if frame.ndim == 2 or frame.shape[2] % 2:
        return frame
    return frame[..., 0] if frame.shape[2] == 2 else frame[..., :3]


def _divided(frame: Pixels, page: PageLayout) -> Pixels:
    white = np.uint32(np.iinfo(frame.dtype).max)
    whole = np.array(frame)
    for top in range(0, len(whole), _ROWS):
        rows = whole[top : top + _ROWS]
        colour, alpha = rows[..., :-1], rows[..., -1:].astype(np.uint32)
        if page.photometric == 0:  # white is zero: it is the darkness that was multiplied
            colour = ~colour
        # 65535 * 65535 + 32767 fits.
        divided = (colour.astype(np.uint32) * white + alpha // 2) // np.maximum(alpha, 1)
        straight = np.where(alpha == 0, colour, np.minimum(divided, white)).astype(frame.dtype)
        rows[..., :-1] = ~straight if page.photometric == 0 else straight
    return whole
