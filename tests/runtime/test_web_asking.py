"""adnet-web: what it refuses, and whom."""

import json

import pytest

pytest.importorskip("starlette", reason="needs the extra web")
pytest.importorskip("uvicorn", reason="needs the extra web")
from web_server import Visitor, png

from adnet.runtime.web.server import Server


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
TEXTS = (None, "x", "\ud800")
RIGHT = {
    "files": (), "settings": (None, {}), "reference": (None,),
    "model": TEXTS, "backend": TEXTS, "where": TEXTS,
    "sigma": (None, 1, 1.5), "strength": (None, 1, 1.5), "ensemble": (None, True),
    "black": (None, 1, 1.5), "white": (None, 1, 1.5),
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
            place = path.format(visit=visitor.visit.split("/")[-1], file=key,
                                order=order.split("/")[-1])  # fmt: skip
            status, _, answer = visitor.raw(method, place, b"{}", headers)
            assert (status, "another site" in answer.decode()) == (403, True), (method, place, one)
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
