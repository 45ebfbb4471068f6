"""What a server allows, and the token that it asks for."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from pathlib import Path

from adnet.errors import UsageError
from adnet.runtime.budget import free_memory, parse_size

TOKEN_VARIABLE = "ADNET_SERVE_TOKEN"
_SHORTEST = 16
_LEAST_SHARED = 100 * 2**20
"""Ray asks for 75 MB at least."""
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may be, and how many there may be.

    Raises:
        UsageError: a number is out of range.
    """

    max_body: int = 64 * 2**20
    """Bytes of a file."""
    max_pixels: int = 50_000_000
    """Of all frames or pages of a file together."""
    queue: int = 16
    """Images that wait while every replica is busy; the next one is told 503."""
    body_seconds: float = 30.0
    """Time for a body to come in."""
    timeout: float = 300.0
    """Time for the answer, waiting included."""

    def __post_init__(self) -> None:
        for name in ("max_body", "max_pixels", "queue", "body_seconds", "timeout"):
            if getattr(self, name) <= 0:
                told = name.replace("_", "-")
                raise UsageError(f"--{told}: expected more than 0, got {getattr(self, name)}.")

    def shared_memory(self, in_work: int) -> int:
        """Return the bytes in which Ray hands files to replicas and back.

        As much as all that wait or are in work may need, else Ray would put some of them on the
        disk; at most a third of what is free. It is taken only when it is used.
        """
        need = 2 * self.max_body * (self.queue + in_work)
        return max(_LEAST_SHARED, min(need, free_memory() // 3))


def parse_bytes(option: str, text: str) -> int:
    """Read a size such as 64M.

    Raises:
        UsageError: it is none; names the option.
    """
    try:
        return parse_size(text)
    except UsageError as err:
        raise UsageError(f"{option}: expected a size such as 64M, got {text!r}.") from err


def read_token(file: Path | None) -> bytes | None:
    """Return the token: from a file, else from the environment; None where there is none.

    Raises:
        UsageError: the file cannot be read, or the token is too short to be one.
    """
    if file is None:
        text, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
        if text is None:
            return None
    else:
        try:
            text, where = file.read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as err:
            raise UsageError(f"--token-file: {file} cannot be read: {err}.") from err
    token = text.strip()
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{where}: expected a token of at least {_SHORTEST} ASCII characters without spaces. "
            "Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return token.encode()


def require_safe(host: str, token: bytes | None, *, open_to_all: bool) -> None:
    """Refuse to listen to other machines without a token, unless that was asked for.

    Raises:
        UsageError: it was not.
    """
    if host not in LOCAL and token is None and not open_to_all:
        raise UsageError(
            f"--host {host}: whoever reaches this machine could use the server. Give a token with "
            f"--token-file or ${TOKEN_VARIABLE}, or say --no-token."
        )


def is_allowed(token: bytes | None, authorization: str | None) -> bool:
    """Compare in a time that does not tell how much of a token is right."""
    if token is None:
        return True
    scheme, _, given = (authorization or "").partition(" ")
    right = hmac.compare_digest(token, given.strip().encode("utf-8", "surrogateescape"))
    return right and scheme.lower() == "bearer"
