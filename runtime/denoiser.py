"""Denoiser: arrays in, arrays out, with any image size on any backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from adnet.runtime.backend import Backend, Batch
from adnet.runtime.registry import open_backend
from adnet.runtime.tiling import Tile, balanced_tile, plan_tiles
from numpy.typing import NDArray

from adnet.errors import ShapeError, UsageError
from adnet.pretrained import default_model, resolve_model

if TYPE_CHECKING:
    from typing_extensions import Self

DEFAULT_TILE = 512
"""Largest tile side in pixels: bounds the memory, for at most a fifth more work than one piece."""

Image = TypeVar("Image", bound=NDArray[Any])


class Denoiser:
    """Denoises images of any size.

    Args:
        model: name of a shipped model or path of a model file. None: the shipped blind model for
            gray or colour, whichever the image is; while there is no colour model, the gray one
            plane by plane.
        backend: name from the registry; None chooses by the model file's suffix.
        tile: largest side in pixels of what the network sees at once. Tiling is exact: the result
            does not depend on it beyond float rounding (1e-6).
        batch: tiles of one image given to the backend at once.
        threads: CPU threads; None lets the runtime decide.

    Raises:
        UsageError: tile or batch out of range.
        ModelError, BackendUnavailable: the model or its backend cannot be loaded.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        backend: str | None = None,
        tile: int = DEFAULT_TILE,
        batch: int = 1,
        threads: int | None = None,
    ) -> None:
        if batch < 1:
            raise UsageError(f"batch must be at least 1, got {batch}.")
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}.")
        self._tile = tile
        self._batch = batch
        self._backend_name = backend
        self._threads = threads
        self._stack = ExitStack()
        self._opened: dict[Path, Backend] = {}
        self._model = None if model is None else resolve_model(model)
        first = self._open(self._model or default_model(1).path)
        smallest = 2 * first.card.receptive_radius + 1
        if tile < smallest:
            raise UsageError(
                f"tile must be at least {smallest} pixels (a halo of "
                f"{first.card.receptive_radius} on each side and a core), got {tile}."
            )

    def __call__(self, image: Image, on_pixels: Callable[[int], None] = lambda _: None) -> Image:
        """Denoise one image.

        Args:
            image: (H, W), or (H, W, C) with C = 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
                uint8 and uint16 use their whole range; floats have nominal range [0, 1] and may
                overshoot.
            on_pixels: called with the number of pixels finished since the last call.

        Returns:
            A new array of the same shape and dtype. Integers are rounded and clipped, floats are
            not clipped. Alpha is copied.

        Raises:
            ShapeError: the array is no image, or does not fit the model.
        """
        planes = _check_image(image)
        result: Image = np.empty_like(image)
        colour = planes.shape[2] - (planes.shape[2] % 2 == 0)
        out = result.reshape(planes.shape)
        out[..., colour:] = planes[..., colour:]
        self._denoise_planes(planes[..., :colour], out[..., :colour], on_pixels)
        return result

    def model_for(self, channels: int) -> Backend:
        """Return the backend that an image with so many colour planes (1 or 3) goes to.

        Raises:
            ShapeError: the image is gray and the chosen model takes colour.
        """
        path = self._model or default_model(channels).path
        backend = self._open(path)
        if backend.card.channels == 3 and channels == 1:
            raise ShapeError(
                "the image is gray, but the model takes colour. Use a gray model, or leave "
                "the model out to have the right one chosen."
            )
        return backend

    def describe(self) -> list[dict[str, str]]:
        """Tell which models are loaded, and on what they run."""
        return [
            {"model": str(path), "name": backend.card.name, **backend.describe()}
            for path, backend in self._opened.items()
        ]

    def close(self) -> None:
        """Release the models; a second call does nothing."""
        self._stack.close()
        self._opened.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, path: Path) -> Backend:
        if path not in self._opened:
            backend = open_backend(path, self._backend_name, threads=self._threads)
            self._opened[path] = self._stack.enter_context(backend)
        return self._opened[path]

    def _denoise_planes(
        self, source: NDArray[Any], out: NDArray[Any], on_pixels: Callable[[int], None]
    ) -> None:
        """Denoise (H, W, C) into `out`, converting tile by tile to keep the memory flat."""
        height, width, planes = source.shape
        backend = self.model_for(planes)
        halo = backend.card.receptive_radius
        tiles = plan_tiles((height, width), self._choose_tile(backend, (height, width)), halo)
        together = backend.card.channels
        groups = [slice(first, first + together) for first in range(0, planes, together)]
        jobs = ((tile, group) for tile in tiles for group in groups)
        limit = max(backend.spec.batches) if backend.spec.batches else self._batch
        while chunk := list(islice(jobs, limit)):
            batch = np.stack([_to_float(source[t.rows, t.columns, g]) for t, g in chunk])
            for (tile, group), denoised in zip(chunk, _infer(backend, batch), strict=True):
                _place(denoised, tile, out[..., group])
                core = out[tile.core_rows, tile.core_columns, group]
                on_pixels(core.size // planes)

    def _choose_tile(self, backend: Backend, size: tuple[int, int]) -> tuple[int, int]:
        """Choose a tile size that the model takes: the one with the least work."""
        halo = backend.card.receptive_radius
        if backend.spec.sizes is None:
            height, width = (balanced_tile(length, self._tile, halo) for length in size)
            return height, width
        fitting = [(h, w) for h, w in backend.spec.sizes if h <= size[0] and w <= size[1]]
        if not fitting:
            sizes = ", ".join(f"{h}x{w}" for h, w in backend.spec.sizes)
            raise ShapeError(
                f"{backend.name} backend: image {size[0]}x{size[1]} is smaller than the model's "
                f"fixed size {sizes} (height x width). Use a model exported with --dynamic all."
            )
        return min(fitting, key=lambda tile: len(plan_tiles(size, tile, halo)) * tile[0] * tile[1])


def _check_image(image: NDArray[Any]) -> NDArray[Any]:
    """Return `image` as (H, W, C)."""
    if image.ndim not in (2, 3) or 0 in image.shape or (image.ndim == 3 and image.shape[2] > 4):
        raise ShapeError(
            f"expected an image (H, W) or (H, W, C) with C from 1 to 4, got shape {image.shape}."
        )
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != "f":
        raise ShapeError(f"expected uint8, uint16 or float pixels, got {image.dtype}.")
    return image.reshape(*image.shape[:2], -1)


def _to_float(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """(H, W, C) of any accepted dtype -> (C, H, W) float32 with white at 1."""
    planes = np.asarray(pixels.transpose(2, 0, 1), np.float32, order="C")
    return planes / np.float32(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else planes


def _place(denoised: NDArray[np.float32], tile: Tile, out: NDArray[Any]) -> None:
    """Write the core of one (C, h, w) result into (H, W, C), in the output's own dtype."""
    rows, columns = tile.core_within
    core = denoised[:, rows, columns].transpose(1, 2, 0)
    if out.dtype.kind == "u":
        white = np.iinfo(out.dtype).max
        core = np.clip(np.rint(core * white), 0, white)
    out[tile.core_rows, tile.core_columns] = core


def _infer(backend: Backend, batch: Batch) -> Iterator[NDArray[np.float32]]:
    """Run a batch; one that no fixed batch of the model equals is filled with its last image."""
    count = len(batch)
    if backend.spec.batches is not None:
        size = min(allowed for allowed in backend.spec.batches if allowed >= count)
        batch = np.concatenate([batch, np.repeat(batch[-1:], size - count, axis=0)])
    yield from backend.infer(batch)[:count]
