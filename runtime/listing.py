"""What adnet-run lists: models, backends, and what its doctor found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adnet.models.shipped import FAST_SUFFIX, PretrainedModel, loss_of_fast, pretrained_models


def models_as_json() -> list[dict[str, Any]]:
    """List the shipped models for programs; `training` is the whole record of the card."""
    return [
        {"name": m.name, "channels": m.card.channels, "sigma_range": m.card.sigma_range,
         "test_psnr": m.card.training.get("test_psnr"),
         "test_pairs": m.card.training.get("test_pairs"),
         "data_terms": m.card.training.get("data_terms"), "path": m.path, "sha256": m.sha256,
         "weights_sha256": m.card.weights_sha256, "training": m.card.training}
        for m in pretrained_models()
    ]  # fmt: skip


def models_as_text() -> Iterator[str]:
    """List the shipped models for people."""
    for model in pretrained_models():
        colour = "gray" if model.card.channels == 1 else "colour"
        size = model.path.stat().st_size / 1e6
        sigma = model.card.describe_sigma()
        yield f"{model.name:<16} {colour:<7} {sigma:<20} {size:.1f} MB  {_quality(model)}".rstrip()


def backends_as_text(rows: list[Any]) -> Iterator[str]:
    """Tell what can run here; see `inventory.list_backends`."""
    for row in rows:
        state = "yes" if row.available else "no"
        yield f"{row.backend:<6} {row.where:<10} {state:<4} {row.version:<12} {row.note}".rstrip()


def findings_as_text(findings: list[Any]) -> Iterator[str]:
    """Tell what `doctor.examine` found."""
    for one in findings:
        expected = f"; expected: {one.expected}" if one.expected else ""
        remedy = f"; to do: {one.remedy}" if one.remedy else ""
        yield f"{one.topic:<16} {one.state:<4} {one.found}{expected}{remedy}"


def _quality(model: PretrainedModel) -> str:
    told = model.card.training.get("test_psnr", {})
    quality = ", ".join(
        f"{name} {' / '.join(f'{psnr:.2f}' for psnr in at.values())} dB at sigma {' / '.join(at)}"
        for name, at in told.items()
    )
    for name, pairs in model.card.training.get("test_pairs", {}).items():
        gain = f"{name} {pairs['noisy']:.2f} -> {pairs['denoised']:.2f} dB"
        quality = f"{quality}; {gain}" if quality else gain
    if model.name.endswith(FAST_SUFFIX):
        quality = f"{quality}; int8: {loss_of_fast(model)}"
    return quality
