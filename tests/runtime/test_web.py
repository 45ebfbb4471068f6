"""adnet-web without a browser: its files are adnet-run's, and what it refuses."""

import asyncio
import io
import json
import signal
import socket
import threading
import time
import zipfile

import numpy as np
import pytest
from image_files import make
from PIL import Image

pytest.importorskip("starlette", reason="needs the extra web")
pytest.importorskip("uvicorn", reason="needs the extra web")
from web_server import Visitor, web_server

from adnet.images.levels import to_levels
from adnet.images.synthetic import render
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import Job
from adnet.runtime.web.desk import Desk
from adnet.runtime.web.server import Server
from adnet.runtime.web.store import Limits, Store
from adnet.runtime.web.work import Order, Settings


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tmp")
    with web_server("--max-files", "5", "--max-megabytes", "1", "--max-pixels", "300000", "--queue",
                    "2", temporary=folder) as (process, address):  # fmt: skip
        process.folder = folder
        yield process, address


@pytest.fixture
def visitor(server):
    one = Visitor(server[1])
    yield one
    one.raw("DELETE", one.visit)


def png(height=40, width=50, channels=3, seed=0) -> bytes:
    data = io.BytesIO()
    Image.fromarray(to_levels(render(height, width, channels, seed))).save(data, "PNG")
    return data.getvalue()


def kinds() -> dict[str, bytes]:
    """Files of every format, mode and depth, with all metadata."""
    files = {}
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tif"), ("WEBP", "webp"),
                         ("BMP", "bmp"), ("GIF", "gif")):  # fmt: skip
        for mode in ("L", "LA", "RGB", "RGBA", "P", "I;16"):
            if mode == "I;16":
                continue
            if (data := make(kind, mode, metadata=True)) is not None:
                files[f"{kind}-{mode}.{suffix}"] = data
    deep = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    for suffix, pixels in (("png", deep), ("tif", deep), ("tiff", deep.astype(np.float32) / 65535)):
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG" if suffix == "png" else "TIFF")
        files[f"deep.{suffix}"] = data.getvalue()
    return files


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"strength": 0.5, "model": "gray-25"}], ids=str)
def test_every_kind_of_file_is_adnet_runs(visitor, tmp_path, settings):
    files = kinds()
    assert len(files) > 15
    with Denoiser(**settings) as denoiser:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            key = visitor.bring(name, data)
            path = visitor.order(key, **settings)
            (result,) = visitor.wait(path)["results"]
            job = Job(tmp_path / name, tmp_path / f"out-{name}")
            summary = run_jobs([job], denoiser)
            if summary.failed:
                assert result["error"].split(": ", 1)[1] in summary.failed[0][1]
                continue
            status, headers, answer = visitor.raw("GET", f"{path}/0/file")
            assert status == 200, name
            assert answer == job.target.read_bytes(), name
            assert name in headers["Content-Disposition"]
            assert result["facts"]["model"] == settings.get("model", result["facts"]["model"])
            assert sum(result["facts"]["histogram"]) > 0
            for picture in ("noisy", "denoised", "noise", "comparison"):
                status, _, shown = visitor.raw("GET", f"{path}/0/{picture}.png")
                assert status == 200, (name, picture, shown)
                assert Image.open(io.BytesIO(shown)).mode in ("L", "RGB")
            visitor.json("DELETE", f"{visitor.visit}/files/{key}")


def test_several_files_come_as_a_zip_under_their_names(visitor):
    keys = [visitor.bring("same.png", png(seed=one)) for one in range(3)]
    keys.append(visitor.bring("bad.png", b"no picture"))
    path = visitor.order(*keys)
    told = visitor.wait(path)
    assert [bool(one["error"]) for one in told["results"]] == [False, False, False, True]
    assert "bad.png" in told["results"][3]["error"]
    assert "/" not in told["results"][3]["error"].split("bad.png")[0]  # no path of this machine
    _, _, data = visitor.raw("GET", f"{path}/zip")
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.namelist() == ["same.png", "same-2.png", "same-3.png"]
    assert archive.read("same-2.png") == visitor.raw("GET", f"{path}/1/file")[2]
    assert visitor.raw("GET", f"{path}/3/file")[0] == 404


