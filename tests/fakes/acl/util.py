"""acl.util: the bridge that the simulator's users do not need, kept for completeness."""

from ._state import host_view


def ptr_to_bytes(address, size):
    return host_view(address, size).tobytes()
