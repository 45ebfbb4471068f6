"""One replica: the models that are open, and the images in work."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.errors import AdnetError, DeviceLostError
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.in_memory import denoise_file
from adnet.runtime.serve.answers import (
    MEDIA_TYPES,
    Answer,
    Asked,
    failure,
    failure_of,
    refusal_of_kind,
)
from adnet.runtime.serve.offer import Offer
from adnet.runtime.treatment import Treatment

IN_WORK = 2
"""Images of a replica at once: one is decoded or encoded while the other is denoised."""

_log = logging.getLogger(__name__)


class Worker:
    """Denoises files; a class for Ray Serve to make replicas of."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._default = next(iter(offer.models))
        self._pool = ThreadPoolExecutor(IN_WORK, "denoise")
        self._lock = threading.Lock()
        self._denoisers: dict[tuple[str, bool], Denoiser] = {}
        self._lost: DeviceLostError | None = None
        self._warm_up()

    async def __call__(self, data: bytes, asked: Asked) -> Answer:
        """Denoise a file, unless whoever asked is gone."""
        gone = threading.Event()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, partial(self._answer, data, asked, gone))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            gone.set()
            # Its place in the queue is free only when its thread is.
            await asyncio.wait([work])
            raise

    def check_health(self) -> None:
        """Have Ray Serve replace a replica whose device is lost."""
        if self._lost is not None:
            raise self._lost

    def _answer(self, data: bytes, asked: Asked, gone: threading.Event) -> Answer:
        begin = time.monotonic()
        refused = refusal_of_kind(data)
        if refused is not None:
            return refused

        def go_on(_: int) -> None:
            if gone.is_set():
                raise _GoneError

        try:
            denoiser = self._denoiser(asked)
            made = denoise_file(
                data,
                lambda frame: denoiser(frame, go_on),
                suffix=asked.suffix,
                max_pixels=self._offer.max_pixels,
            )
        except DeviceLostError as err:
            self._lost = err
            return failure(503, "this replica lost its device and is replaced; try again.")
        except AdnetError as err:
            return failure_of(err, self._offer.max_pixels)
        except _GoneError:
            return failure(499, "the client has gone.")
        except Exception:  # noqa: BLE001  (one bad request must not end the server)
            _log.exception("unexpected error while an image was denoised")
            return failure(500, "unexpected error; the server's log says more.")
        return Answer(
            200,
            made.data,
            MEDIA_TYPES[made.format],
            made.notes,
            made.pixels,
            time.monotonic() - begin,
        )

    def _denoiser(self, asked: Asked) -> Denoiser:
        """Open each model once; the strength is told to it call by call."""
        key = (asked.model or self._default, asked.ensemble)
        treatment = Treatment(ensemble=asked.ensemble)
        with self._lock:
            if key not in self._denoisers:
                model = self._offer.models[key[0]]
                self._denoisers[key] = Denoiser(
                    model,
                    backend=self._offer.backend,
                    tile=self._offer.tile,
                    treatment=treatment,
                    options=self._offer.options,
                )
        return self._denoisers[key].with_treatment(replace(treatment, strength=asked.strength))

    def _warm_up(self) -> None:
        """Load what most requests need, so that a replica that is ready answers at once."""
        denoiser = self._denoiser(Asked())
        shapes: list[tuple[int, ...]] = [(48, 48), (48, 48, 3)]
        for shape in shapes:
            blank: NDArray[Any] = np.zeros(shape, np.uint8)
            try:
                denoiser(blank)
            except AdnetError as err:  # a model for colour alone, or of one fixed size
                _log.info("note: warm-up with %s: %s", shape, err)


class _GoneError(Exception):
    """Whoever asked no longer waits."""
