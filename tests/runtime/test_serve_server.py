"""adnet-serve on Ray Serve, over HTTP."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from image_files import make
from PIL import Image
from serve_client import adnet_serve, family, listening, paused

from adnet.errors import UsageError
from adnet.images.levels import to_levels
from adnet.images.synthetic import render
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.in_memory import denoise_file

pytest.importorskip("ray")
from adnet.runtime.serve.worker import IN_WORK

pytestmark = [pytest.mark.slow, pytest.mark.serving]
QUEUE = 8
LIMITS = ("--max-body", "300000", "--max-pixels", "100000", "--body-seconds", "2")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    with adnet_serve(
        folder, "--model", "gray-25", "--model", "color-blind", "--threads", "1",
        "--tile", "64",
        "--queue", str(QUEUE), *LIMITS,
    ) as running:  # fmt: skip
        yield running
        seconds = running.interrupt()  # last, on a server that did all of the tests
        assert seconds < 10, seconds
        assert running.process.returncode == 0


def files(folder):
    """Small files of every format, with metadata; name -> path."""
    kinds = [("PNG", "RGB"), ("PNG", "LA"), ("JPEG", "L"), ("TIFF", "RGB"), ("WEBP", "RGB"),
             ("BMP", "RGB"), ("GIF", "P")]  # fmt: skip
    found = {}
    for index, (kind, mode) in enumerate(kinds):
        path = folder / f"{index}.{kind.lower()}"
        path.write_bytes(make(kind, mode, metadata=True))
        found[path.name] = path
    Image.fromarray(to_levels(render(90, 120, 1, 3)).astype(np.uint16) * 257).save(
        folder / "deep.png"
    )
    found["deep.png"] = folder / "deep.png"
    return found


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """What is sent, and what adnet-run makes of it: name -> (bytes, bytes)."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "noisy").mkdir()
    sources = files(folder / "noisy")
    script = Path(sys.executable).parent / "adnet-run"
    subprocess.run(
        [script, folder / "noisy", "-o", folder / "out", "--model", "gray-25", "--threads", "1",
         "--tile", "64"],
        check=True, capture_output=True,
    )  # fmt: skip
    return {
        name: (path.read_bytes(), (folder / "out" / name).read_bytes())
        for name, path in sources.items()
    }


def test_files_are_those_of_adnet_run(server, pairs):
    for name, (data, expected) in pairs.items():
        status, headers, body = server.denoise(data, f"?name={name}")
        assert status == 200, (name, body)
        assert body == expected, name
        kind = name.rpartition(".")[2]
        assert headers["Content-Type"] == f"image/{kind}", name


@pytest.mark.parametrize(("query", "model", "asked"), [
    ("?model=color-blind", "color-blind", {}),
    ("?strength=0.5", "gray-25", {"strength": 0.5}),
    ("?ensemble=true&model=gray-25&strength=0.25", "gray-25", {"ensemble": True, "strength": 0.25}),
    ("?format=tif", "gray-25", {}),
    ("?name=other.TIFF", "gray-25", {}),
])  # fmt: skip
def test_options_are_the_denoisers(server, query, model, asked):
    data = make("PNG", "RGB", metadata=True)
    status, _, body = server.denoise(data, query)
    assert status == 200, body
    suffix = ".tif" if ".TIFF" in query or "format" in query else ""
    with Denoiser(model, threads=1, tile=64, **asked) as denoiser:
        assert body == denoise_file(data, denoiser, suffix=suffix).data


@pytest.mark.parametrize(("status", "query", "data"), [
    (400, "", b""),
    (400, "", b"\x89PNG\r\n\x1a\n damaged"),
    (400, "", make("PNG", "RGB", False)[:-50]),
    (400, "", make("JPEG", "RGB", False)[:100]),
    (415, "", b"no image at all"),
    (415, "", b"%PDF-1.7"),
    (415, "", b"\0\0\0\x20ftypheic"),
    (413, "", b"x" * 300_001),
    (400, "?model=/etc/passwd", make("PNG", "L", False)),
    (400, "?model=../gray-25.onnx", make("PNG", "L", False)),
    (400, "?model=color-blind", make("PNG", "L", False)),
    (400, "?strength=2", make("PNG", "L", False)),
    (400, "?strength=nan", make("PNG", "L", False)),
    (400, "?sharpen=1", make("PNG", "L", False)),
    (400, "?format=exe", make("PNG", "L", False)),
    (400, "?format=jpg", make("PNG", "RGBA", False)),
], ids=range(16))  # fmt: skip
def test_what_is_wrong_is_told(server, status, query, data):
    got, headers, body = server.denoise(data, query)
    assert got == status, body
    assert headers["Content-Type"].startswith("text/plain")
    assert len(body) > 10
    assert body.endswith(b"\n")
    assert b"Traceback" not in body


