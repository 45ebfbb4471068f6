"""Whether a run that came to its end has made something."""

from __future__ import annotations

import math
from pathlib import Path

from adnet.errors import TrainingError


def require_result(
    val_psnr: float | None, best_psnr: float, step: int, learned: int, best: Path
) -> None:
    """Make sure that a run does not end well that learned nothing, or computes no image.

    Args:
        learned: steps that the weights have learned from, of all `step` steps.

    Raises:
        TrainingError: none, or the last validation gave no number.
    """
    if not learned:
        raise TrainingError(
            f"nothing was learned: each of the {step} steps was skipped, because its gradients "
            "overflowed or vanished in half precision, or was taken back after the loss ran away. "
            f"{best} holds the weights of the start. Use a lower --lr, more steps, --precision "
            "bf16 or fp32, or another --loss-scale."
        )
    if val_psnr is None or val_psnr > -math.inf:  # infinite is perfect; nan is not above it
        return
    kept = f"the best before it, {best_psnr:.3f} dB, is in {best}"
    if best_psnr == -math.inf:
        kept = "and so did every validation before it"
    raise TrainingError(
        f"step {step}: the validation gave no finite PSNR, {kept}. The network has run away though "
        "its loss had not: use a lower --lr, --precision bf16 or fp32, or check the data."
    )
