"""What is asked for: who may ask, and how a body is read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from adnet.errors import UsageError
from adnet.runtime.web.store import TooLargeError

_MOST_JSON = 100_000
_SLOW_SECONDS = 60.0
"""Without a byte of a file that is being sent, its request ends."""
_READING = ("GET", "HEAD", "OPTIONS")
_OWN = ("same-origin", "none")
"""What `Sec-Fetch-Site` says of our own page, and of what was typed in by hand."""


class OwnPageOnly:
    """Lets nothing be changed by pages of other sites.

    A browser lets any page send a simple request anywhere; it only keeps the answer from it. What
    is no browser sends neither header, and may ask.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        if (
            scope["type"] == "http"
            and scope["method"] not in _READING
            and not is_own(Headers(scope=scope))
        ):
            answer = JSONResponse(
                {"error": "refused: this was asked for by a page of another site."}, 403
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_own(headers: Headers) -> bool:
    """Say whether a request comes from our own page, or from no page."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in _OWN:
        return False
    # A proxy may call us by another name than the browser does, which then vouches for the page.
    if origin is None or site == "same-origin":
        return True
    own: str = headers.get("host", "")
    return bool(origin.partition("://")[2].lower() == own.lower())


async def patient(request: Request) -> AsyncIterator[bytes]:
    """Yield the parts of a body; one that stands still for long is given up.

    Raises:
        UsageError: it stood still.
    """
    parts = request.stream().__aiter__()
    try:
        while True:
            yield await asyncio.wait_for(parts.__anext__(), _SLOW_SECONDS)
    except StopAsyncIteration:
        return
    except (TimeoutError, asyncio.TimeoutError):
        raise UsageError(f"no more of the file came for {_SLOW_SECONDS:.0f} s.") from None


async def read_json(request: Request) -> dict[str, Any]:
    """Read a body that is a JSON object.

    Raises:
        TooLargeError: it is too long.
        UsageError: it is none.
    """
    body = b""
    async for part in patient(request):
        body += part
        if len(body) > _MOST_JSON:
            raise TooLargeError("the order is too long.")
    try:
        data = json.loads(body)
    except ValueError as err:
        raise UsageError(f"the order is not JSON: {err}.") from err
    except RecursionError as err:
        raise UsageError("the order is nested too deeply.") from err
    if not isinstance(data, dict):
        raise UsageError("the order must be a JSON object.")
    return data
