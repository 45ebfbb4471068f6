"""adnet-web in a process of its own, and a visitor without a browser."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from urllib.parse import quote

from PIL import Image

from adnet.images.levels import to_levels
from adnet.images.synthetic import render


@contextmanager
def web_server(*arguments: str, temporary=None):
    """Start the program on a free port; yields (process, address). It must end at once."""
    import os

    environment = dict(os.environ)
    if temporary is not None:
        environment["TMPDIR"] = str(temporary)
    process = subprocess.Popen(
        [sys.executable, "-m", "adnet.runtime.web.cli", "--port", "0", *arguments],
        stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        for line in process.stderr:
            if found := re.search(r"serving (http://\S+)/ ", line):
                break
        else:
            raise AssertionError(f"it did not start: {process.wait()}")
        yield process, found[1]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(20)
        process.stderr.close()


@contextmanager
def web_server_here(limits):
    """Serve in this process, for limits that the program has no options for: yields the address."""
    import socket
    import threading

    import uvicorn

    from adnet.runtime.web.desk import Desk
    from adnet.runtime.web.offers import offered
    from adnet.runtime.web.server import Server
    from adnet.runtime.web.store import Store

    store, desk = Store(limits), Desk(offered([]), limits)
    app = Server(store, desk, {}, list, None).app()
    running = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join()
            desk.close()
            store.close()


class Visitor:
    """Speaks to the server as the page does."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.visit = "/visits/" + self.json("POST", "/visits")["visit"]

    def raw(self, method: str, path: str, body: bytes | None = None, headers=()):
        """Return status, headers and body."""
        request = urllib.request.Request(
            self.address + path, body, dict(headers), method=method,
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as err:
            with err:
                return err.code, err.headers, err.read()

    def json(self, method: str, path: str, data=None):
        """Return the answer, which must be a success."""
        body = None if data is None else json.dumps(data).encode()
        status, _, answer = self.raw(method, path, body)
        assert status < 300, answer
        return json.loads(answer) if answer else None

    def bring(self, name: str, data: bytes) -> str:
        """Give a file; returns its key."""
        path = f"{self.visit}/files?name={quote(name)}"
        status, _, answer = self.raw("POST", path, data)
        assert status == 201, answer
        return json.loads(answer)["file"]

    def order(self, *keys: str, reference: str | None = None, **settings) -> str:
        """Order them denoised; returns the order's path."""
        data = {"files": keys, "settings": settings, "reference": reference}
        return f"{self.visit}/orders/" + self.json("POST", f"{self.visit}/orders", data)["order"]

    def wait(self, path: str, seconds: float = 60):
        """Return the order's state once it is no longer in work."""
        end = time.monotonic() + seconds
        while True:
            told = self.json("GET", path)
            if told["state"] not in ("waiting", "running"):
                return told
            assert time.monotonic() < end, told
            time.sleep(0.02)


def png(height=40, width=50, channels=3, seed=0) -> bytes:
    data = io.BytesIO()
    Image.fromarray(to_levels(render(height, width, channels, seed))).save(data, "PNG")
    return data.getvalue()