def test_too_many_pixels_are_413(server, tmp_path):
    Image.new("L", (400, 251)).save(tmp_path / "large.png")
    status, _, body = server.denoise((tmp_path / "large.png").read_bytes())
    assert status == 413, body
    assert b"0.1 megapixels" in body


def test_a_name_is_used_for_its_suffix_alone(server, pairs):
    data = pairs["0.png"][0]
    for name in ("../../etc/passwd.png", "/dev/null.png", "%00.png", "a" * 3000 + ".png", "x.exe"):
        status, _, body = server.denoise(data, f"?name={name}")
        assert status == 200, body
        assert body == pairs["0.png"][1]


def test_other_addresses_and_methods(server):
    assert server.ask("GET", "/health")[0] == 200
    assert server.ask("GET", "/ready")[0] == 200
    assert server.ask("GET", "/")[0] == 404
    assert server.ask("GET", "/../../etc/passwd")[0] == 404
    status, headers, _ = server.ask("GET", "/denoise")
    assert (status, headers["Allow"]) == (405, "POST, PUT")
    told = json.loads(server.ask("GET", "/models")[2])
    assert told["models"] == ["gray-25", "color-blind"]
    form = server.right | {"Content-Type": "multipart/form-data; boundary=x"}
    assert server.ask("POST", "/denoise", b"--x", form)[0] == 415


def test_chunks_without_a_length_are_limited_too(server, pairs):
    data, expected = pairs["0.png"]
    status, _, body = server.denoise(iter([data[:100], data[100:]]))
    assert (status, body) == (200, expected)
    try:
        status = server.denoise(iter([b"x" * 65536] * 100))[0]
    except (BrokenPipeError, ConnectionResetError):
        return  # refused before all of it was sent
    assert status == 413


def head(server, length):
    """The beginning of a request."""
    lines = ("POST /denoise HTTP/1.1", "Host: x", f"Authorization: {server.right['Authorization']}",
             f"Content-Length: {length}")  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode()


