"""A picture of an image before and after, beside each other, with a part of both enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adnet.images.evaluate import compare
from adnet.images.float_range import NOMINAL, Range, to_nominal
from adnet.images.levels import to_levels

_WIDTH = 480
"""Pixels of a panel; images are shrunk to it, never enlarged."""
_PART = 96
"""Side of the part that is enlarged."""
_GAP, _LINE = 8, 28
_MOST_PIXELS = 16_000_000
"""For SSIM, which takes a hundred bytes for each."""
_FRAME = (255, 64, 64)

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near an image is to its clean reference."""

    psnr: float
    ssim: float | None
    """None for images under 11 or beyond 16 million pixels."""

    def told(self) -> str:
        """Say it, for a picture."""
        ssim = "" if self.ssim is None else f", SSIM {self.ssim:.4f}"
        return f"{self.psnr:.2f} dB{ssim}"


def likeness(
    image: NDArray[Any], reference: NDArray[Any], value_range: Range = NOMINAL
) -> Likeness | None:
    """Compare the colours of an image, as a viewer sees it, with a reference.

    Returns:
        None where size or colours differ.
    """
    one, other = _colours(image, value_range), _colours(reference, value_range)
    if one.shape != other.shape:
        return None
    found = compare(other, one, with_ssim=one.size <= _MOST_PIXELS)
    return Likeness(found.psnr, found.ssim)


def draw(panels: Sequence[tuple[str, NDArray[Any]]], value_range: Range = NOMINAL) -> Image.Image:
    """Draw images of one size beside each other, and below each the same part of it, enlarged.

    The part is the one with the most detail in the last image.

    Args:
        panels: label and pixels, as `ImageFile.pixels`; alpha is left out.
        value_range: black and white of float images.
    """
    shown = [(label, to_levels(_colours(pixels, value_range))) for label, pixels in panels]
    box = busiest(shown[-1][1])
    columns = [_column(label, _as_rgb(levels), box) for label, levels in shown]
    width = sum(one.width for one in columns) + _GAP * (len(columns) + 1)
    picture = Image.new("RGB", (width, columns[0].height + 2 * _GAP), (255, 255, 255))
    left = _GAP
    for column in columns:
        picture.paste(column, (left, _GAP))
        left += column.width + _GAP
    return picture


def busiest(levels: NDArray[np.uint8]) -> Box:
    """Find the part of an image that has the most detail; the whole of a small one."""
    height, width = levels.shape[:2]
    side = min(_PART, height, width)
    gray = levels.reshape(height, width, -1).mean(axis=2, dtype=np.float32)
    places = [
        (top, left)
        for top in range(0, height - side + 1, max(1, side // 2))
        for left in range(0, width - side + 1, max(1, side // 2))
    ]
    top, left = max(places, key=lambda at: gray[at[0] : at[0] + side, at[1] : at[1] + side].var())
    return left, top, left + side, top + side


def _column(label: str, image: Image.Image, box: Box) -> Image.Image:
    scale = min(1.0, _WIDTH / image.width)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    whole = image.resize(size, Image.Resampling.LANCZOS) if scale < 1 else image.copy()
    corners = [round(side * scale) for side in box]
    corners = [corners[0], corners[1], max(*corners[::2]) - 1, max(*corners[1::2]) - 1]
    if corners[2] > corners[0] and corners[3] > corners[1]:
        ImageDraw.Draw(whole).rectangle(tuple(corners), outline=_FRAME)
    width = max(whole.width, _WIDTH // 2)
    part = image.crop(box).resize((width, width), Image.Resampling.NEAREST)
    column = Image.new("RGB", (width, _LINE + whole.height + _GAP + width), (255, 255, 255))
    ImageDraw.Draw(column).text((0, 4), label, fill=(0, 0, 0), font=_font())
    column.paste(whole, (0, _LINE))
    column.paste(part, (0, _LINE + whole.height + _GAP))
    return column


def _font() -> Any:
    return ImageFont.load_default(size=16)


def _as_rgb(levels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(levels).convert("RGB")


def _colours(pixels: NDArray[Any], value_range: Range) -> NDArray[np.float32]:
    """(H, W) or (H, W, 3) from 0 to 1."""
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., 0]
    clipped: NDArray[np.float32] = np.clip(to_nominal(pixels, value_range), 0, 1)
    return clipped
