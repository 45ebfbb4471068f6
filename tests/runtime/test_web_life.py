"""adnet-web: its limits, how it ends, and what is left then."""

import asyncio
import signal
import socket
import threading
import time
from contextlib import suppress

import pytest
from conftest import assert_clean_error

pytest.importorskip("starlette", reason="needs the extra web")
pytest.importorskip("uvicorn", reason="needs the extra web")
from web_server import Visitor, png, web_server

from adnet.images.image import read_image
from adnet.runtime.folder import run_jobs
from adnet.runtime.web.desk import Desk
from adnet.runtime.web.offers import offered
from adnet.runtime.web.server import Server
from adnet.runtime.web.store import Kept, Limits, Store
from adnet.runtime.web.work import Order, Settings, carry_out


@pytest.mark.parametrize("most", [1, 1599, 1600, 89_000_000, 90_000_000, 10**9, 10**12])
def test_max_pixels_is_what_it_says(tmp_path, monkeypatch, most):
    """Every number reaches the readers: run_jobs, the figures and the pictures."""
    seen = []

    def read(path, max_pixels):
        seen.append(max_pixels)
        return read_image(path, max_pixels)

    def jobs(*arguments, limits, **others):
        seen.append(limits.max_pixels)
        return run_jobs(*arguments, limits=limits, **others)

    monkeypatch.setattr("adnet.runtime.web.work.run_jobs", jobs)
    monkeypatch.setattr("adnet.runtime.web.facts.read_image", read)
    (tmp_path / "a.png").write_bytes(png(40, 40, 1))
    order = Order([Kept("a.png", tmp_path / "a.png")], Settings(model="gray-25"), tmp_path / "o")
    carry_out(order, lambda settings: settings.open(offered([])), most)
    assert (order.results[0].error is None) == (most >= 1600), order.told()
    assert set(seen) == {most}


ENDINGS = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ENDINGS)
def test_what_ends_it_leaves_nothing(tmp_path, name, times):
    with web_server(temporary=tmp_path) as (process, address):
        visitor = Visitor(address)
        order = visitor.order(visitor.bring("a.png", png(700, 700)), ensemble=True)
        while visitor.json("GET", order)["state"] != "running":
            time.sleep(0.01)
        assert list(tmp_path.glob("adnet*"))
        for _ in range(times):
            process.send_signal(getattr(signal, name))
        assert process.wait(20) == 0
        assert list(tmp_path.glob("adnet*")) == []


@pytest.mark.parametrize("state", ["no order", "waiting", "running", "done"])
def test_an_idle_visit_ends_by_itself(tmp_path, monkeypatch, state):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    limits = Limits(idle_seconds=1)
    store, desk = Store(limits), Desk({}, limits)
    going, go = threading.Event(), threading.Event()

    def carry_out(order, *_):
        order.state = "running"
        going.set()
        if state != "done":
            go.wait(20)
        with suppress(OSError):  # the folder is being removed just now
            (order.folder / "late").mkdir(parents=True)  # as run_jobs makes it
            (order.folder / "late" / "x.png").touch()
        order.state = "cancelled" if order.stop.is_set() else "done"

    monkeypatch.setattr("adnet.runtime.web.desk.carry_out", carry_out)
    visit = store.visit(store.open_visit())
    orders = [Order([], Settings(), visit.folder / str(number)) for number in range(2)]
    for order in orders[: {"no order": 0, "waiting": 2}.get(state, 1)]:
        visit.orders[order.key] = order
        desk.take(order)
        assert going.wait(20)
    app = Server(store, desk, {}, list, None).app()

    async def pause() -> None:
        async with app.router.lifespan_context(app):
            visit.seen -= 10
            end = time.monotonic() + 10
            while visit.folder.exists() and time.monotonic() < end:
                await asyncio.sleep(0.05)

    asyncio.run(pause())
    assert not visit.folder.exists()
    assert all(order.stop.is_set() for order in visit.orders.values())
    go.set()
    end = time.monotonic() + 10
    while any(one.state == "running" for one in orders) or visit.folder.exists():
        assert time.monotonic() < end  # what was written afterwards goes, too
        time.sleep(0.02)
    if state == "waiting":
        assert orders[1].state == "cancelled"
    desk.close()
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken(cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        import subprocess
        import sys

        done = subprocess.run(
            [sys.executable, "-m", "adnet.runtime.web.cli", "--port",
             str(taken.getsockname()[1])], capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "--port 0" in done.stderr


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_cannot_be(cli_here, port):
    from adnet.runtime.web import cli as web_cli

    result = cli_here(web_cli.app, "adnet-web", "--port", port)
    assert_clean_error(result, 2, f"--port must be 0 to 65535, got {port}")


@pytest.mark.slow
def test_memory_is_flat(tmp_path):
    def resident(process) -> float:
        with open(f"/proc/{process.pid}/status") as file:
            (line,) = [one for one in file if one.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    with web_server(temporary=tmp_path) as (process, address):
        visitor, seen = Visitor(address), []
        for number in range(200):
            key = visitor.bring("a.png", png(64 + number % 16, 64, 3 if number % 2 else 1))
            path = visitor.order(key, strength=(number % 3) / 2)
            assert visitor.wait(path)["results"][0]["error"] is None
            for part in ("file", "noise.png", "noisy.png"):
                assert visitor.raw("GET", f"{path}/0/{part}")[0] == 200
            visitor.json("DELETE", path)
            visitor.json("DELETE", f"{visitor.visit}/files/{key}")
            if number >= 50:
                seen.append(resident(process))
        assert max(seen[-20:]) - max(seen[:20]) < 15, (seen[0], seen[-1])
        left = [one for one in tmp_path.glob("adnet*/**/*") if one.is_file()]
        assert left == []
