"""Chromium, driven by Playwright, and a server for folders; for tests marked `browser`.

`looks` opens a page and notes what it asks for, so that a test can say: nothing from elsewhere.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
HAS_BROWSER = CHROMIUM is not None and importlib.util.find_spec("playwright") is not None

needs_browser = pytest.mark.skipif(
    not HAS_BROWSER, reason="needs Chromium, and playwright (pip install '.[web,dev]')"
)

_FLAGS = [
    "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    # What the browser itself would fetch: a proxy that is not there.
    "--proxy-server=127.0.0.1:9", "--proxy-bypass-list=127.0.0.1",
]  # fmt: skip


@contextmanager
def chromium(*flags: str):
    """Start a browser; one at a time is enough."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*_FLAGS, *flags], chromium_sandbox=False
        )
        try:
            yield browser
        finally:
            browser.close()


class Look:
    """A page in a window of its own, and what it asked for."""

    def __init__(self, browser, **options) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.set_default_timeout(120_000)

    def _hear(self, message) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def others(self, *hosts: str) -> list[str]:
        """What was asked for that does not come from these hosts, or from the page itself."""
        parts = [(urlsplit(one), one) for one in self.asked]
        own = ("data", "blob", "file")
        return [one for part, one in parts if part.scheme not in own and part.netloc not in hosts]

    def close(self) -> None:
        self.context.close()


@contextmanager
def looks(browser, **options):
    """Open a window; `options` as of Playwright's `new_context`."""
    look = Look(browser, **options)
    try:
        yield look
    finally:
        look.close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    isolated = False

    def end_headers(self) -> None:
        if self.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path, *, isolated: bool = False):
    """Serve a folder on this machine; yields its host and port.

    Args:
        isolated: with the headers that let a page use threads.
    """
    kind = type("Handler", (_Handler,), {"isolated": isolated})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(kind, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
