"""One image from stdin, or to stdout."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import IO

from adnet._streams import was_closed
from adnet.errors import ImageError, UsageError
from adnet.images.formats.codec import decode_image, encode_image
from adnet.images.formats.kinds import FORMATS
from adnet.images.image import ImageFile, read_image, target_format, write_image
from adnet.runtime.image_report import report_image
from adnet.runtime.jobs import Job, is_done, make_plan
from adnet.runtime.loading import Limits, load_from
from adnet.runtime.request import Request
from adnet.runtime.summary import ImageReport, Summary

STREAM = Path("-")
"""Stands for stdin among the inputs, for stdout as the output."""


def is_piped(request: Request) -> bool:
    """Tell whether stdin or stdout is asked for."""
    return STREAM in request.inputs or request.output == STREAM


def run_piped(request: Request, summary: Summary) -> None:
    """Denoise one image from stdin or a file to stdout or a file.

    The image is encoded as a whole before its first byte is written: after an error nothing
    comes out.

    Raises:
        UsageError: several inputs, or a terminal where image data should go or come from.
        ImageError: it cannot be read, denoised or written.
    """
    job, data = _job(request)
    begin = time.monotonic()
    if job.target != STREAM and is_done(job.target) and not request.overwrite:
        summary.skipped += 1
        report = ImageReport(job.source, job.target, "skipped", "the output exists")
        summary.images.append(report)
        return
    summary.remarks += request.remarks()
    with request.opened() as session:
        denoiser = session.denoiser
        file, named = _read(job, data, session.limits, request)
        sigma = denoiser.estimate(file.pixels) if denoiser.sigma == "auto" else None
        frames = [denoiser(frame, sigma=sigma) for frame in file.frames]
        if job.target == STREAM:
            _to_stdout(encode_image(frames, file, target_format(file, named.target)))
        else:
            write_image(job.target, frames, file)
        seconds = time.monotonic() - begin
        report = report_image(
            job, file, denoiser, sigma=sigma, seconds=seconds, summary=summary,
            named=named.target,
        )  # fmt: skip
        summary.images.append(report)
        summary.written.append(job.target)
        summary.seconds += seconds
        session.tell(summary)


def _job(request: Request) -> tuple[Job, bytes | None]:
    """Return what goes where, and what was read from stdin."""
    if len(request.inputs) != 1:
        raise UsageError("-: with stdin or stdout there is one image; give one input.")
    if request.compare is not None:
        raise UsageError("--compare is for files; it does not go with - for stdin or stdout.")
    source, target = request.inputs[0], request.output
    if source != STREAM:  # to stdout; the plan refuses what is no image
        if source.is_dir():
            raise UsageError(f"{source}: a folder does not fit into stdout; give one image.")
        make_plan([source], STREAM)
        return Job(source, STREAM), None
    if target is None:
        raise UsageError("say where the result of stdin goes: -o -, or -o FILE.")
    if target != STREAM:
        if target.is_dir() or target.suffix.lower() not in FORMATS:
            raise UsageError(
                f"{target}: the result of stdin needs the name of a file that ends in one of "
                f"{', '.join(FORMATS)}."
            )
        request.naming.check_file(target)
    return Job(STREAM, target), _from_stdin()


def _read(job: Job, data: bytes | None, limits: Limits, request: Request) -> tuple[ImageFile, Job]:
    """Read the image; returns it, and the job with names for messages and format."""
    named = job
    if job.target == STREAM:
        named = Job(job.source, Path(f"stdout{request.naming.ending}"))
    if data is None:
        file = read_image(job.source, limits.max_pixels)
    else:
        named = Job(Path("stdin"), named.target)
        file = decode_image(data, "stdin", limits.max_pixels)
    return load_from(named, file, limits), named


def _from_stdin() -> bytes:
    if sys.stdin.isatty():
        raise UsageError("-: stdin is a terminal; pipe an image into it.")
    data: bytes = sys.stdin.buffer.read()
    return data


def _to_stdout(data: bytes) -> None:
    """Write all, or say that it was not taken."""
    if was_closed(1):
        raise ImageError("stdout: is closed, so nothing takes the image. Redirect it to a file.")
    if sys.stdout.isatty():
        raise UsageError("-: stdout is a terminal; pipe it on or redirect it to a file.")
    stream: IO[bytes] = os.fdopen(os.dup(1), "wb")
    try:
        with stream:
            stream.write(data)
    except BrokenPipeError as err:
        raise ImageError("stdout: the reader went away before it had the whole image.") from err
    except OSError as err:
        raise ImageError(f"stdout: cannot be written: {err.strerror or err}.") from err