def test_a_reference_gives_figures_and_a_difference(visitor):
    sample = visitor.json("POST", f"{visitor.visit}/files?sample=shapes")["file"]
    facts = visitor.wait(visitor.order(sample))["results"][0]["facts"]
    assert facts["psnr_after"] > facts["psnr_before"] + 5
    assert facts["ssim_after"] > facts["ssim_before"]
    assert facts["sigma"] == pytest.approx(25, abs=3)
    noisy, clean = visitor.bring("a.png", png(seed=1)), visitor.bring("b.png", png(seed=1))
    path = visitor.order(noisy, reference=clean)
    facts = visitor.wait(path)["results"][0]["facts"]
    assert facts["psnr_before"] is None  # equal: infinite
    assert facts["psnr_after"] > 20
    assert visitor.raw("GET", f"{path}/0/difference.png")[0] == 200
    other = visitor.bring("c.png", png(height=41))
    (result,) = visitor.wait(visitor.order(noisy, reference=other))["results"]
    assert result["error"] is None  # the file is there, only not the figures
    assert "cannot be compared" in " ".join(result["facts"]["notes"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"strength": 2}, "strength must be from 0 to 1"),
        ({"model": "../../etc/passwd"}, "there is no model"),
        ({"backend": "nothing"}, "nothing"),
        ({"sigma": 25, "model": "gray-25", "ensemble": True, "fast": True, "where": "tpu"}, "tpu"),
        ({"fast": True, "model": "color-blind"}, "has no int8 model"),
    ],
)
def test_what_cannot_be_done_is_said(visitor, settings, told):
    path = visitor.order(visitor.bring("a.png", png()), **settings)
    answer = visitor.wait(path)
    assert answer["state"] == "failed"
    assert told in answer["error"]


@pytest.mark.parametrize(
    "name", ["", "a", "a.txt", "a.svg", "../../a", "a.png/../../x", "\0.pdf", "..", "C:\\x.exe"]
)
def test_names_that_are_no_image_are_refused(visitor, name):
    from urllib.parse import quote

    path = f"{visitor.visit}/files?name={quote(name)}"
    assert visitor.raw("POST", path, png())[0] == 400


def test_no_name_leads_out_of_the_visit(server, visitor):
    before = {one for one in server[0].folder.rglob("*") if one.suffix == ".png"}
    for name in ("../../a.png", "/etc/a.png", "C:\\b\\a.png", "x\n\0/a.png", "ü" * 300 + ".png"):
        key = visitor.bring(name, png())
        told = visitor.wait(visitor.order(key))["results"][0]
        assert told["error"] is None, told
        assert "/" not in told["name"]
        assert "\\" not in told["name"]
    folder = server[0].folder / next(server[0].folder.glob("adnet-web-*")).name
    new = set(server[0].folder.rglob("*.png")) - before
    assert new
    assert all(one.is_relative_to(folder / visitor.visit.split("/")[-1]) for one in new)


def test_limits(visitor):
    big = f"{visitor.visit}/files?name=a.png"
    status, _, answer = visitor.raw("POST", big, b"x" * 1_000_001)
    assert (status, "adnet-run" in answer.decode()) == (413, True)
    many = json.dumps({"files": ["k"] * 6}).encode()
    assert visitor.raw("POST", f"{visitor.visit}/orders", many)[0] == 413
    key = visitor.bring("wide.png", png(600, 600, 1))
    (result,) = visitor.wait(visitor.order(key))["results"]
    assert "pixels" in result["error"]
    for body in (b"", b"{", b"[]", b'{"files": []}', b'{"files": [1]}', b'{"files": "abc"}'):
        assert visitor.raw("POST", f"{visitor.visit}/orders", body)[0] == 400, body
    for wrong in ({"strength": "1"}, {"strength": True}, {"other": 1}, {"sigma": "much"}):
        body = json.dumps({"files": [key], "settings": wrong}).encode()
        assert visitor.raw("POST", f"{visitor.visit}/orders", body)[0] == 400, wrong
    assert visitor.raw("POST", f"{visitor.visit}/orders", b" " * 200_000)[0] == 413


WRONG = [None, True, 1, 1.5, 10**400, "x", "\ud800", [], [1], [[]], {}, {"a": 1}]
RIGHT = {
    "files": (), "settings": (None, {}), "reference": (None,),
    "model": (None, "x", "\ud800"), "backend": (None, "x", "\ud800"), "where": (None, "x", "\ud800"),
    "sigma": (None, 1, 1.5), "strength": (None, 1, 1.5), "ensemble": (None, True),
    "fast": (None, True),
}  # fmt: skip


@pytest.mark.parametrize("field", RIGHT)
def test_a_field_of_the_wrong_type_is_refused_with_a_reason(visitor, field):
    key = visitor.bring("a.png", png())
    for value in WRONG:
        data = {"files": [key], "settings": {}, "reference": None}
        (data if field in data else data["settings"])[field] = value
        status, _, answer = visitor.raw(
            "POST", f"{visitor.visit}/orders", json.dumps(data).encode()
        )
        told = json.loads(answer)
        if repr(value) in map(repr, RIGHT[field]):
            assert status == 202, (value, told)
            # Whatever comes of it can be told.
            visitor.wait(f"{visitor.visit}/orders/{told['order']}")
        else:
            # A key of no file is an address of nothing.
            assert status in (400, 404), (value, told)
            assert told["error"]
            assert "unexpected" not in told["error"]


