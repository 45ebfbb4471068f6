"""Whether an image is read as a whole or in bands, before any of its pixels are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from adnet.errors import ImageError
from adnet.images.float_range import Extent, Range, check_range, extent
from adnet.images.formats.codec import damage_told, stays_lossless
from adnet.images.formats.image_file import colour_channels, require_pixels
from adnet.images.formats.need import glance, whole_bytes
from adnet.images.formats.rows import RowSource, divides, open_rows, work_bytes
from adnet.images.formats.tiff import no_data_of
from adnet.images.image import (
    DEFAULT_MAX_PIXELS,
    ImageFile,
    check_writable,
    read_image,
    require_file,
    target_format,
)
from adnet.runtime.budget import SHARE, free_memory, parse_size, told_size
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.jobs import Job

_HEIGHTS = (None, 384, 256, 192, 128, 96, 72)
"""Rows of a band, the denoiser's own first; each has a halo of 20 rows on both sides."""
_LARGE = 128 << 20
"""Images that take more as a whole are denoised in bands even where there is room: the memory that
bands take is used again and again, that of a whole image the system has to find page by page,
which was half as much work again as the decoding and encoding themselves."""
_WINDOWS = 4
"""Bands in memory at once: read, denoised, its result, the one that is written."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run allows, and what it is told about its images."""

    max_pixels: int = DEFAULT_MAX_PIXELS
    """Of all frames or pages of one file."""
    strip_metadata: bool = False
    memory: int | None = None
    """Bytes for images; more than that is denoised in bands. None: half of what is free."""
    most: int | None = None
    """Bytes for one image that cannot be read in bands; None for `memory`."""
    value_range: Range | None = None
    """Black and white of float images; None: 0 and 1, and what cannot be so is refused."""
    quality: int | None = None
    """Of lossy formats, 1 to 100; None: a JPEG's own, else 95."""


@dataclass(frozen=True, slots=True)
class Work:
    """An image that is about to be denoised."""

    job: Job
    file: ImageFile | None = None
    """Its pixels are stand-ins before it is read, and where it is denoised in bands; None where its
    header is not known beforehand."""
    count: int = 0
    """Bytes that it will take."""
    heights: tuple[int | None, ...] | None = None
    """Rows of the bands of each page, None for the denoiser's own; None altogether: as a whole."""

    @property
    def image(self) -> ImageFile:
        """`file`, once it is known."""
        if self.file is None:
            raise ValueError(f"{self.job.source} was not read yet")
        return self.file

    def with_notes(self, notes: list[str]) -> Work:
        """Add notes on what could not be kept."""
        return replace(self, file=replace(self.image, notes=(*self.image.notes, *notes)))


BandRows = Callable[[tuple[int, int], int, "int | None"], int]
"""Given a size, the colour planes and the most rows that are wanted: rows of the largest band."""


def memory_for_images(denoiser: Denoiser, max_memory: str | int | None) -> tuple[int, int]:
    """Return `memory` and `most` of `Limits`.

    Args:
        max_memory: of the whole program, such as 2G; None for half of what is free, and as much as
            is free for one image that cannot be read in bands.

    Raises:
        UsageError: that is no size, or too small.
    """
    if max_memory is not None:
        left = denoiser.divide_memory(parse_size(max_memory))
        return left, left
    free = free_memory()
    return free // SHARE, free


def examine(job: Job, limits: Limits, memory: int, band_rows: BandRows) -> Work:
    """Look at the header of an image, and decide.

    Args:
        memory: bytes that images may take.

    Raises:
        ImageError: it cannot be read or written, or does not fit into the memory in any way.
    """
    if job.target.is_dir():
        raise ImageError(f"{job.target}: a folder of that name is in the way of the result.")
    size = require_file(job.source, limits.max_pixels)
    most = max(memory, limits.most or memory)
    try:
        with open_rows(job.source, limits.max_pixels) as source:
            if source is not None:
                return _examine_source(job, source, limits, (memory, most, size), band_rows)
        file = glance(job.source)
    except OSError as err:
        raise ImageError(f"{job.source}: cannot be read: {err.strerror or err}.") from err
    if file is None:
        return Work(job)
    with damage_told(str(job.source)):
        require_pixels([frame.shape[1::-1] for frame in file.frames], limits.max_pixels)
    count = whole_bytes(file, target_format(file, job.target), size)
    if count > most:
        raise _too_large(job, file, count, most, f"a {file.format} file")
    return Work(job, file, count)


