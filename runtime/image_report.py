"""Say how one image was denoised, for the summary and `--json`."""

from __future__ import annotations

from pathlib import Path

from adnet.images.image import ImageFile, target_format
from adnet.images.noise_level import HARDLY_ANY
from adnet.models.for_sigma import beyond
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.jobs import Job
from adnet.runtime.pixels import LUMA_NOISE
from adnet.runtime.summary import ImageReport, Summary

_SLACK = 1.1
"""So far off an estimate may be; its mean error is 1 to 3 %, see docs/run.md."""
_WITH_QUALITY = ("JPEG", "WEBP")


def report_image(
    job: Job,
    file: ImageFile,
    denoiser: Denoiser,
    *,
    sigma: float | None,
    seconds: float,
    summary: Summary,
    named: Path | None = None,
) -> ImageReport:
    """Say which model an image was denoised with and what the user should know of it.

    Args:
        sigma: the estimate of its noise on the 0-255 scale, where one was asked for.
        seconds: of denoising it.
        named: name that tells the format, where that of the target does not: of stdout.
        summary: gets the pixels, the notes, and what concerns more than this image.
    """
    channels = file.colour_channels
    backend = denoiser.model_for(channels, sigma)
    notes = list(file.notes)
    if backend.spec.dtype == "uint8" and any(one.dtype != "uint8" for one in file.frames):
        notes.append("the model takes 8 bits per sample, so the image was rounded to that.")
    is_by_planes = backend.card.channels == 1 and channels == 3
    summary.colour_with_gray += is_by_planes and denoiser.color_mode is None
    if sigma is not None and sigma < HARDLY_ANY:
        notes.append(
            f"hardly any noise was found (sigma {sigma:.1f}), so what was removed may be fine "
            "detail. Leave it out, or give a lower --strength."
        )
    elif sigma is not None and denoiser.choice(channels, sigma) is None:  # a model was named
        level = sigma * LUMA_NOISE if denoiser.color_mode == "luma" and channels == 3 else sigma
        around = (level / _SLACK, level, level * _SLACK)
        if all(beyond(backend.card, one) for one in around):
            notes.append(
                f"noise of sigma {level:.1f} was found, but {backend.card.name or 'the model'} is "
                f"for {backend.card.describe_sigma()}. Without --model, one is chosen by the noise."
            )
    if file.quality is not None and target_format(file, named or job.target) not in _WITH_QUALITY:
        summary.remark("--quality is of JPEG and lossy WebP; the other formats lose nothing.")
    choice = denoiser.choice(channels, sigma)
    if choice is not None and denoiser.sigma != "auto":
        summary.remark(f"{choice.reason}.")
    summary.pixels += sum(frame.shape[0] * frame.shape[1] for frame in file.frames)
    summary.notes += [(job.source, note) for note in notes]
    return ImageReport(
        job.source, job.target, "written", choice.reason if choice else None,
        backend.card.name or None, sigma, round(seconds, 3), notes,
    )  # fmt: skip
