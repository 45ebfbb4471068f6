"""Quality: PSNR and SSIM on a data set under the published noise protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from adnet.benchmarks.paper import paper_psnr
from adnet.benchmarks.subject import Subject
from numpy.typing import NDArray

from adnet.errors import AdnetError, UsageError
from adnet.evaluate import evaluate
from adnet.image import load_folder

PROTOCOL = (
    "Gaussian noise, seed 0 before every image (the published generator), not clipped; result "
    "clipped to [0, 1]; PSNR per image on floats, mean over images"
)


def find_dataset(text: str) -> tuple[str, Path]:
    """Turn a folder, or the name of a fetched data set, into its name and folder.

    Raises:
        UsageError: there is neither.
    """
    folder = Path(text)
    if folder.is_dir():
        return folder.resolve().name, folder
    from adnet.datasets import DATASETS, dataset_folder  # noqa: PLC0415

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
    """Read the clean images of a data set, the first `limit` by name."""
    return dict(list(load_folder(folder, channels).items())[:limit])


def measure_quality(
    subjects: Sequence[Subject],
    dataset: str,
    clean: Mapping[str, NDArray[np.uint8]],
    sigma: float,
    on_subject: Callable[[str], None] = lambda _: None,
    *,
    is_whole: bool = True,
) -> list[dict[str, Any]]:
    """Measure every subject on every image; one that fails is marked and the others go on.

    The difference is told to PyTorch or ONNX Runtime in float32 where they take part, else to the
    first subject.

    Args:
        is_whole: all of the set is measured, so the paper's figure can stand beside.
    """
    results: list[dict[str, Any]] = []
    images = [image / np.float32(255) for image in clean.values()]
    for subject in subjects:
        if subject.error is not None:
            continue
        on_subject(subject.name)
        try:
            found = evaluate(subject.denoiser, images, sigma, with_ssim=True)
        except AdnetError as err:
            subject.error = str(err)
            continue
        card = subject.backend.card
        similar = [one.ssim for one in found if one.ssim is not None]
        results.append(
            {
                "backend": subject.name,
                "dataset": dataset,
                "sigma": sigma,
                "images": len(found),
                "psnr": float(np.mean([one.psnr for one in found])),
                "psnr_8_bit": float(np.mean([one.psnr_8_bit for one in found])),
                "ssim": float(np.mean(similar)) if similar else None,
                "paper_psnr": paper_psnr(dataset, sigma, card.is_blind) if is_whole else None,
                "is_simulated": subject.is_simulated,
                "per_image": {
                    name: round(one.psnr, 4) for name, one in zip(clean, found, strict=True)
                },
            }
        )
    order = {"torch": 0, "onnx": 1}
    exact = sorted(results, key=lambda one: order.get(one["backend"], 2))[:1]
    for one in results:
        one["reference"] = exact[0]["backend"]
        one["delta_psnr"] = one["psnr"] - exact[0]["psnr"]
    return results
