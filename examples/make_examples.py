"""Render the sample images: clean ones, and the same with noise of sigma 25.

    python examples/make_examples.py

Everything in examples/clean and examples/noisy was made by this script; nothing is photographed.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adnet.images.levels import from_levels, to_levels
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render

HERE = Path(__file__).parent
SIGMA = 25.0


def hills(height: int, width: int) -> NDArray[np.float32]:
    """Render layered ridges under a sky with a moon: smooth areas and long edges."""
    generator = np.random.default_rng(7)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    image = 0.85 - 0.35 * y / height
    moon = np.hypot(y - 0.24 * height, x - 0.72 * width) < 0.09 * height
    image[moon] = 0.97
    for layer in range(5):
        depth = layer / 4
        ridge = (0.42 + 0.12 * layer) * height
        for _ in range(6):
            wave, phase = generator.uniform(1.5, 14 + 8 * layer), generator.uniform(0, 6.28)
            ridge = ridge + height * 0.045 / wave**0.7 * np.sin(wave * x / width * 6.28 + phase)
        below = y > ridge
        grass = 0.05 * np.sin(x * (0.3 + 0.2 * layer) + 3 * np.sin(y * 0.21)) * depth
        image[below] = (0.62 - 0.13 * layer + grass + 0.1 * (y - ridge) / height)[below]
    return np.clip(image, 0, 1).astype(np.float32)


def page(height: int, width: int) -> NDArray[np.float32]:
    """Render printed text in shrinking sizes beside a resolution chart."""
    canvas = Image.new("L", (width, height), 240)
    draw = ImageDraw.Draw(canvas)
    top = 12
    for size in (30, 26, 22, 19, 16, 14, 12, 11):
        draw.text((14, top), "Noise out, detail in. 0123456789", 25, ImageFont.load_default(size))
        top += size + 12
    for index in range(60):
        angle = index * np.pi / 30
        centre, reach = (width - 90, height - 80), 68
        tip = [centre[0] + reach * np.cos(angle), centre[1] + reach * np.sin(angle)]
        draw.line([*centre, *tip], fill=30 if index % 2 else 200, width=2)
    return from_levels(np.asarray(canvas))


def save(name: str, clean: NDArray[np.float32]) -> None:
    """Write the clean and the noisy image as 8-bit PNG files."""
    for folder, image in (("clean", clean), ("noisy", add_published_noise(clean, SIGMA))):
        path = HERE / folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(to_levels(image)).save(path, optimize=True)


if __name__ == "__main__":
    save("hills", hills(320, 480))
    save("page", page(320, 480))
    save("shapes", render(320, 480, 3, seed=6))
