"""ADNet image denoising, from training to deployment.

    import adnet
    denoised = adnet.denoise(noisy)  # an array, a Pillow image, a path, or a list of them
    adnet.denoise_folder("PHOTOS", "OUT", strength=0.8)

Importing this package costs nothing: the names below are loaded when first used (PEP 562), and
only training and export need torch.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adnet._checkout import checkout_entry

__version__ = "0.2.0"

if _checkout := checkout_entry(Path(__file__).parent.parent):
    __path__.append(_checkout)

if TYPE_CHECKING:
    from adnet.errors import AdnetError
    from adnet.models.card import ModelCard
    from adnet.runtime.api import denoise, denoise_folder
    from adnet.runtime.denoiser import Denoiser

_LAZY = {
    "AdnetError": "adnet.errors",
    "Denoiser": "adnet.runtime.denoiser",
    "ModelCard": "adnet.models.card",
    "denoise": "adnet.runtime.api",
    "denoise_folder": "adnet.runtime.api",
}

__all__ = ["AdnetError", "Denoiser", "ModelCard", "__version__", "denoise", "denoise_folder"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
