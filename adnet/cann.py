"""What every part that meets Huawei's CANN needs: how to set it up, what its chip is called."""

from __future__ import annotations

from typing import Any

SOURCE_SET_ENV = (
    "run 'source /usr/local/Ascend/ascend-toolkit/set_env.sh' (CANN 8.5 and later: "
    "/usr/local/Ascend/cann/set_env.sh)"
)
"""The remedy when CANN's libraries or modules are not found."""


def soc_name(acl: Any) -> str | None:
    """Ask the module `acl` for the chip's name; None where it does not tell.

    The manuals of several releases have it as `acl.get_soc_name`, others in `acl.rt`.
    """
    for module in (acl, getattr(acl, "rt", None)):
        ask = getattr(module, "get_soc_name", None)
        if ask is not None:
            name = ask()
            return str(name) if name else None
    return None
