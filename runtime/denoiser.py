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
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ShapeError, UsageError
from adnet.images.float_range import NOMINAL, Range, require_meant, require_range
from adnet.images.noise_level import estimate_sigma
from adnet.models.for_sigma import Choice, beyond, model_for_sigma, require_sigma
from adnet.models.shipped import default_model, resolve_model
from adnet.runtime.asked import OF_DENOISER, require_words
from adnet.runtime.backend import Backend, RunOptions
from adnet.runtime.budget import split_memory, told_pixels, used_memory, usual_pixels
from adnet.runtime.choices import ColorMode, Pad
from adnet.runtime.fork import OfOneProcess
from adnet.runtime.pixels import LUMA_NOISE, planes_of
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
Sigma = float | Literal["auto"]


class Denoiser(OfOneProcess):
    """Denoises images of any size.

    Args:
        model: name of a shipped model or path of a model file. None: the shipped blind model for
            gray or colour, whichever the image is; while there is no colour model, the gray one
            plane by plane.
        sigma: noise level on the 0-255 scale, by which one of the shipped models is chosen: that of
            a single level near it, else the blind one. "auto": estimated from each image. With a
            model, it is checked that this was trained for the level.
        backend: name from the registry; None chooses by the model file's suffix.
        tile: largest side in pixels of what the network sees at once; None: about 1024 on a CPU
            and less where little memory is free, 512 on other devices. Tiling is exact:
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
        sigma: Sigma | None = None,
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
        if sigma is not None and sigma != "auto":
            require_sigma(sigma)
        self.sigma = sigma
        """As given."""
        self._backend_name = backend
        treated = {one.name for one in fields(Treatment)}
        own = treated & set(asked)
        self._treatment = replace(
            treatment or Treatment(), **{name: asked.pop(name) for name in own}
        )
        require_words(asked, {one.name for one in fields(RunOptions)}, treated | OF_DENOISER)
        self._options = replace(options or RunOptions(), **asked)
        self._lock = threading.Lock()
        self._closed = False
        self._stack = ExitStack()
        self._opened: dict[Path, Opened] = {}
        self.tiles_note = ""
        """Says that tiles are small for want of memory, once that is known."""
        self._model = None if model is None else resolve_model(model)
        if self._model is not None:
            card = self._open(self._model).backend.card
            if sigma is not None and sigma != "auto" and (told := beyond(card, sigma)):
                raise UsageError(
                    f"sigma {sigma:g} does not suit the model {model}{told}. Leave out one of the "
                    "two: a model is chosen by sigma alone."
                )
        else:  # which of the shipped models is needed, the first image tells
            find_backend(default_model(1).path, backend)

    @property
    def lanes(self) -> int:
        """How many images at once keep the device busy; 1 before a model is open."""
        return max((one.backend.lanes for one in list(self._opened.values())), default=1)

    def __call__(
        self,
        image: Image,
        on_pixels: Callable[[int], None] = lambda _: None,
        *,
        sigma: float | None = None,
    ) -> Image:
        """Denoise one image.

        Args:
            image: (H, W), or (H, W, C) with C = 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha,
                in any byte order and with any strides. uint8 and uint16 use their whole range;
                floats have the nominal range that `value_range` says, [0, 1] by default, and may
                overshoot.
            on_pixels: called with the number of pixels finished since the last call; what it raises
                ends the work.
            sigma: what is known of the image's noise, instead of an estimate for sigma="auto".

        Returns:
            A new array of the same shape and dtype. Integers are rounded and clipped, floats are
            not clipped. Alpha is copied.

        Raises:
            ShapeError: the array is no image, or does not fit the model.
            ImageError: floats that are not finite, or not in the range that was said.
            PrecisionError: the result is not finite.
            UsageError: it is closed, this process was forked from its own, or `sigma` is given
                without sigma="auto".
        """
        planes = planes_of(image)
        if sigma is not None and self.sigma != "auto":
            raise UsageError(
                'sigma of one image is for Denoiser(sigma="auto"); here the model is chosen '
                "already. Use Denoiser(sigma=...), or leave it out."
            )
        result: Image = np.empty_like(image)
        colour = planes.shape[2] - (planes.shape[2] % 2 == 0)
        out = result.reshape(planes.shape)
        require_meant(planes[..., :colour], self._range)
        out[..., colour:] = planes[..., colour:]
        if self.sigma == "auto" and sigma is None:
            sigma = self.estimate(image)
        opened = self._opened_for(colour, sigma)
        if self._treatment.strength == 0:
            out[...] = planes
            on_pixels(planes.shape[0] * planes.shape[1])
        else:
            self._denoise_planes(opened, planes[..., :colour], out[..., :colour], on_pixels)
        return result

    def estimate(self, image: NDArray[Any]) -> float | None:
        """Estimate the noise of an image; None where it is too small, see `estimate_sigma`."""
        return estimate_sigma(image, self.value_range)

    @property
    def color_mode(self) -> ColorMode | None:
        """As given."""
        return self._treatment.color_mode

    @property
    def value_range(self) -> Range:
        """Black and white of float images."""
        return self._range or NOMINAL

    def choice(self, channels: int, sigma: float | None = None) -> Choice | None:
        """Tell which shipped model is chosen for a noise level, and why; None: none was asked for.

        Args:
            channels: colour planes, 1 or 3.
            sigma: the estimate for an image, with sigma="auto"; None: there is none.
        """
        level = sigma if self.sigma == "auto" else self.sigma
        if level is None or self._model is not None:
            return None
        mode = self._treatment.color_mode
        if mode == "luma" and channels == 3:
            level *= LUMA_NOISE
        return model_for_sigma(level, 1 if mode else channels)

    def model_for(self, channels: int, sigma: float | None = None) -> Backend:
        """Return the backend that an image with so many colour planes (1 or 3) goes to.

        Args:
            channels: colour planes.
            sigma: the estimate for the image, with sigma="auto".

        Raises:
            ShapeError: the image is gray and the chosen model takes colour.
        """
        return self._opened_for(channels, sigma).backend

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
        self,
        size: tuple[int, int],
        channels: int,
        most: int | None = None,
        sigma: float | None = None,
    ) -> list[tuple[slice, slice]]:
        """Cut an image into bands for calls of their own, whose cores are the result of the whole.

        Args:
            size: (height, width).
            channels: colour planes, 1 or 3.
            most: rows of a band; None: the rows of a tile. Models of fixed sizes have their own.
            sigma: the estimate for the image, with sigma="auto".

        Returns:
            Rows of each band, and those of them whose result is kept.
        """
        opened = self._opened_for(channels, sigma)
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
        left, pixels = split_memory(limit, used_memory(), self._wishes.tile, at_once, fixed)
        self._wishes, self.tiles_note = replace(self._wishes, pixels=pixels), ""
        return left

    def _opened_for(self, channels: int, sigma: float | None = None) -> Opened:
        path = self._model
        if path is None:
            choice = self.choice(channels, sigma)
            mode = self._treatment.color_mode
            model = choice.model if choice else default_model(1 if mode else channels)
            path = model.path
        opened = self._open(path)
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
                    self._choose_tiles(backend)
                    pool = ThreadPoolExecutor(backend.lanes, "infer")
                    stack.callback(pool.shutdown, cancel_futures=True)
                    self._stack.push(stack.pop_all())
                self._opened[path] = Opened(backend, spec, pool)
            return self._opened[path]

    def _choose_tiles(self, backend: Backend) -> None:
        """Let tiles be as large as the memory allows, where nothing else says how large."""
        wishes = self._wishes
        if wishes.tile is None and wishes.pixels is None and backend.spec.sizes is None:
            pixels = usual_pixels(backend.device, at_once := backend.lanes * (wishes.batch or 1))
            self._wishes = replace(wishes, pixels=pixels)
            self.tiles_note = told_pixels(pixels, at_once)

    def _denoise_planes(
        self,
        opened: Opened,
        source: NDArray[Any],
        out: NDArray[Any],
        on_pixels: Callable[[int], None],
    ) -> None:
        """Denoise (H, W, C) into `out`."""
        backend = opened.backend
        size = source.shape[:2]
        way = Way(opened, self.value_range, self._treatment)
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
