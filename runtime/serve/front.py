"""The front: takes requests, refuses what it may, hands images to the workers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from adnet import __version__
from adnet.errors import UsageError
from adnet.runtime.serve.answers import Answer, Asked, failure
from adnet.runtime.serve.asking import read_query
from adnet.runtime.serve.body import read_body
from adnet.runtime.serve.limits import Limits, is_allowed
from adnet.runtime.serve.metrics import MEDIA_TYPE, Metrics

APPLICATION = "adnet"
WORKER = "Worker"

_log = logging.getLogger(__name__)
_METHODS = {
    "/denoise": ("POST", "PUT"),
    "/health": ("GET", "HEAD"),
    "/ready": ("GET", "HEAD"),
    "/models": ("GET", "HEAD"),
    "/metrics": ("GET", "HEAD"),
}
_OPEN = ("/health", "/ready")
"""What needs no token: whoever watches the server has none, and learns no more than that."""


class Front:
    """All requests; one replica, which does no work of its own."""

    def __init__(
        self,
        workers: Any,
        models: tuple[str, ...],
        limits: Limits,
        token: bytes | None,
        most_replicas: int,
    ) -> None:
        self._workers = workers
        self._models = models
        self._limits = limits
        self._token = token
        # Those that come in slowly must not keep others from the queue; more are refused unread.
        self._most = 2 * (limits.queue + most_replicas) + 16
        self._metrics = Metrics()
        self._in_flight = 0
        self._pace = 1.0
        self._replicas, self._replicas_at = 0, -1.0

    async def __call__(self, request: Request) -> Response:
        """Answer any request."""
        path = request.url.path
        methods = _METHODS.get(path)
        if methods is None:
            return self._respond(failure(404, f"there are {', '.join(_METHODS)}."))
        if request.method not in methods:
            answer = failure(405, f"{path} takes {' or '.join(methods)}.")
            return self._respond(answer, Allow=", ".join(methods))
        authorization = request.headers.get("authorization")
        if path not in _OPEN and not is_allowed(self._token, authorization):
            answer = failure(401, "a token is needed: the header 'Authorization: Bearer TOKEN'.")
            return self._respond(answer, **{"WWW-Authenticate": "Bearer"})
        return await (self._denoise(request) if path == "/denoise" else self._tell(path))

    async def _tell(self, path: str) -> Response:
        if path == "/health":
            return self._respond(Answer(200, b"ok\n"))
        if path == "/models":
            told = json.dumps({"version": __version__, "models": self._models})
            return self._respond(Answer(200, told.encode(), "application/json"))
        replicas = await self._count_replicas()
        if path == "/metrics":
            return self._respond(Answer(200, self._metrics.as_text(replicas), MEDIA_TYPE))
        return self._respond(Answer(200, b"ready\n") if replicas else failure(503, "starting."))

    async def _denoise(self, request: Request) -> Response:
        begin, taken = time.monotonic(), 0
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            answer, taken = await self._answer(request)
        except (asyncio.CancelledError, ClientDisconnect):
            answer = failure(499, "the client has gone.")
            raise
        except Exception:  # noqa: BLE001  (one bad request must not end the server)
            _log.exception("unexpected error")
            answer = failure(500, "unexpected error; the server's log says more.")
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)
            self._metrics.add(answer, taken, time.monotonic() - begin)
        if answer.status == 200:
            self._pace += 0.1 * (answer.seconds - self._pace)
        if answer.status == 503:
            wait = max(1, round(self._pace * self._limits.queue / max(self._replicas, 1) / 2))
            return self._respond(answer, **{"Retry-After": str(min(wait, 60))})
        return self._respond(answer)

    async def _answer(self, request: Request) -> tuple[Answer, int]:
        """Return the answer, and how many bytes came in."""
        if self._in_flight > self._most:
            return failure(503, "too many requests at once; try again later."), 0
        if request.headers.get("content-type", "").startswith("multipart/"):
            return failure(415, "send the bytes of the image file itself, not a form."), 0
        try:
            asked = read_query(request.query_params, self._models)
        except UsageError as err:
            return failure(400, str(err)), 0
        body = await read_body(
            request.stream(),
            request.headers.get("content-length"),
            self._limits.max_body,
            self._limits.body_seconds,
        )
        if isinstance(body, Answer):
            return body, 0
        return await self._hand_over(body, asked), len(body)

    async def _hand_over(self, body: bytes, asked: Asked) -> Answer:
        response = self._workers.remote(body, asked)
        try:
            answer: Answer = await asyncio.wait_for(_result(response), self._limits.timeout)
        except BackPressureError:
            return failure(503, "all replicas are busy and the queue is full; try again later.")
        except asyncio.TimeoutError:
            response.cancel()
            return failure(504, f"no answer within {self._limits.timeout:g} s.")
        except asyncio.CancelledError:
            response.cancel()
            raise
        except (RayActorError, RayServeException):
            return failure(503, "the replica at work ended; try again.")
        return answer

    async def _count_replicas(self) -> int:
        """Ask Ray Serve how many workers run; at most once a second."""
        now = time.monotonic()
        if now > self._replicas_at + 1:
            self._replicas_at = now
            self._replicas = await asyncio.to_thread(_running)
        return self._replicas

    def _respond(self, answer: Answer, **headers: str) -> Response:
        told = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} | headers
        if answer.notes:  # in ASCII: what a header can hold
            told["X-Adnet-Notes"] = json.dumps(answer.notes)[:2000]
        if answer.seconds:
            told["Server-Timing"] = f"denoise;dur={1000 * answer.seconds:.0f}"
        # What is refused unread would be taken for the next request on the same connection.
        if answer.status in (401, 408, 413, 415, 503):
            told["Connection"] = "close"
        return Response(answer.body, answer.status, told, answer.media_type)


async def _result(response: Any) -> Any:
    return await response


def _running() -> int:
    application = serve.status().applications.get(APPLICATION)
    if application is None or WORKER not in application.deployments:
        return 0
    count: int = application.deployments[WORKER].replica_states.get("RUNNING", 0)
    return count
