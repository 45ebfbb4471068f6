"""Join a Ray cluster, or say plainly why that cannot be."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from adnet._streams import descriptor_2_into
from adnet.errors import UsageError
from adnet.extras import install_extra
from adnet.runtime.cluster.options import ClusterOptions

_log = logging.getLogger(__name__)


@contextmanager
def connected(options: ClusterOptions) -> Iterator[list[dict[str, float]]]:
    """Join the cluster while a block runs; yields what each node has.

    A connection that is there is used and left open.

    Raises:
        UsageError: there is no cluster, or it refuses us.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as err:
        raise UsageError(
            f"--cluster: {err.name} is not installed. Install it: {install_extra('cluster')}."
        ) from err

    ours = not ray.is_initialized()
    if ours:
        _require_reachable(options.address)
        _join(options.address)
    try:
        nodes = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
        if not any(_fits(node, options.needs) for node in nodes):
            told = ", ".join(f"{count} {name}" for name, count in options.needs.items())
            _log.warning("warning: no node has %s for a worker; waiting until one joins.", told)
        yield nodes
    finally:
        if ours:
            ray.shutdown()


def _join(address: str) -> None:
    import ray
    import ray.exceptions

    written: list[bytes] = []
    try:
        # Ray's core tells there alone why it is refused. What a cluster of our own writes goes on
        # after this.
        with nullcontext() if address == "local" else descriptor_2_into(written):
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if address == "local" else None,
            )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as err:
        told = "\n".join((*_lines_of(written), str(err)))
        if re.search("authentication|unauthenticated|token", told, re.IGNORECASE):
            raise UsageError(
                f"--cluster {address}: the cluster asks for a token, and the one of this machine "
                "is missing or another. Copy ~/.ray/auth_token from the head to this machine (or "
                "give it in RAY_AUTH_TOKEN, or its file in RAY_AUTH_TOKEN_PATH), and set "
                "RAY_AUTH_MODE=token; see docs/cluster.md."
            ) from err
        if isinstance(err, ConnectionError):
            raise UsageError(
                f"--cluster {address}: no Ray cluster is found ({_first_line(err)}). Start one "
                "with 'ray start --head', or give the address of its head, HOST:6379."
            ) from err
        raise UsageError(
            f"--cluster {address}: {_first_line(err)} All nodes need the same versions of Python "
            "and Ray, and the same token; see docs/cluster.md."
        ) from err
    for line in _lines_of(written):
        _log.warning("%s", line)


def _lines_of(written: list[bytes]) -> list[str]:
    return b"".join(written).decode(errors="replace").splitlines()


def _require_reachable(address: str) -> None:
    """Ray itself tries for minutes.

    Raises:
        UsageError: nobody listens at HOST:PORT.
    """
    found = _found_by_ray() if address == "auto" else address
    host, _, port = found.rpartition(":")
    if "/" in host or not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as err:
        if address == "auto":
            raise UsageError(
                f"--cluster auto: the cluster that this machine belongs to does not answer at "
                f"{found} ({err}); its head may have ended. Forget it with 'ray stop' (or unset "
                "RAY_ADDRESS), and start one with 'ray start --head', or give the address of the "
                "head of another, HOST:6379."
            ) from err
        raise UsageError(
            f"--cluster {address}: nobody answers there ({err}). Give the address of the head of a "
            "Ray cluster, as 'ray start --head' says it."
        ) from err


def _found_by_ray() -> str:
    """Return what Ray takes `auto` for: by RAY_ADDRESS, its processes here, or its last start."""
    try:
        from ray._private.services import canonicalize_bootstrap_address

        return canonicalize_bootstrap_address("auto") or ""
    except (ConnectionError, ImportError, TypeError, ValueError):  # Ray itself will tell
        return ""


def _fits(node: dict[str, float], needs: dict[str, int]) -> bool:
    return all(node.get(name, 0) >= count for name, count in needs.items())


def _first_line(err: BaseException) -> str:
    lines = str(err).strip().splitlines()
    return lines[0] if lines else type(err).__name__
