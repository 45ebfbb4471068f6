"""adnet-web: what a visitor brings and gets takes no more room than there is."""

import json
import socket

import pytest

pytest.importorskip("starlette", reason="needs the extra web")
pytest.importorskip("uvicorn", reason="needs the extra web")
from web_server import Visitor, png, web_server_here

from adnet.runtime.web.facts import PICTURES
from adnet.runtime.web.store import Limits

ROOM = 60_000
BIG = png(120, 80)  # some 10 kB, and so are its result and its pictures


@pytest.fixture
def guest(tmp_path, monkeypatch):
    """A visitor who has little room."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with web_server_here(Limits(visit_bytes=ROOM)) as address:
        visitor = Visitor(address)
        visitor.used = lambda: sum(
            one.stat().st_size for one in tmp_path.rglob("*") if one.is_file()
        )
        visitor.orders = lambda: list(tmp_path.glob("*/*/order-*"))
        yield visitor


def refused(visitor, path: str, data: bytes = b"") -> bool:
    status, _, answer = visitor.raw("POST", path, data)
    assert status in (201, 413), answer
    return status == 413


def test_orders_without_end(guest):
    key = guest.bring("a.png", BIG)
    for number in range(5):
        path = guest.order(key, model="gray-25", strength=number / 5)
        assert guest.wait(path)["results"][0]["error"] is None
        for picture in PICTURES[:3]:
            assert guest.raw("GET", f"{path}/0/{picture}.png")[0] == 200
        assert len(guest.orders()) == 1
        assert guest.used() < ROOM + 2 * len(BIG)


def test_results_of_one_order(guest):
    key = guest.bring("a.png", BIG)
    path = guest.order(*[key] * 20, model="gray-25")
    results = guest.wait(path)["results"]
    failed = [one["error"] for one in results if one["error"]]
    assert 1 < len(results) - len(failed) < 6
    assert all(one.startswith("a.png: ") and "room" in one for one in failed)
    assert guest.used() < ROOM + 2 * len(BIG)
    # What was finished can be had all the same, and looked at.
    for picture in PICTURES[:3]:
        assert guest.raw("GET", f"{path}/0/{picture}.png")[0] == 200
    assert guest.raw("GET", f"{path}/zip")[0] == 200
    assert refused(guest, f"{guest.visit}/files?name=b.png", BIG)
    # Room comes back with the order's end, or with the next order.
    guest.raw("DELETE", path)
    assert not refused(guest, f"{guest.visit}/files?name=b.png", BIG)


@pytest.mark.parametrize("what", ["files?name=a.png", "files?sample=shapes"])
def test_files_are_counted_and_given_back(guest, what):
    keys = []
    for _ in range(40):
        status, _, answer = guest.raw("POST", f"{guest.visit}/{what}", BIG)
        if status == 413:
            break
        keys.append(json.loads(answer)["file"])
    assert status == 413
    for key in keys:
        guest.raw("DELETE", f"{guest.visit}/files/{key}")
    assert guest.used() == 0
    assert not refused(guest, f"{guest.visit}/files?name=a.png", BIG)


def test_pictures_make_room_for_files(guest):
    key = guest.bring("a.png", BIG)
    path = guest.order(key, model="gray-25")
    guest.wait(path)
    for picture in PICTURES[:3]:
        guest.raw("GET", f"{path}/0/{picture}.png")
    guest.raw("GET", f"{path}/zip")
    assert ROOM - len(BIG) < guest.used()
    assert not refused(guest, f"{guest.visit}/files?name=b.png", BIG)
    assert guest.raw("GET", f"{path}/0/file")[0] == 200


def test_files_that_are_sent_at_once_count_together(guest):
    host, port = guest.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = f"POST {guest.visit}/files?name=a.png HTTP/1.1\r\nHost: {host}\r\n"
        line.sendall(f"{head}Content-Length: 50000\r\n\r\n".encode() + b"x" * 49_000)
        while guest.used() < 40_000:
            pass
        assert refused(guest, f"{guest.visit}/files?name=b.png", b"x" * 20_000)
