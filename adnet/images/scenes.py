"""Rendered scenes that are hard to denoise, each in its own way; nothing is photographed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adnet.images.levels import from_levels

Float32 = NDArray[np.float32]
_FINE = 3
"""Scenes with edges are drawn so many times finer and averaged, as a lens and a sensor do."""

_WORDS = (
    "The finer the print, the less of it survives. A denoiser that has learned what letters look "
    "like may invent them; one that has not rubs them out. Read the smallest lines in the noisy "
    "picture, then in the clean one, and judge for yourself: 0123456789 +-=%& (a) [b] {c}. "
)


def cloth(height: int, width: int) -> Float32:
    """Render woven cloth: gray threads of 4 pixels in a twill, uneven, with soft folds."""
    generator = np.random.default_rng(11)
    y, x = np.mgrid[0 : height * _FINE, 0 : width * _FINE].astype(np.float32) / _FINE
    y, x = y + 0.8 * np.sin(x / 23), x + 0.8 * np.sin(y / 31)
    row, column = np.floor(y / 4).astype(int), np.floor(x / 4).astype(int)
    is_warp = (row + column) % 4 < 2
    across = np.where(is_warp, x / 4 % 1, y / 4 % 1) - 0.5
    along = np.where(is_warp, y / 4 % 1, x / 4 % 1) - 0.5
    round_thread = 1 - 2.6 * across**2 - 0.9 * along**2
    warp, weft = generator.normal(0, 0.05, (2, 4096)).astype(np.float32)
    tone = np.where(is_warp, 0.66 + warp[column], 0.36 + weft[row])
    stripe = np.where(column % 22 < 4, 0.62, 1.0)
    fold = 1 + 0.22 * np.sin(x / 37 + 1.2 * np.sin(y / 55))
    return _averaged(tone * round_thread * stripe * fold)


def page(height: int, width: int) -> Float32:
    """Render print of 6 to 11 pixels, dark on paper and light on dark."""
    canvas = Image.new("L", (width * _FINE, height * _FINE), 238)
    draw = ImageDraw.Draw(canvas)
    top, start, ink = 4, 0, 24
    sizes = [11, 10, 9, 8, 7, 6]
    while top < height:
        size = sizes.pop(0) if sizes else 6
        font = ImageFont.load_default(size * _FINE)
        words = _WORDS[start:] + _WORDS
        room = canvas.width - 8 * _FINE
        line = words[: next(n for n in range(len(words)) if font.getlength(words[:n]) > room)]
        line = line.rpartition(" ")[0]
        start = (start + len(line) + 1) % len(_WORDS)
        if top > height * 0.68 and ink < 100:
            draw.rectangle([0, (top - 1) * _FINE, canvas.width, canvas.height], fill=46)
            ink, sizes = 225, [9, 7]
            continue
        draw.text((4 * _FINE, top * _FINE), line, ink, font)
        top += size + 3
    return _averaged(from_levels(np.asarray(canvas)))


def skin(height: int, width: int) -> Float32:
    """Render what skin is made of: wide soft gradients, freckles, pores, a few fine hairs."""
    generator = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    depth = 1 - ((x - 0.42 * width) / (0.62 * width)) ** 2 - ((y - 0.5 * height) / height) ** 2
    light = 0.55 + 0.45 * np.sqrt(np.clip(depth, 0, 1)) + 0.05 * _smooth(generator, y.shape, 14)
    image = light[..., None] * np.array([0.86, 0.64, 0.53], np.float32)
    blush = np.exp(-(((x - 0.34 * width) / 46) ** 2) - ((y - 0.62 * height) / 34) ** 2)
    image -= blush[..., None] * np.array([0.0, 0.075, 0.06], np.float32)
    shine = np.exp(-(((x - 0.55 * width) / 15) ** 2) - ((y - 0.3 * height) / 34) ** 2)
    image += 0.2 * shine[..., None]
    image -= 0.016 * np.abs(_smooth(generator, y.shape, 0.7))[..., None]
    for _ in range(46):
        dy, dx, size = generator.uniform(0, 1, 3) * (height, width, 1.5) + (0, 0, 0.7)
        spot = np.exp(-((x - dx) ** 2 + (y - dy) ** 2) / (2 * size**2))
        image -= 0.12 * spot[..., None] * np.array([0.7, 1.0, 1.0], np.float32)
    hairs = Image.new("L", (width * _FINE, height * _FINE))
    draw = ImageDraw.Draw(hairs)
    for index in range(34):  # the end of an eyebrow
        foot = np.array([0.60 + 0.011 * index, 0.16 - 0.001 * index]) + generator.normal(0, 0.01, 2)
        tip = foot + np.array([0.055, -0.085 + 0.0028 * index])
        draw.line([*(foot * hairs.size), *(tip * hairs.size)], fill=190, width=3)
    cover = _averaged(from_levels(np.asarray(hairs)))[..., None]
    return _clipped(image * (1 - cover) + cover * np.array([0.16, 0.10, 0.07], np.float32))


def foliage(height: int, width: int) -> Float32:
    """Render leaves over leaves: irregular detail at every size, none of it repeated."""
    generator = np.random.default_rng(3)
    canvas = Image.new("RGB", (width * _FINE, height * _FINE), (14, 22, 12))
    draw = ImageDraw.Draw(canvas)
    count = height * width // 9
    for index in range(count):
        depth = index / count
        centre = generator.uniform(0, 1, 2) * canvas.size
        length = generator.uniform(2.5, 9) * _FINE * (0.6 + 0.4 * depth)
        angle = generator.normal(0.9, 0.8)
        lengthwise = np.array([np.cos(angle), np.sin(angle)]) * length
        sidewise = np.array([-lengthwise[1], lengthwise[0]]) * generator.uniform(0.16, 0.4)
        shade = (0.22 + 0.78 * depth**1.5) * generator.uniform(0.55, 1.15)
        green = np.array([104, 138, 52]) + generator.normal(0, 1, 3) * (22, 14, 10)
        leaf = tuple(int(value) for value in np.clip(green * shade, 0, 255))
        rib = tuple(min(255, value + 26) for value in leaf)
        corners = [centre - lengthwise, centre + sidewise, centre + lengthwise, centre - sidewise]
        draw.polygon([tuple(corner) for corner in corners], fill=leaf)
        draw.line([tuple(corners[0]), tuple(corners[2])], fill=rib, width=1)
    return _averaged(from_levels(np.asarray(canvas)))


def night(height: int, width: int) -> Float32:
    """Render a street at night: deep shadow with structure, lit windows, lamps that blow out."""
    generator = np.random.default_rng(8)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    image = np.empty((height, width, 3), np.float32)
    image[:] = np.array([0.03, 0.04, 0.08]) + (y / height)[..., None] * np.array([0.05, 0.04, 0.03])
    road = int(0.74 * height)
    left = 0
    while left < width:
        across, top = int(generator.uniform(24, 44)), int(generator.uniform(0.1, 0.42) * height)
        image[top:road, left : left + across] = generator.uniform(0.05, 0.16) * np.array(
            [1, 1, 1.2]
        )
        for row in range(top + 5, road - 8, 9):
            for column in range(left + 4, min(left + across, width) - 5, 8):
                warm = np.array([1.0, 0.78, 0.42]) * generator.choice(
                    [0.05, 0.2, 0.5, 0.95], p=[0.25, 0.25, 0.25, 0.25]
                )
                image[row : row + 5, column : column + 4] = warm
                image[row : row + 5, column + 2] *= 0.6
        left += across + 1
    wet = 0.4 * np.abs(_smooth(generator, (height, width), 1.2))[road:, :, None]
    mirrored = image[road - (height - road) : road][::-1]
    image[road:] = 0.025 + mirrored * (0.35 + wet)
    for place, colour in ((0.14, (1.0, 0.72, 0.36)), (0.47, (1.0, 0.8, 0.5)), (0.8, (0.8, 0.9, 1))):
        lamp_x, lamp_y = place * width, 0.4 * height
        image[int(lamp_y) : road, int(lamp_x) : int(lamp_x) + 2] = 0.02
        distance = np.hypot(x - lamp_x, y - lamp_y)
        glow = 2.6 * np.exp(-((distance / 4.2) ** 2)) + 0.55 / (1 + (distance / 7) ** 2)
        streak = 0.9 * np.exp(-(((x - lamp_x) / 3.5) ** 2) - ((y - road - 8) / 13) ** 2)
        image += (glow + streak * (y > road))[..., None] * np.array(colour, np.float32)
    return _clipped(image)


SCENES: Mapping[str, Callable[[int, int], Float32]] = {
    "cloth": cloth, "print, 6 to 11 pixels": page, "skin": skin, "foliage": foliage, "night": night,
}  # fmt: skip
"""Title -> function of height and width in pixels that gives (H, W) or (H, W, 3) in [0, 1]."""


def _smooth(generator: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Float32:
    """Make Gaussian noise, blurred by so many pixels, of standard deviation 1."""
    frequency = [np.fft.fftfreq(length)[:, None] ** 2 for length in shape]
    blur = np.exp(-2 * (np.pi * sigma) ** 2 * (frequency[0] + frequency[1].T))
    noise = np.fft.ifft2(np.fft.fft2(generator.normal(size=shape)) * blur).real
    return np.asarray(noise / noise.std(), np.float32)


def _averaged(image: NDArray[np.floating]) -> Float32:
    """Average blocks of `_FINE` x `_FINE` pixels."""
    height, width = image.shape[0] // _FINE, image.shape[1] // _FINE
    blocks = image.reshape(height, _FINE, width, _FINE, *image.shape[2:])
    return _clipped(blocks.mean(axis=(1, 3)))


def _clipped(image: NDArray[np.floating]) -> Float32:
    return np.asarray(np.clip(image, 0, 1), np.float32)
