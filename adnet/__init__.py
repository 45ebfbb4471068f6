"""ADNet image denoising, from training to deployment.

    import adnet
    denoised = adnet.Denoiser("gray-blind")(noisy)

Importing this package costs nothing: the names below are loaded when first used (PEP 562), and
only training and export need torch.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a source checkout the sub-packages lie beside this folder, not in it. An installation maps
# them (pyproject.toml); Python started in the checkout's root finds this folder first and needs
# to be told.
_root = Path(__file__).parent.parent
if (_root / "pyproject.toml").is_file():
    __path__.append(str(_root))

if TYPE_CHECKING:
    from adnet.card import ModelCard
    from adnet.errors import AdnetError
    from adnet.runtime.denoiser import Denoiser

_LAZY = {
    "AdnetError": "adnet.errors",
    "Denoiser": "adnet.runtime.denoiser",
    "ModelCard": "adnet.card",
}

__all__ = ["AdnetError", "Denoiser", "ModelCard", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
