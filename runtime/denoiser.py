"""Denoiser: arrays in, arrays out, with any image size on any backend."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ShapeError, UsageError
from adnet.images.float_range import NOMINAL, Range, require_meant, require_range
from adnet.models.shipped import default_model, resolve_model
from adnet.runtime.backend import Backend, RunOptions
from adnet.runtime.budget import split_memory, used_memory
from adnet.runtime.choices import Pad
from adnet.runtime.fork import OfOneProcess
from adnet.runtime.planning import (
    Wishes,
    plan_bands,
    plan_image,
    require_possible,
    require_turnable,
)
from adnet.runtime.registry import find_backend, open_backend
from adnet.runtime.treatment import Treatment
from adnet.runtime.way import Opened, Way, work_through

if TYPE_CHECKING:
    from typing_extensions import Self

Image = TypeVar("Image", bound=NDArray[Any])


class Denoiser(OfOneProcess):
    """Denoises images of any size.

    Args:
        model: name of a shipped model or path of a model file. None: the shipped blind model for
            gray or colour, whichever the image is; while there is no colour model, the gray one
            plane by plane.
        backend: name from the registry; None chooses by the model file's suffix.
        tile: largest side in pixels of what the network sees at once; None: 512. Tiling is exact:
            the result does not depend on it beyond float rounding (1e-6). Models of fixed sizes
            have their own.
        batch: tiles of one image given to the backend at once; None: 1, or what a model of fixed
            batches takes.
        pad: what to do with an image smaller than the smallest of a model's fixed sizes: None
            refuses it, "reflect" mirrors its right and lower border, which changes the result
            there (up to 20 pixels deep, by up to 0.07 of white).
        value_range: black and white of float images; integers use their whole range. None: 0 and
            1, and floats that can hardly be so (0 to 255, say) are refused.
        treatment: strength, ensemble and colour mode.
        options: what is asked of the backend.
        asked: fields of `Treatment` or `RunOptions`, such as strength=0.8, threads=2; they win
            over `treatment` and `options`.

    Several threads may call it at once. A process forked from the one that opened it gets a
    UsageError, and cannot release what belongs to its parent: `close` does nothing there.

    Raises:
        UsageError: an argument is out of range, or the backend has no such option.
        ModelError, BackendUnavailable: the model or its backend cannot be loaded.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        backend: str | None = None,
        tile: int | None = None,
        batch: int | None = None,
        pad: Pad | None = None,
        value_range: Range | None = None,
        treatment: Treatment | None = None,
        options: RunOptions | None = None,
        **asked: Any,
    ) -> None:
        super().__init__()
        self._wishes = Wishes(tile, batch, pad)
        self._range = None if value_range is None else require_range(value_range)
        self._backend_name = backend
        own = {one.name for one in fields(Treatment)} & set(asked)
        self._treatment = replace(
            treatment or Treatment(), **{name: asked.pop(name) for name in own}
        )
        self._options = replace(options or RunOptions(), **asked)
        self._lock = threading.Lock()
        self._closed = False
        self._stack = ExitStack()
        self._opened: dict[Path, Opened] = {}
        self._model = None if model is None else resolve_model(model)
        if self._model is not None:
            self._open(self._model)
        else:  # which of the shipped models is needed, the first image tells
            find_backend(default_model(1).path, backend)

    @property
    def lanes(self) -> int:
        """How many images at once keep the device busy; 1 before a model is open."""
        return max((one.backend.lanes for one in list(self._opened.values())), default=1)

    def __call__(self, image: Image, on_pixels: Callable[[int], None] = lambda _: None) -> Image:
        """Denoise one image.

        Args:
            image: (H, W), or (H, W, C) with C = 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha,
                in any byte order and with any strides. uint8 and uint16 use their whole range;
                floats have the nominal range that `value_range` says, [0, 1] by default, and may
                overshoot.
            on_pixels: called with the number of pixels finished since the last call; what it raises
                ends the work.

        Returns:
            A new array of the same shape and dtype. Integers are rounded and clipped, floats are
            not clipped. Alpha is copied.

        Raises:
            ShapeError: the array is no image, or does not fit the model.
            ImageError: floats that are not finite, or not in the range that was said.
            UsageError: it is closed, or this process was forked from its own.
        """
        planes = _check_image(image)
        result: Image = np.empty_like(image)
        colour = planes.shape[2] - (planes.shape[2] % 2 == 0)
        out = result.reshape(planes.shape)
        require_meant(planes[..., :colour], self._range)
        out[..., colour:] = planes[..., colour:]
        self._denoise_planes(planes[..., :colour], out[..., :colour], on_pixels)
        return result

    def model_for(self, channels: int) -> Backend:
        """Return the backend that an image with so many colour planes (1 or 3) goes to.

        Raises:
            ShapeError: the image is gray and the chosen model takes colour.
        """
        return self._opened_for(channels).backend

    def with_treatment(self, treatment: Treatment) -> Denoiser:
        """Return one that treats images otherwise, with the same open models.

        It lasts as long as this one, which alone is closed.

        Raises:
            UsageError: `ensemble` differs, for which a model is opened otherwise.
        """
        if treatment.ensemble != self._treatment.ensemble:
            raise UsageError("with_treatment: ensemble cannot change; open another Denoiser.")
        other = copy.copy(self)
        other._treatment = treatment  # noqa: SLF001
        return other

    def plan_bands(
        self, size: tuple[int, int], channels: int, most: int | None = None
    ) -> list[tuple[slice, slice]]:
        """Cut an image into bands for calls of their own, whose cores are the result of the whole.

        Args:
            size: (height, width).
            channels: colour planes, 1 or 3.
            most: rows of a band; None: the rows of a tile. Models of fixed sizes have their own.

        Returns:
            Rows of each band, and those of them whose result is kept.
        """
        opened = self._opened_for(channels)
        backend, halo = opened.backend, opened.backend.card.receptive_radius
        return plan_bands(opened.spec, size, halo, self._wishes, backend.name, most)

    def divide_memory(self, limit: int) -> int:
        """Choose tiles such that images and network fit into `limit` bytes, the program included.

        Opens the models, to see what they take.

        Returns:
            Bytes that are left for images.

        Raises:
            UsageError: the limit is too small.
        """
        paths = {self._model} if self._model else {default_model(n).path for n in (1, 3)}
        backends = [self._open(path).backend for path in paths]
        sizes = [size for one in backends for size in one.spec.sizes or ()]
        at_once = sum(one.lanes for one in backends) * (self._wishes.batch or 1)
        fixed = max((height * width for height, width in sizes), default=None)
        left, tile = split_memory(limit, used_memory(), self._wishes.tile, at_once, fixed)
        if tile is not None:
            self._wishes = replace(self._wishes, tile=tile)
        return left

    def _opened_for(self, channels: int) -> Opened:
        mode = self._treatment.color_mode
        opened = self._open(self._model or default_model(1 if mode else channels).path)
        if opened.backend.card.channels == 3 and channels == 1:
            raise ShapeError(
                "the image is gray, but the model takes colour. Use a gray model, or name none: "
                "then the right one is chosen."
            )
        return opened

    def describe(self) -> list[dict[str, str]]:
        """Tell which models are loaded, and on what they run."""
        self._require_own_process("Denoiser")
        return [
            {"model": str(path), "name": one.backend.card.name, **one.backend.describe()}
            for path, one in self._opened.items()
        ]

    def close(self) -> None:
        """Release the models; a second call does nothing."""
        self._closed = True
        if self._is_of_this_process():
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

    def _open(self, path: Path) -> Opened:
        self._require_own_process("Denoiser")  # first: a thread left behind may hold the lock
        with self._lock:
            if self._closed:
                raise UsageError("Denoiser: used after close().")
            if path not in self._opened:
                with ExitStack() as stack:
                    backend = open_backend(path, self._backend_name, self._options)
                    stack.enter_context(backend)
                    spec = backend.spec
                    if self._treatment.ensemble:
                        spec = require_turnable(spec, backend.name)
                    require_possible(spec, self._wishes, backend.name)
                    if backend.card.channels == 3 and (mode := self._treatment.color_mode):
                        raise UsageError(
                            f"color mode {mode!r} is for gray models, but the model takes colour "
                            "as a whole. Leave --color-mode out, or choose a gray model."
                        )
                    pool = ThreadPoolExecutor(backend.lanes, "infer")
                    stack.callback(pool.shutdown, cancel_futures=True)
                    self._stack.push(stack.pop_all())
                self._opened[path] = Opened(backend, spec, pool)
            return self._opened[path]

    def _denoise_planes(
        self, source: NDArray[Any], out: NDArray[Any], on_pixels: Callable[[int], None]
    ) -> None:
        """Denoise (H, W, C) into `out`."""
        opened = self._opened_for(source.shape[2])
        backend = opened.backend
        size = source.shape[:2]
        way = Way(opened, self._range or NOMINAL, self._treatment)
        plan = plan_image(
            opened.spec,
            size,
            backend.card.receptive_radius,
            self._wishes,
            backend.name,
            groups=len(way.groups(source.shape[2])),
        )
        if plan.padded == size:
            work_through(plan, way, source, out, on_pixels)
            return
        rows, columns = (after - now for after, now in zip(plan.padded, size, strict=True))
        mirrored = np.pad(source, ((0, rows), (0, columns), (0, 0)), mode="reflect")
        whole = np.empty_like(mirrored)
        work_through(plan, way, mirrored, whole, lambda _: None)
        out[:] = whole[: size[0], : size[1]]
        on_pixels(size[0] * size[1])


def _check_image(image: NDArray[Any]) -> NDArray[Any]:
    """Return `image` as (H, W, C)."""
    if image.ndim not in (2, 3) or 0 in image.shape or (image.ndim == 3 and image.shape[2] > 4):
        raise ShapeError(
            f"expected an image (H, W) or (H, W, C) with C from 1 to 4, got shape {image.shape}."
        )
    native = image.dtype.newbyteorder("=")
    if native not in (np.uint8, np.uint16) and native.kind != "f":
        raise ShapeError(f"expected uint8, uint16 or float pixels, got {image.dtype}.")
    return image.reshape(*image.shape[:2], -1)