def load(work: Work, limits: Limits) -> ImageFile:
    """Read an image as a whole and make sure that its result can be written."""
    return load_from(work.job, read_image(work.job.source, limits.max_pixels), limits)


def load_from(job: Job, file: ImageFile, limits: Limits) -> ImageFile:
    """Make sure that an image that was read can be denoised and its result written.

    Raises:
        ImageError: it cannot.
    """
    told = [
        checked(job, extent([frame], colour_channels(frame)), limits, no_data)
        for frame, no_data in zip(file.frames, no_data_of(file), strict=True)
    ]
    return _ready(job, replace(file, notes=(*file.notes, *filter(None, told))), limits)


def band_rows_of(denoiser: Denoiser) -> BandRows:
    """Return how high the bands are that a denoiser cuts an image into."""

    def rows(size: tuple[int, int], channels: int, most: int | None) -> int:
        plan = denoiser.plan_bands(size, channels, most)
        return max(int(band.stop - band.start) for band, _ in plan)

    return rows


def checked(job: Job, found: Extent | None, limits: Limits, no_data: float | None) -> str:
    """See `check_range`; names the file."""
    try:
        return check_range(found, limits.value_range, no_data)
    except ImageError as err:
        raise ImageError(f"{job.source}: {err}") from err


def _examine_source(
    job: Job, source: RowSource, limits: Limits, room: tuple[int, int, int], band_rows: BandRows
) -> Work:
    memory, most, size = room
    file = source.file
    wanted = target_format(file, job.target)
    whole = whole_bytes(file, wanted, size)
    if whole <= min(memory, _LARGE):
        return Work(job, file, whole)
    unchanged, file = file, _ready(job, file, limits)
    reason = source.why_not
    if work_bytes(file, wanted, 0) is None:
        reason = f"a {wanted} file"
    if reason:
        if whole > most:
            raise _too_large(job, file, whole, most, reason)
        return Work(job, unchanged, whole)
    if whole <= memory and divides(file, wanted):
        return Work(job, unchanged, whole)
    heights, count = [], 0
    for page, frame in enumerate(file.frames):
        row = frame[:1].nbytes
        beside = source.band_bytes(page) + (work_bytes(file, wanted, page) or 0)
        for height in _HEIGHTS:
            rows = band_rows(frame.shape[:2], colour_channels(frame), height)
            need = beside + _WINDOWS * rows * row
            if need <= memory:
                break
        else:
            if whole <= most:
                return Work(job, unchanged, whole)
            raise _too_large(job, file, need, memory, "")
        heights.append(height)
        count = max(count, need)
    if whole <= min(memory, count):
        return Work(job, unchanged, whole)
    return Work(job, file, count, tuple(heights))


def _ready(job: Job, file: ImageFile, limits: Limits) -> ImageFile:
    if limits.strip_metadata:
        file = file.without_metadata()
    file = replace(file, quality=limits.quality)
    file = replace(file, lossless=stays_lossless(file, job.source, job.target))
    return replace(file, notes=(*file.notes, *check_writable(file, job.target, job.source)))


def _too_large(job: Job, file: ImageFile, count: int, room: int, why: str) -> ImageError:
    height, width = file.pixels.shape[:2]
    pages = f" in {len(file.frames)} frames or pages" if file.more else ""
    how = f", and {why} is read or written as a whole" if why else ", even in bands"
    remedy = " or convert it to PNG or TIFF, which are denoised in bands," if why else ""
    return ImageError(
        f"{job.source}: {width}x{height}{pages} takes about {told_size(count)} of memory{how}; "
        f"{told_size(room)} are left for images. Raise --max-memory by "
        f"{told_size(count - room)},{remedy} or run it where more memory is free."
    )
