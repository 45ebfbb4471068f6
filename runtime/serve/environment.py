"""What Ray reads from the environment; it does so when it is imported."""

from __future__ import annotations

import os
import secrets
from importlib.util import find_spec

from adnet.errors import UsageError
from adnet.extras import install_extra


def require_ray() -> None:
    """Make sure that Ray is installed.

    Raises:
        UsageError: it is not.
    """
    if find_spec("ray") is None:
        raise UsageError(f"ray is not installed. Install it: {install_extra('serve')}.")


def prepare(*, alone: bool) -> None:
    """Set it; call this before anything imports ray.

    Args:
        alone: Ray is started on this machine, for this server. It then has a token of its own:
            without one, whoever reaches the ports of Ray could have it run anything.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray would tell its makers that it is used
    if not alone:
        return
    # Its processes then take 127.0.0.1 for the address of this machine, and listen on nothing else.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ["RAY_AUTH_MODE"] = "token"
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