def raw(server, text, wait=0.0):
    """Send bytes as they are; the answer's status, 0 when the connection was cut."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as link:
        link.sendall(text)
        time.sleep(wait)
        try:
            told = link.recv(4096)
        except ConnectionResetError:
            return 0
    return int(told.split()[1]) if told else 0


def test_broken_http_is_400(server):
    assert raw(server, b"nonsense\r\n\r\n") == 400
    for length in ("-1", "x", "1" * 500):
        assert raw(server, head(server, length)) in (400, 413)


def test_slow_clients_time_out(server, pairs):
    begin = time.monotonic()
    links = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for link in links:
        link.sendall(head(server, 1000) + b"\x89PNG")
    status, _, body = server.denoise(pairs["0.png"][0])  # nobody waits for them
    assert (status, body) == (200, pairs["0.png"][1])
    for link in links:
        link.settimeout(30)
        assert b" 408 " in link.recv(4096)
        link.close()
    assert time.monotonic() - begin < 20


def test_cut_off_requests_harm_nothing(server, pairs):
    data, expected = pairs["deep.png"]
    start = head(server, len(data))
    for cut in (10, len(start), len(start) + 100, len(start) + len(data)) * 5:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as link:
            link.sendall((start + data)[:cut])
    status, _, body = server.denoise(data)
    while status == 503:  # those that were sent whole are still in work
        time.sleep(0.2)
        status, _, body = server.denoise(data)
    assert (status, body) == (200, expected)
    text = server.ask("GET", "/metrics")[2].decode()
    assert "adnet_in_flight 0.0" in text


def test_metrics_count(server, pairs):
    def requests():
        text = server.ask("GET", "/metrics")[2].decode()
        rows = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        return rows, float(rows.get('adnet_requests_total{status="200"}', 0))

    before = requests()[1]
    server.denoise(pairs["0.png"][0])
    rows, after = requests()
    assert after == before + 1
    assert float(rows["adnet_replicas"]) == 1
    assert float(rows["adnet_pixels_total"]) > 0


def hammer(server, pairs, seconds, clients=50):
    """Let `clients` ask for a time; statuses, wrong answers, MB early and at the end."""
    statuses, wrong, lock = Counter(), [], threading.Lock()
    names, end = sorted(pairs), time.monotonic() + seconds

    def work(number):
        index = number
        while time.monotonic() < end:
            name = names[index % len(names)]
            index += 1
            try:
                status, headers, body = server.denoise(pairs[name][0], f"?name={name}")
            except OSError as err:
                status, headers, body = type(err).__name__, {}, b""
            with lock:
                statuses[status] += 1
                if status == 200 and body != pairs[name][1]:
                    wrong.append(name)
            if status == 503:
                assert int(headers["Retry-After"]) >= 1
                time.sleep(0.3)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 3)
    early = server.memory()
    for thread in threads:
        thread.join()
    return statuses, wrong, early, server.memory()


@pytest.mark.parametrize("seconds", [15, pytest.param(60, marks=pytest.mark.long)])
def test_fifty_clients(server, pairs, seconds, record_property):
    statuses, wrong, early, late = hammer(server, pairs, seconds)
    told = f"{seconds} s, 50 clients: {dict(statuses)}, {early:.0f} MB -> {late:.0f} MB"
    record_property("hammer", told)
    sys.stderr.write(f"{told}\n")
    assert set(statuses) == {200, 503}, statuses
    assert wrong == []
    assert statuses[200] > seconds
    assert late < early * 1.05 + 10


def test_beyond_the_queue_is_503(server, pairs):
    """Two are in work, the queue waits, the others are told so at once."""
    data, expected = pairs["deep.png"]
    taken, refused = [], []

    def work():
        status, headers, body = server.denoise(data)
        (refused if status == 503 else taken).append((status, headers, body))

    everyone = QUEUE + 12
    threads = [threading.Thread(target=work) for _ in range(everyone)]
    with paused(server, "ServeReplica:adnet:Worker"):  # else a fast one empties the queue meanwhile
        for thread in threads:
            thread.start()
        end = time.monotonic() + 20
        while len(refused) < everyone - QUEUE - IN_WORK and time.monotonic() < end:
            time.sleep(0.05)
        begin = time.monotonic()
        assert server.ask("GET", "/health")[0] == 200  # while it is busy
        assert time.monotonic() - begin < 5
        time.sleep(0.5)
        assert not taken
    for thread in threads:
        thread.join()
    assert QUEUE <= len(taken) <= QUEUE + IN_WORK, (len(taken), len(refused))
    assert len(taken) + len(refused) == everyone
    assert all(status == 200 and body == expected for status, _, body in taken)
    assert all(int(headers["Retry-After"]) >= 1 for _, headers, _ in refused)


@pytest.mark.filterwarnings("ignore")  # of Ray and its packages
def test_nothing_listens_to_other_machines_without_asking_for_the_token(server):
    """Ray Serve's replicas listen on all addresses, for each other; they ask for Ray's token."""
    import grpc
    from ray.serve.generated import serve_pb2, serve_pb2_grpc

    local = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
    found = listening(family(server.process.pid))
    assert len(found) > 5
    for address, port in found:
        if address in local:
            continue
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = serve_pb2_grpc.ASGIServiceStub(channel)
            with pytest.raises(grpc.RpcError) as told:
                stub.HandleRequest(serve_pb2.ASGIRequest(), timeout=10)
        assert told.value.code() == grpc.StatusCode.UNAUTHENTICATED, port


def test_a_token_is_asked_for(server, pairs):
    data, expected = pairs["0.png"]
    (token,) = server.right.values()
    basic = token.replace("Bearer", "Basic")
    for wrong in ({}, *({"Authorization": one} for one in ("Bearer x", basic, token + "x", "ä"))):
        for method, path in (("POST", "/denoise"), ("GET", "/metrics"), ("GET", "/models")):
            status, headers, _ = server.ask(method, path, data, wrong)
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer"), (path, wrong)
    assert server.ask("GET", "/health", headers={})[0] == 200
    assert server.denoise(data)[2] == expected
    assert token.split()[1] not in server.log.read_text()


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_start_says_so(cli, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = cli("adnet-serve", "--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert "Choose another port" in done.stderr

    from adnet.runtime.serve import deploy

    monkeypatch.setattr(deploy.ray, "cluster_resources", lambda: {"CPU": 4.0})
    deploy._require_room(deploy.Place(replicas=(2, 8), threads=2))
    for place in (deploy.Place(replicas=(3, 8), threads=2), deploy.Place(npus=1)):
        with pytest.raises(UsageError, match="Ask for fewer"):
            deploy._require_room(place)


@pytest.mark.long
def test_replicas_are_added_when_there_is_much_to_do(tmp_path, pairs):
    with adnet_serve(tmp_path, "--model", "gray-25", "--replicas", "1:2", "--threads", "1",
                     "--tile", "64", "--queue", QUEUE) as server:  # fmt: skip
        statuses, wrong, _, _ = hammer(server, pairs, 60)
        assert set(statuses) == {200, 503}
        assert wrong == []
        assert "adnet_replicas 2.0" in server.ask("GET", "/metrics")[2].decode()
