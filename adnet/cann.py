"""What every part that meets Huawei's CANN needs: where it is, its version, what its chip can."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

SOURCE_SET_ENV = (
    "run 'source /usr/local/Ascend/ascend-toolkit/set_env.sh' (CANN 8.5 and later: "
    "/usr/local/Ascend/cann/set_env.sh)"
)
"""The remedy when CANN's libraries or modules are not found."""

HAL = "libascend_hal.so"
"""The library between CANN and the driver; CANN's devlib has a stand-in for it, to convert with."""


def is_simulated(module: object) -> bool:
    """Tell whether `acl` or `torch_npu` is a simulator: those say `SIMULATED = True`.

    What it computes is real; its times, and what it accepts, say nothing of a chip.
    """
    return getattr(module, "SIMULATED", False) is True


def soc_name(acl: Any) -> str | None:
    """Ask the module `acl` for the chip's name; None where it does not say.

    The manuals of several releases have it as `acl.get_soc_name`, others in `acl.rt`.
    """
    for module in (acl, getattr(acl, "rt", None)):
        ask = getattr(module, "get_soc_name", None)
        if ask is not None:
            name = ask()
            return str(name) if name else None
    return None


def cann_homes() -> list[Path]:
    """List where CANN is: by its variables, for all users, or below $HOME; the first counts."""
    named = [os.environ.get(name) for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")]
    roots = [Path("/usr/local/Ascend"), Path.home() / "Ascend"]
    # The first is where CANN 8.5 and later is, the second where it was before.
    below = [root / one for root in roots for one in ("cann", "ascend-toolkit/latest")]
    places = [Path(one) for one in named if one] + below
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def devlib_places(home: Path) -> list[Path]:
    """List where below CANN's folder its devlib may be; from CANN 8.0 to 8.3 it lay deeper."""
    machine = platform.machine()
    below = ["devlib", f"{machine}-linux/devlib"]
    return [home / one for one in [*below, *(f"{one}/linux/{machine}" for one in below)]]


def cann_version(home: Path | None = None) -> str | None:
    """Read the version of the CANN that this machine has, such as 8.5.0 or 8.3.RC1.

    Args:
        home: its folder; None takes the first of `cann_homes`.

    Returns:
        None when there is none, or it does not say.
    """
    for place in cann_homes()[:1] if home is None else [home]:
        for file in sorted(place.glob("*-linux/ascend_toolkit_install.info")):
            found = re.search(r"^version=(\S+)", _text(file), re.MULTILINE)
            if found:
                return found[1]
        found = re.search(r"CANN-([\w.]+)", _text(place / "version.cfg"))
        if found:
            return found[1]
    return None


def has_float32_cube(soc: str) -> bool:
    """Tell whether a chip's matrix unit takes float32 and bfloat16.

    The 310P and the first 910 take float16 only (Intrinsic_mmad in CANN's platform files), and
    torch_npu leaves them out of its INF/NaN mode: an overflow may saturate. Names that adnet does
    not know are trusted.
    """
    return not re.fullmatch(r"Ascend310(P\d)?|Ascend910(A|B|ProA|ProB|PremiumA)?", soc)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
