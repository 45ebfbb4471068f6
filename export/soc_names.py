"""Names of Ascend chips: those that adnet knows, those of their families, those that CANN has."""

from __future__ import annotations

import difflib
import re

from adnet.errors import UsageError
from adnet.export.cann_install import platform_socs

SOCS = (
    "Ascend310", "Ascend310P1", "Ascend310P3", "Ascend310P5", "Ascend310P7", "Ascend310B1",
    "Ascend310B2", "Ascend310B3", "Ascend310B4", "Ascend910A", "Ascend910B", "Ascend910ProA",
    "Ascend910ProB", "Ascend910PremiumA", "Ascend910B1", "Ascend910B2", "Ascend910B2C",
    "Ascend910B3", "Ascend910B4", "Ascend910B4-1", "Ascend910_9362", "Ascend910_9363",
    "Ascend910_9372", "Ascend910_9381", "Ascend910_9382", "Ascend910_9391", "Ascend910_9392",
    *(f"Ascend950DT_{n}" for n in (
        "950x", "950y", "9571", "9572", "9573", "9574", "9575", "9576", "9577", "9578", "9581",
        "9582", "9583", "9584", "9585", "9586", "9587", "9588", "9591", "9592", "9595", "9596",
        "95A1", "95A2")),
    *(f"Ascend950PR_{n}" for n in (
        "950z", "9579", "957b", "957c", "957d", "9589", "958a", "958b", "9599")),
)  # fmt: skip
"""Names of chips that inference runs on; CANN ships a platform file for each but the first.

Source: the platform files of the open-sourced runtime (platform_config/cann, cann-dev), 2026.
"""

_FAMILIES = re.compile(
    r"Ascend310P\d|Ascend310B\d|Ascend910B\d(C|-\d)?|Ascend910_93\d\d|Ascend950(DT|PR)_95\w\w[xyz]?"
)
"""Further members that a newer CANN may know."""


def check_soc(soc: str) -> None:
    """Make sure that a chip of this name may exist.

    It does when adnet knows it, when it fits a family, or when the CANN of this machine has a
    platform file for it.

    Raises:
        UsageError: it does not; close names are suggested.
    """
    if soc in SOCS or _FAMILIES.fullmatch(soc):
        return
    installed = platform_socs()
    if soc in installed:
        return
    known = tuple(dict.fromkeys([*SOCS, *sorted(installed)]))
    spellings = (soc, f"Ascend{soc}")
    near = [name for name in known if name.lower() in [one.lower() for one in spellings]]
    for one in spellings:
        near = near or difflib.get_close_matches(one, known, n=3, cutoff=0.85)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {_abridged(known)}."
    raise UsageError(
        f"--soc {soc!r} is no chip's name that adnet, its families or an installed CANN know. "
        f"{hint} On the device, 'npu-smi info' shows it as Name: 310P3 is Ascend310P3. --any-soc "
        "hands the name to ATC as it is."
    )


def is_listed(soc: str) -> bool:
    """Tell whether the name is one that adnet or the CANN of this machine has for certain."""
    return soc in SOCS or soc in platform_socs()


def _abridged(names: tuple[str, ...]) -> str:
    """List names; the many of the 950 as one."""
    shown = [name for name in names if not name.startswith("Ascend950")]
    return ", ".join([*shown, "Ascend950DT_* and Ascend950PR_*"])
