"""What the paper reports, to stand beside what is measured.

Tian et al., "Attention-guided CNN for image denoising", Neural Networks 124 (2020), tables of
average PSNR: ADNet (one known noise level) and ADNet-B (blind). Only figures that were checked are
here; others are left out.
"""

from __future__ import annotations

KNOWN: dict[str, dict[int, float]] = {
    "BSD68": {15: 31.74, 25: 29.25, 50: 26.29},
    "Set12": {25: 30.58},
    "CBSD68": {15: 33.99, 25: 31.31, 35: 29.66, 50: 28.04, 75: 26.33},
}
"""Data set -> sigma -> dB of the model trained for that sigma."""

BLIND: dict[str, dict[int, float]] = {
    "BSD68": {15: 31.56, 25: 29.14, 50: 26.24},
    "CBSD68": {15: 33.79, 25: 31.12, 35: 29.48, 50: 27.83},
}
"""The same for the blind model."""


def paper_psnr(dataset: str, sigma: float, is_blind: bool | None) -> float | None:
    """Return the paper's figure; None where there is none.

    Args:
        is_blind: of the model measured; None (not recorded) is taken for a known level.
    """
    table = BLIND if is_blind else KNOWN
    return table.get(dataset, {}).get(int(sigma)) if sigma == int(sigma) else None