BODIES = [
    b"", b"{", b"[]", b"1", b"null", b"\xff\xfe", b"\xff", b"[" * 60_000, b'{"a":' * 12_000,
    b"9" * 50_000, b'{"files": ' + b"[" * 50_000, b'{"files": ["\\ud800"]}', b"\0",
    b'{"files": ["k"], "settings": {"strength": NaN}}',
    b'{"files": ["k"], "settings": {"sigma": Infinity}}',
    b'{"files": ["k"], "settings": {"sigma": 1e999}}',
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=[str(one[:48]) for one in BODIES])
def test_bodies_that_are_no_order(visitor, body):
    status, _, answer = visitor.raw("POST", f"{visitor.visit}/orders", body)
    assert status in (400, 404), answer
    assert json.loads(answer)["error"]


FOREIGN = [
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ""}, {"Origin": "http://["},
    {"Origin": "http://HOST.evil.example"}, {"Origin": "http://evil.example/HOST"},
    {"Origin": "http://127.0.0.1:1"}, {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://HOST", "Sec-Fetch-Site": "cross-site"},
]  # fmt: skip
OWN = [
    {}, {"Origin": "http://HOST"}, {"Origin": "https://page.example", "Sec-Fetch-Site":
    "same-origin"}, {"Origin": "http://HOST", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
]  # fmt: skip


def test_pages_of_other_sites_change_nothing(server, visitor):
    key = visitor.bring("a.png", png())
    order = visitor.order(key)
    visitor.wait(order)
    changing = [
        (method, route.path)
        for route in Server(None, None, {}, list, None).app().routes
        for method in route.methods - {"GET", "HEAD"}
    ]
    assert len(changing) >= 7
    host = server[1].removeprefix("http://")
    for one in FOREIGN:
        headers = {name: text.replace("HOST", host) for name, text in one.items()}
        headers["Content-Type"] = "text/plain"
        for method, path in changing:
            path = path.format(visit=visitor.visit.split("/")[-1], file=key,
                               order=order.split("/")[-1])  # fmt: skip
            status, _, answer = visitor.raw(method, path, b"{}", headers)
            assert (status, "another site" in answer.decode()) == (403, True), (method, path, one)
    assert visitor.raw("GET", f"{order}/0/file")[0] == 200
    for one in OWN:
        headers = {name: text.replace("HOST", host) for name, text in one.items()}
        status, _, answer = visitor.raw("POST", "/visits", b"", headers)
        assert status == 201, one
        visitor.raw("DELETE", f"/visits/{json.loads(answer)['visit']}")


def test_strangers_get_nothing(server, visitor):
    key = visitor.bring("a.png", png())
    path = visitor.order(key)
    visitor.wait(path)
    other = Visitor(server[1])
    stolen = path.replace(visitor.visit, other.visit)
    for place in (stolen, f"{stolen}/0/file", f"{stolen}/zip", "/visits/x/orders/y", "/x.html",
                  "/..%2f..%2fetc%2fpasswd", f"{path}/0/secret.png", f"{path}/7/file"):  # fmt: skip
        assert other.raw("GET", place)[0] == 404, place
    body = json.dumps({"files": [key]}).encode()
    assert other.raw("POST", f"{other.visit}/orders", body)[0] == 404
    # A page elsewhere whose name was made to point here.
    assert visitor.raw("GET", "/about", headers={"Host": "evil.example"})[0] == 400
    visitor.raw("POST", f"{visitor.visit}/leave")
    assert visitor.raw("GET", path)[0] == 404
    assert not list(server[0].folder.glob(f"*/{visitor.visit.split('/')[-1]}"))


def test_the_queue_is_bounded_and_orders_can_be_cancelled(visitor):
    long = visitor.bring("long.png", png(540, 540))  # four tiles
    first = visitor.order(long)
    while visitor.json("GET", first)["state"] == "waiting":
        time.sleep(0.01)
    waiting = [visitor.order(long), visitor.order(long)]
    body = json.dumps({"files": [long]}).encode()
    status, _, answer = visitor.raw("POST", f"{visitor.visit}/orders", body)
    assert (status, "waiting" in answer.decode()) == (503, True)
    assert visitor.json("GET", waiting[1])["ahead"] == 2
    for path in waiting:
        assert visitor.json("DELETE", path)["state"] == "cancelled"
    visitor.json("DELETE", first)
    assert visitor.wait(first)["state"] == "cancelled"


def test_a_cut_off_upload_harms_nothing(server, visitor):
    host, port = server[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = f"POST {visitor.visit}/files?name=a.png HTTP/1.1\r\nHost: {host}\r\n"
        line.sendall(f"{head}Content-Length: 900000\r\n\r\n".encode() + b"x" * 1000)
    visitor.wait(visitor.order(visitor.bring("b.png", png())))
    end = time.monotonic() + 5
    folder = next(server[0].folder.glob(f"*/{visitor.visit.split('/')[-1]}"))
    while len(list(folder.glob("*.png"))) > 1:  # the part is removed
        assert time.monotonic() < end
        time.sleep(0.05)


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
        begin = time.monotonic()
        for _ in range(times):
            process.send_signal(getattr(signal, name))
        assert process.wait(20) == 0
        assert time.monotonic() - begin < 3
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
        (order.folder / "late" / "x.png").parent.mkdir(parents=True)  # as run_jobs makes it
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
