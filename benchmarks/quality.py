"""Quality: PSNR and SSIM on a data set under the published noise protocol."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adnet.benchmarks.candidates import Candidate
from adnet.benchmarks.paper import paper_psnr
from adnet.benchmarks.results import Example, QualityRecord
from adnet.data.distinct import pixel_key
from adnet.data.pairs import refuse_pairs
from adnet.errors import AdnetError, UsageError
from adnet.images.evaluate import Float32, Quality, compare, mean_psnr
from adnet.images.image import find_images, load_image
from adnet.images.levels import from_levels, to_levels
from adnet.images.noise import add_published_noise

PROTOCOL = (
    "Gaussian noise, seed 0 before every image (the published generator), not clipped; result "
    "clipped to [0, 1]; PSNR per image on floats, mean over images"
)


_DETAIL = 128
"""Side of the details shown before and after."""


def find_dataset(text: str) -> tuple[str, Path]:
    """Turn a folder, or the name of a fetched data set, into its name and folder.

    Raises:
        UsageError: there is neither.
    """
    folder = Path(text)
    if folder.is_dir():
        return folder.resolve().name, folder
    from adnet.data.datasets import DATASETS, dataset_folder  # noqa: PLC0415

    if text in DATASETS:
        try:
            folder = dataset_folder(text)
        except ModuleNotFoundError:
            folder = Path(text)
        if folder.is_dir():
            return text, folder
        raise UsageError(
            f"--data {text}: not fetched yet. 'adnet-data fetch {text}' downloads it; or give its "
            "folder."
        )
    raise UsageError(
        f"--data {text}: no such folder, and no known data set ({', '.join(DATASETS)})."
    )


def load_clean(folder: Path, channels: int, limit: int | None) -> Mapping[str, NDArray[np.uint8]]:
    """Read the clean images of a data set, the first `limit` by name.

    Raises:
        UsageError: there is no image, or there are pairs, of which one image is noisy.
    """
    paths = find_images(folder)
    refuse_pairs(folder, paths, "adnet-bench tables")
    loaded = {path.relative_to(folder).as_posix(): load_image(path, channels) for path in paths}
    return dict(list(loaded.items())[:limit])


def measure_quality(
    candidates: Sequence[Candidate],
    dataset: str,
    clean: Mapping[str, NDArray[np.uint8]],
    sigma: float,
    on_progress: Callable[[float], None] = lambda _: None,
    *,
    is_whole: bool = True,
) -> tuple[list[QualityRecord], list[Example]]:
    """Measure every candidate on every image; one that fails is marked and the others go on.

    Differences are told to one candidate in float32: PyTorch where it takes part (a peer counts),
    else ONNX Runtime, else the first.

    Args:
        on_progress: called with the share of images that is done.
        is_whole: all of the set is measured, so the paper's figure can stand beside.

    Returns:
        One entry per candidate; details of a few images, before and after (see `examples`).
    """
    order = {"published-script": 0, "torch": 1, "npu": 1, "torch-compile": 2, "onnx": 3}
    ranked = sorted(
        candidates, key=lambda one: (one.precision != "fp32", order.get(one.source.backend, 4))
    )
    reference = ranked[0]
    found: dict[str, dict[str, Quality]] = {one.name: {} for one in candidates}
    largest = dict.fromkeys(found, 0.0)
    for count, (image, pixels) in enumerate(clean.items(), start=1):
        original = from_levels(pixels)
        noisy = add_published_noise(original, sigma)
        expected = None
        for candidate in ranked:
            if candidate.error is not None:
                continue
            try:
                denoised = candidate.denoise(noisy)
            except Exception as err:  # noqa: BLE001  (engines raise anything; it is reported)
                candidate.error = str(err) or repr(err)
                continue
            if candidate is reference:
                expected = denoised
            if expected is not None:
                difference = float(np.abs(denoised - expected).max())
                largest[candidate.name] = max(largest[candidate.name], difference)
            found[candidate.name][image] = compare(original, denoised, with_ssim=True)
        on_progress(count / len(clean))
    working = [one for one in ranked if one.error is None]
    if not working:
        return [], []
    # Where the first choice failed midway, the largest differences are not of all images.
    is_complete = working[0] is reference
    base = found[working[0].name]
    names = "\0".join(clean).encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(names + pixel_key(*clean.values())).hexdigest()
    results = [
        _record(
            candidate, dataset, sigma, found[candidate.name], (working[0].name, base),
            largest[candidate.name] if is_complete else None, is_whole=is_whole,
            images_sha256=digest,
        )
        for candidate in candidates
        if candidate.error is None
    ]  # fmt: skip
    ordered = sorted(base, key=lambda image: base[image].psnr)
    chosen = list(dict.fromkeys([ordered[0], ordered[len(ordered) // 2], ordered[-1]]))
    shown = next((one for one in candidates if one.error is None and not one.is_peer), working[0])
    return results, examples(shown, {image: clean[image] for image in chosen}, sigma)


def _record(
    candidate: Candidate,
    dataset: str,
    sigma: float,
    found: Mapping[str, Quality],
    reference: tuple[str, Mapping[str, Quality]],
    largest_difference: float | None,
    *,
    is_whole: bool,
    images_sha256: str,
) -> QualityRecord:
    """Sum up the images of one candidate; `reference` is the name and images of another."""
    similar = [one.ssim for one in found.values() if one.ssim is not None]
    is_blind = candidate.backend.card.is_blind
    psnr = mean_psnr(found.values())
    return QualityRecord(
        candidate=candidate.name,
        dataset=dataset,
        sigma=sigma,
        images=len(found),
        psnr=psnr,
        psnr_8_bit=float(np.mean([one.psnr_8_bit for one in found.values()])),
        ssim=float(np.mean(similar)) if similar else None,
        paper_psnr=paper_psnr(dataset, sigma, is_blind) if is_whole else None,
        delta_psnr=psnr - mean_psnr(reference[1].values()),
        is_simulated=candidate.is_simulated,
        per_image={name: round(one.psnr, 6) for name, one in found.items()},
        reference=reference[0],
        largest_difference=largest_difference,
        images_sha256=images_sha256,
    )


def examples(
    candidate: Candidate, clean: Mapping[str, NDArray[np.uint8]], sigma: float
) -> list[Example]:
    """Cut the busiest detail out of each image: noisy, denoised and clean, as PNG in base64."""
    results = []
    for name, pixels in clean.items():
        original = from_levels(pixels)
        noisy = add_published_noise(original, sigma)
        rows, columns = _busiest(original)
        try:
            denoised = candidate.denoise(noisy)
        except AdnetError:  # it was measured; a picture less is no reason to lose the figures
            break
        pictures = (_as_png(image[rows, columns]) for image in (noisy, denoised, original))
        results.append(Example(name, candidate.name, sigma, *pictures))
    return results


def _busiest(image: Float32) -> tuple[slice, slice]:
    """Find the square detail with the largest variance, on a coarse grid."""
    height, width = (min(_DETAIL, length) for length in image.shape[:2])
    step = max(1, _DETAIL // 4)
    places = [
        (slice(y, y + height), slice(x, x + width))
        for y in range(0, image.shape[0] - height + 1, step)
        for x in range(0, image.shape[1] - width + 1, step)
    ]
    return max(places, key=lambda place: float(image[place].var()))


def _as_png(image: Float32) -> str:
    levels = to_levels(image)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
