"""The HTTP side of adnet-web: routes, and what each answers.

Every path of a visit begins with its secret key, so no cookie is needed and no other page that the
browser shows can reach it. Names from a request never become part of a path on this machine.
"""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from adnet import __version__
from adnet.atomic import atomic_path
from adnet.errors import AdnetError, UsageError
from adnet.models.card import ModelCard
from adnet.models.shipped import fast_twin
from adnet.pages.assets import SHARED, asset_path
from adnet.pages.samples import samples
from adnet.runtime.web.asking import OwnPageOnly, patient, read_json
from adnet.runtime.web.desk import Desk
from adnet.runtime.web.facts import PICTURES, draw
from adnet.runtime.web.store import (
    AGAIN,
    ORDER,
    FullError,
    GoneError,
    Kept,
    Store,
    TooLargeError,
    Visit,
)
from adnet.runtime.web.work import Order, Result, Settings

_SITE = Path(__file__).parent / "site"

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Server:
    """The routes.

    Args:
        cards: what is offered, for the page to list.
        find_devices: returns the backends and devices of this machine; may take seconds.
        hosts: names that requests may come for; None: any.
    """

    def __init__(
        self,
        store: Store,
        desk: Desk,
        cards: dict[str, ModelCard],
        find_devices: Callable[[], list[dict[str, Any]]],
        hosts: list[str] | None,
    ) -> None:
        self._store, self._desk, self._cards = store, desk, cards
        self._find_devices = find_devices
        self._devices: list[dict[str, Any]] = []
        self._hosts = hosts

    def app(self) -> Starlette:
        """Return the application to serve."""
        guard = [Middleware(OwnPageOnly)]
        if self._hosts is not None:
            # Against pages elsewhere whose name is made to point at this machine.
            guard.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=self._hosts))
        visit = "/visits/{visit}"
        routes = [
            Route("/", self._page),
            Route("/about", self._about),
            Route("/visits", self._open, methods=["POST"]),
            Route(visit, self._leave, methods=["DELETE"]),
            Route(f"{visit}/leave", self._leave, methods=["POST"]),  # what sendBeacon can
            Route(f"{visit}/files", self._bring, methods=["POST"]),
            Route(f"{visit}/files/{{file}}", self._remove, methods=["DELETE"]),
            Route(f"{visit}/orders", self._order, methods=["POST"]),
            Route(f"{visit}/orders/{{order}}", self._state, methods=["GET", "DELETE"]),
            Route(f"{visit}/orders/{{order}}/zip", self._zip),
            Route(f"{visit}/orders/{{order}}/{{number:int}}/file", self._file),
            Route(f"{visit}/orders/{{order}}/{{number:int}}/{{picture}}.png", self._picture),
            Route("/{name}", self._asset),
        ]
        return Starlette(
            routes=routes,
            middleware=guard,
            exception_handlers={AdnetError: _refuse, ClientDisconnect: _refuse, Exception: _fail},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async def look() -> None:
            self._devices = await run_in_threadpool(self._find_devices)

        async def expire() -> None:
            while True:
                await asyncio.sleep(min(60.0, self._store.limits.idle_seconds / 4))
                for visit in self._store.end_idle():
                    await run_in_threadpool(self._end, visit)

        beside = [asyncio.create_task(one()) for one in (look, expire)]
        yield
        for task in beside:
            task.cancel()

    async def _page(self, _: Request) -> Response:
        return FileResponse(_SITE / "index.html", headers=_HEADERS)

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        own = {path.name: path for path in _SITE.iterdir()}
        path = asset_path(name) if name in SHARED else own.get(name)
        if path is None:
            raise GoneError(f"{name}: no such page.")
        return FileResponse(path, headers=_HEADERS)

    async def _about(self, _: Request) -> Response:
        limits = self._store.limits
        return _answer(
            {
                "adnet": __version__,
                "models": [
                    {"name": name, "channels": card.channels, "sigma": card.describe_sigma()}
                    for name, card in self._cards.items()
                ],
                "fast": [name for name in self._cards if fast_twin(name)],
                "devices": self._devices,
                "samples": [{"name": one.name, "title": one.title} for one in samples()],
                "limits": {"pixels": limits.pixels, "file_bytes": limits.file_bytes,
                           "files": limits.files},
            }
        )  # fmt: skip

    async def _open(self, _: Request) -> Response:
        return _answer({"visit": self._store.open_visit()}, 201)

    async def _leave(self, request: Request) -> Response:
        visit = self._store.end_visit(request.path_params["visit"])
        if visit is not None:
            await run_in_threadpool(self._end, visit)
        return Response(status_code=204)

    def _end(self, visit: Visit) -> None:
        orders = [order for order in visit.orders.values() if isinstance(order, Order)]
        for order in orders:
            self._desk.cancel(order)
        for order in orders:
            self._desk.drop(order, visit.folder)
        shutil.rmtree(visit.folder, ignore_errors=True)

    async def _bring(self, request: Request) -> Response:
        visit, store = self._visit(request), self._store
        if (sample := request.query_params.get("sample")) is not None:
            key, kept = await run_in_threadpool(self._sample, visit, sample)
            return _answer({"file": key, "name": kept.name, "reference": True}, 201)
        key, kept = store.place(visit, request.query_params.get("name", ""))
        told = request.headers.get("content-length", "0")
        whole = int(told) if told.isdecimal() else 0
        most = store.limits.file_bytes
        store.require_room(visit, kept.name, min(whole, most))
        before, size = store.used(visit) - visit.size, 0
        try:
            with kept.path.open("wb") as file:
                async for part in patient(request):
                    visit.seen = time.monotonic()
                    size += len(part)
                    visit.size += len(part)  # at once: others may be sent beside this
                    if max(size, whole) > most:
                        raise TooLargeError(
                            f"{kept.name}: is over the {most / 1e6:.0f} MB that are taken. Use "
                            "adnet-run."
                        )
                    if before + visit.size > store.limits.visit_bytes:
                        store.require_room(visit, kept.name)
                    file.write(part)
            store.keep(visit, key, kept)
        except BaseException:
            visit.size -= size
            kept.path.unlink(missing_ok=True)
            raise
        return _answer({"file": key, "name": kept.name}, 201)

    def _sample(self, visit: Visit, name: str) -> tuple[str, Kept]:
        found = next((one for one in samples() if one.name == name), None)
        if found is None:
            raise GoneError(f"there is no sample {name!r}.")
        key, kept = self._store.place(visit, f"{name}.png")
        self._store.require_room(visit, kept.name)
        clean = visit.folder / f"{key}-clean.png"
        Image.fromarray(found.noisy).save(kept.path)
        Image.fromarray(found.clean).save(clean)
        kept = Kept(kept.name, kept.path, clean)
        visit.size += kept.path.stat().st_size + clean.stat().st_size
        self._store.keep(visit, key, kept)
        return key, kept

    async def _remove(self, request: Request) -> Response:
        self._store.drop(self._visit(request), request.path_params["file"])
        return Response(status_code=204)

    async def _order(self, request: Request) -> Response:
        visit, limits = self._visit(request), self._store.limits
        data = await read_json(request)
        keys, chosen, reference = (data.get(one) for one in ("files", "settings", "reference"))
        if not isinstance(keys, list) or not keys or not all(isinstance(k, str) for k in keys):
            raise UsageError("files: expected the keys of one or more files.")
        if len(keys) > limits.files:
            raise TooLargeError(f"{len(keys)} files at once are over the limit of {limits.files}.")
        if not isinstance(chosen, dict | None):
            raise UsageError("settings: expected an object.")
        if not isinstance(reference, str | None):
            raise UsageError("reference: expected the key of a file.")
        settings = Settings.read(chosen or {})
        clean = None if reference is None else visit.file(reference)
        has_room = functools.partial(self._store.make_room, visit)
        order = Order(
            [visit.file(key) for key in keys], settings, visit.folder, clean, has_room=has_room
        )
        order.folder = visit.folder / f"{ORDER}{order.key}"
        for one in list(visit.orders.values()):  # a new order takes the place of the one before
            if isinstance(one, Order):
                self._forget(visit, one)
        order.folder.mkdir()
        visit.orders[order.key] = order
        try:
            self._desk.take(order)
        except FullError:
            self._forget(visit, order)
            raise
        return _answer({"order": order.key}, 202)

    async def _state(self, request: Request) -> Response:
        order = self._find_order(request)
        if request.method == "DELETE":
            self._desk.cancel(order)
            if order.state not in ("waiting", "running"):
                self._forget(self._visit(request), order)
        return _answer(order.told() | {"ahead": self._desk.ahead(order)})

    def _forget(self, visit: Visit, order: Order) -> None:
        visit.orders.pop(order.key, None)
        self._desk.drop(order, order.folder)

    async def _file(self, request: Request) -> Response:
        result = self._result(request)
        return FileResponse(
            result.files.denoised,
            headers=_HEADERS | {"Content-Disposition": _attachment(result.name)},
            media_type="application/octet-stream",
        )

    async def _picture(self, request: Request) -> Response:
        order, result = self._find_order(request), self._result(request)
        picture = request.path_params["picture"]
        if picture not in PICTURES:
            raise GoneError(f"there is no picture {picture!r}; {', '.join(PICTURES)} are.")
        target = order.folder / f"{AGAIN}{request.path_params['number']}-{picture}.png"
        if not target.exists():
            self._store.make_room(self._visit(request))
            await run_in_threadpool(_draw_whole, result, picture, target, self._store.limits.pixels)
        return FileResponse(target, headers=_HEADERS)

    async def _zip(self, request: Request) -> Response:
        order = self._find_order(request)
        target = order.folder / f"{AGAIN}all.zip"
        await run_in_threadpool(_pack, order, target)
        headers = _HEADERS | {"Content-Disposition": _attachment("denoised.zip")}
        return FileResponse(target, headers=headers, media_type="application/zip")

    def _visit(self, request: Request) -> Visit:
        return self._store.visit(request.path_params["visit"])

    def _find_order(self, request: Request) -> Order:
        order = self._visit(request).orders.get(request.path_params["order"])
        if not isinstance(order, Order):
            raise GoneError("no such order; it may have been removed.")
        return order

    def _result(self, request: Request) -> Result:
        results = self._find_order(request).results
        number = int(request.path_params["number"])
        if number >= len(results) or results[number].error is not None:
            raise GoneError("this file is not denoised (yet).")
        return results[number]


def _draw_whole(result: Result, picture: str, target: Path, max_pixels: int) -> None:
    """Draw beside and move: two requests at once must not see half a picture."""
    with atomic_path(target) as temporary:
        draw(result.files, picture, temporary, max_pixels)


def _pack(order: Order, target: Path) -> None:
    """Write a ZIP of what is done; names that repeat get a number."""
    taken: set[str] = set()
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for result in list(order.results):
            if result.error is not None:
                continue
            path, name, count = Path(result.name), result.name, 2
            while name in taken:
                name, count = f"{path.stem}-{count}{path.suffix}", count + 1
            taken.add(name)
            archive.write(result.files.denoised, name)


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name)}"


def _answer(data: Any, status: int = 200) -> Response:
    # Not JSONResponse: it cannot tell of half a surrogate pair, which JSON may bring.
    return Response(json.dumps(data), status, _HEADERS, media_type="application/json")


def _refuse(_: Request, err: Exception) -> Response:
    kinds: dict[type[Exception], int] = {FullError: 503, TooLargeError: 413, GoneError: 404}
    status = next((code for kind, code in kinds.items() if isinstance(err, kind)), 400)
    return _answer({"error": str(err)}, status)


def _fail(_: Request, err: Exception) -> Response:
    return _answer({"error": f"unexpected {type(err).__name__}: {err}"}, 500)
