"""Denoise an image file through a Triton server in mode tiles: cut here, put together here.

python client.py noisy.png denoised.png

Needs adnet for its image files and tiles (no model is loaded here), and tritonclient[grpc].
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray

from adnet.images.image import read_image, write_image
from adnet.models.architecture import RECEPTIVE_RADIUS
from adnet.runtime.tiling import Tile, balanced_tile, plan_tiles

_TILE = 512
"""Largest side of what is sent at once; the result does not depend on it beyond float rounding."""
_WAITING = 8
"""Tiles on their way at once: enough for the server to put some together."""


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Denoise an image through Triton, tile by tile.")
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--url", default="localhost:8001", help="gRPC address of the server")
    parser.add_argument("--model", default="adnet")
    asked = parser.parse_args()
    with triton.InferenceServerClient(asked.url) as client:
        config = client.get_model_config(asked.model, as_json=True)["config"]
        channels = int(config["input"][0]["dims"][0])
        file = read_image(asked.input)
        frames = [denoise(client, asked.model, channels, frame) for frame in file.frames]
    write_image(asked.output, frames, file)


def denoise(client: Any, model: str, channels: int, image: NDArray[Any]) -> NDArray[Any]:
    """Denoise (H, W) or (H, W, C) of uint8, uint16 or floats; alpha is copied.

    Args:
        channels: planes that the model takes: 1 goes over each plane of a colour image.
    """
    planes = image.reshape(*image.shape[:2], -1)
    out = planes.copy()
    colours = planes.shape[2] - (planes.shape[2] % 2 == 0)
    if colours % channels:
        raise SystemExit("error: the image is gray, but the model takes colour")
    height, width = planes.shape[:2]
    size = (balanced_tile(height, _TILE, RECEPTIVE_RADIUS),
            balanced_tile(width, _TILE, RECEPTIVE_RADIUS))  # fmt: skip
    white = np.float32(np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1)

    def work(tile: Tile, group: slice) -> None:
        cut = planes[tile.rows, tile.columns, group].transpose(2, 0, 1)
        batch = np.asarray(cut, np.float32, order="C")[None] / white
        entry = triton.InferInput("image", list(batch.shape), "FP32")
        entry.set_data_from_numpy(batch)
        result = client.infer(model, [entry]).as_numpy("denoised")[0]
        rows, columns = tile.core_within
        core = result[:, rows, columns].transpose(1, 2, 0)
        if image.dtype.kind == "u":
            core = np.clip(np.rint(core * white), 0, white)
        out[tile.core_rows, tile.core_columns, group] = core

    with ThreadPoolExecutor(_WAITING) as pool:
        calls = [
            pool.submit(work, tile, slice(first, first + channels))
            for tile in plan_tiles((height, width), size, RECEPTIVE_RADIUS)
            for first in range(0, colours, channels)
        ]
        for call in calls:
            call.result()
    whole: NDArray[Any] = out.reshape(image.shape)
    return whole


if __name__ == "__main__":
    main()
