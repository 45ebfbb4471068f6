"""Denoise an image that does not fit into memory: a row of tiles at a time, from file to file.

The bands are the rows of the very tiles that the whole image would be cut into, so the result is
the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.atomic import atomic_path
from adnet.errors import ImageError
from adnet.images.decoder_lines import listening
from adnet.images.float_range import extent
from adnet.images.formats.codec import damage_told
from adnet.images.formats.image_file import colour_channels, planes
from adnet.images.formats.rows import RowSource, open_rows, open_sink
from adnet.images.formats.tiff import no_data_of
from adnet.images.image import ImageFile, target_format
from adnet.images.noise_level import NoiseMeter
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.loading import Limits, Work, checked

Bands = list[tuple[slice, slice]]
"""Rows of each band, and those of them whose result is kept."""


def denoise_in_bands(
    work: Work,
    denoiser: Denoiser,
    limits: Limits,
    on_pixels: Callable[[int], None],
    sigma: float | None = None,
) -> list[str]:
    """Read, denoise and write an image band by band; the file appears whole or not at all.

    Args:
        sigma: the estimate of its noise, for a denoiser with sigma="auto".

    Returns:
        Further notes on what could not be kept.

    Raises:
        ImageError: the file is damaged, or the result cannot be written.
    """
    job, file = work.job, work.image
    with open_rows(job.source, limits.max_pixels) as source:
        if source is None or [one.shape for one in source.file.frames] != [
            one.shape for one in file.frames
        ]:
            raise ImageError(f"{job.source}: changed while it was read.")
        told = _checked(work, file, source, limits)
        try:
            call = _Call(denoiser, sigma)
            _from_file_to_file(work, file, source, call, on_pixels)
            told += [f"its decoder said: {line}" for line in dict.fromkeys(call.said)]
        except OSError as err:
            raise ImageError(f"{job.target}: cannot be written: {err.strerror or err}.") from err
    return told


def estimate_in_bands(work: Work, denoiser: Denoiser, limits: Limits) -> float | None:
    """Estimate the noise of the first page, stripe by stripe, before any of it is denoised.

    Raises:
        ImageError: the file is damaged.
    """
    pixels = work.image.pixels
    meter = NoiseMeter(pixels.shape[:2], denoiser.value_range)
    stripes = [slice(top, top + meter.block) for top in
               range(0, pixels.shape[0] - meter.block + 1, meter.block)]  # fmt: skip
    with open_rows(work.job.source, limits.max_pixels) as source:
        if source is None:
            raise ImageError(f"{work.job.source}: changed while it was read.")
        plan = [(one, one) for one in stripes]
        for window in windows(_named(str(work.job.source), source.bands(0)), plan):
            meter.add(window[..., : colour_channels(pixels)])
    return meter.sigma()


@dataclass(frozen=True, slots=True)
class _Call:
    """A denoiser, and what is known of the noise of the image that it is called for."""

    denoiser: Denoiser
    sigma: float | None
    said: list[str] = field(default_factory=list)
    """By the decoder of the image."""

    def next_of(self, rows: Iterator[NDArray[Any]]) -> NDArray[Any]:
        """Read the next band."""
        with listening(self.said, to_c=True):
            return next(rows)

    def __call__(self, window: NDArray[Any], on_pixels: Callable[[int], None]) -> NDArray[Any]:
        return self.denoiser(window, on_pixels, sigma=self.sigma)


def _checked(work: Work, file: ImageFile, source: RowSource, limits: Limits) -> list[str]:
    """Look at the values of float images first: refused at the end, all work would be lost."""
    told = []
    for page, no_data in enumerate(no_data_of(source.file)):
        frame = file.frames[page]
        if frame.dtype.kind == "f":
            with damage_told(str(work.job.source)):
                found = extent(source.bands(page), colour_channels(frame))
            told.append(checked(work.job, found, limits, no_data))
    return [one for one in told if one]


def _from_file_to_file(
    work: Work,
    file: ImageFile,
    source: RowSource,
    call: _Call,
    on_pixels: Callable[[int], None],
) -> None:
    job = work.job
    with atomic_path(job.target) as temporary:
        with temporary.open("wb") as out:
            sink = open_sink(out, file, target_format(file, job.target))
            for page, frame in enumerate(file.frames):
                height = (work.heights or ())[page]
                plan = call.denoiser.plan_bands(
                    frame.shape[:2], colour_channels(frame), height, call.sigma
                )
                rows = _named(str(job.source), windows(source.bands(page), plan))
                _denoise_page(rows, plan, planes(frame[:1]).shape[2], call, sink.put, on_pixels)
                sink.end_page()
            sink.close()
            size = out.tell()
        if (written := temporary.stat().st_size) != size:
            raise OSError(f"{written} of {size} bytes were written, is the disk full?")


def _denoise_page(
    rows: Iterator[NDArray[Any]],
    plan: Bands,
    channels: int,
    call: _Call,
    put: Callable[[NDArray[Any]], None],
    on_pixels: Callable[[int], None],
) -> None:
    """Read the next band and write the last one while one is denoised.

    Args:
        channels: those to denoise, alpha included; samples beyond them are copied.
    """
    with (
        ThreadPoolExecutor(1, "read-band") as reader,
        ThreadPoolExecutor(1, "write-band") as writer,
    ):
        reading = reader.submit(call.next_of, rows)
        writing: Future[None] | None = None
        for place, core in plan:
            window = reading.result()
            if place is not plan[-1][0]:
                reading = reader.submit(call.next_of, rows)
            kept = slice(core.start - place.start, core.stop - place.start)
            counted = _Counted(on_pixels, core.stop - core.start, len(window), window.shape[1])
            result = call(window[..., :channels], counted)[kept]
            counted.finish()
            if window.shape[2] > channels:
                result = np.concatenate([result, window[kept, :, channels:]], axis=2)
            if writing is not None:
                writing.result()
            writing = writer.submit(put, result)
        if writing is not None:
            writing.result()


class _Counted:
    """Counts the pixels of a band that are kept; the denoiser counts those of its halo, too."""

    def __init__(self, report: Callable[[int], None], kept: int, rows: int, width: int) -> None:
        self._report, self._share, self._all = report, kept / rows, kept * width
        self._seen, self._told = 0, 0

    def __call__(self, pixels: int) -> None:
        self._seen += pixels
        self._tell(min(self._all, int(self._seen * self._share)))

    def finish(self) -> None:
        """Count the rest."""
        self._tell(self._all)

    def _tell(self, upto: int) -> None:
        step, self._told = upto - self._told, upto
        self._report(step)


def windows(bands: Iterator[NDArray[Any]], plan: Bands) -> Iterator[NDArray[Any]]:
    """Cut bands of any height, (rows, W, C) each, into those of a plan, which overlap."""
    rest: NDArray[Any] | None = None
    last: NDArray[Any] | None = None
    end = 0
    for place, _ in plan:
        height = place.stop - place.start
        rest = next(bands) if rest is None else rest
        window = np.empty((height, *rest.shape[1:]), rest.dtype)
        filled = 0
        if last is not None:
            filled = end - place.start
            window[:filled] = last[len(last) - filled :]
        while filled < height:
            rest = next(bands) if rest is None else rest
            count = min(len(rest), height - filled)
            window[filled : filled + count] = rest[:count]
            filled += count
            rest = rest[count:] if count < len(rest) else None
        last, end = window, place.stop
        yield window
        if rest is None:
            rest = next(bands, None)


def _named(name: str, rows: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    with damage_told(name):
        yield from rows
