"""Fetching, from a real HTTP server on this machine."""

import gc
import hashlib
import http.server
import io
import json
import threading
import warnings

import numpy as np
import pytest
from conftest import assert_clean_error
from PIL import Image

from adnet.data import datasets
from adnet.data.datasets import DATASETS, fetch
from adnet.errors import FetchError, UsageError


class Server:
    """Serves bytes by name; can cut a file short, damage it or refuse it."""

    def __init__(self, contents):
        self.contents, self.requests, self.broken = contents, [], {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rpartition("/")[2]
                outer.requests.append(name)
                how = outer.broken.get(name)
                if how == "missing" or name not in outer.contents:
                    self.send_error(404)
                    return
                body = outer.contents[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(
                    {"short": body[: len(body) // 2], "damaged": body[::-1]}.get(how, body)
                )

            def log_message(self, *_args):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/set"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def picture(level, kind="PNG"):
    content = io.BytesIO()
    pixels = np.random.default_rng(level).integers(0, 256, (40, 50), np.uint8)
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


CONTENTS = {f"{number:02}.png": picture(number) for number in range(1, 13)}
PAGES = {
    "html": b"<!DOCTYPE html><html>Please log in</html>",
    "empty": b"",
    "text": b"404: Not Found",
    "cut": CONTENTS["03.png"][:300],
    "json": b'{"error": "rate limit"}',
}
"""What comes in place of an image, with status 200."""


@pytest.fixture
def server():
    one = Server(CONTENTS)
    yield one
    one.close()


@pytest.fixture(autouse=True)
def _collect_sockets():
    """A download that breaks off leaves its socket to the garbage collector; not our matter."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def pinned(monkeypatch):
    sums = {name: hashlib.sha256(body).hexdigest() for name, body in CONTENTS.items()}
    monkeypatch.setattr(datasets, "_checksums", lambda: {"Set12": sums})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".png"}


@pytest.mark.parametrize("known", [True, False])
def test_a_set_is_fetched_once(server, tmp_path, request, known):
    if known:
        request.getfixturevalue("pinned")
    seen = []
    folder = fetch(
        "set12", tmp_path / "s", mirror=server.address, on_progress=lambda *args: seen.append(args)
    )
    assert contents(folder) == CONTENTS
    assert seen[-1] == (12, 12)
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == 12
    server.requests.clear()
    fetch("Set12", tmp_path / "s", mirror=server.address)
    assert server.requests == []
    # A file that was changed here is fetched again.
    (folder / "03.png").write_bytes(b"changed")
    fetch("Set12", tmp_path / "s", mirror=server.address)
    assert server.requests == ["03.png"]
    assert contents(folder) == CONTENTS


@pytest.mark.parametrize("how", ["short", "damaged", "missing"])
def test_what_arrives_broken_is_not_kept_and_the_rest_goes_on_later(server, tmp_path, pinned, how):
    server.broken["12.png"] = how
    message = "damaged or another file" if how == "damaged" else "cannot download"
    with pytest.raises(FetchError, match=rf"{message}|12\.png"):
        fetch("Set12", tmp_path / "s", mirror=server.address)
    assert not (tmp_path / "s" / "12.png").exists()
    assert len(contents(tmp_path / "s")) == 11
    server.broken.clear()
    server.requests.clear()
    fetch("Set12", tmp_path / "s", mirror=server.address)
    assert server.requests == ["12.png"]
    assert contents(tmp_path / "s") == CONTENTS


def test_an_interrupted_file_without_a_known_checksum_is_not_kept(server, tmp_path):
    server.broken["12.png"] = "short"
    with pytest.raises(FetchError, match="cannot download"):
        fetch("Set12", tmp_path / "s", mirror=server.address)
    assert not (tmp_path / "s" / "12.png").exists()


def test_files_put_there_by_hand_are_kept(server, tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    by_hand = picture(99)
    (folder / "01.png").write_bytes(by_hand)
    server.broken["05.png"] = "missing"
    with pytest.raises(FetchError):
        fetch("Set12", folder, mirror=server.address)
    assert (folder / "01.png").read_bytes() == by_hand
    assert "01.png" not in server.requests


@pytest.mark.parametrize("known", [True, False])
def test_a_picture_under_the_name_of_one_of_the_set_is_kept(server, tmp_path, request, known):
    """Once for each time it was changed; and nothing moves before the download is whole."""
    if known:
        request.getfixturevalue("pinned")
    folder = fetch("Set12", tmp_path / "s", mirror=server.address)
    own = [picture(99), picture(98, "JPEG")]
    for body in own:
        (folder / "03.png").write_bytes(body)
        server.broken["03.png"] = "damaged"
        with pytest.raises(FetchError):
            fetch("Set12", folder, mirror=server.address)
        assert (folder / "03.png").read_bytes() == body
        server.broken.clear()
        fetch("Set12", folder, mirror=server.address)
        assert contents(folder) == CONTENTS
    assert (folder / "03.png.kept").read_bytes() == own[0]
    assert (folder / "03.png.kept2").read_bytes() == own[1]
    assert len(list(folder.iterdir())) == len(CONTENTS) + 1 + 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets
@pytest.mark.parametrize("what", PAGES)
def test_a_page_in_place_of_an_image_is_not_kept(server, tmp_path, what):
    page = PAGES[what]
    server.contents = CONTENTS | {"03.png": page}
    with pytest.raises(FetchError) as told:
        fetch("Set12", tmp_path / "s", mirror=server.address)
    said = f"03.png gave no image that can be read, but {len(page)} bytes that begin with"
    assert said in str(told.value)
    assert repr(page[:40]) in str(told.value)
    assert {path.suffix for path in (tmp_path / "s").iterdir()} <= {".png", ""}
    assert not (tmp_path / "s" / "03.png").exists()
    sums = tmp_path / "s" / "SHA256SUMS"
    assert not sums.exists() or "03.png" not in sums.read_text()
    server.contents = CONTENTS
    fetch("Set12", tmp_path / "s", mirror=server.address)
    assert contents(tmp_path / "s") == CONTENTS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets
@pytest.mark.parametrize("what", ["html", "cut"])
@pytest.mark.parametrize("recorded", ["its own", "none", "the image's"])
def test_a_page_that_was_kept_once_is_replaced(server, tmp_path, what, recorded):
    """By an earlier version, or put there: neither it nor its sum is believed."""
    folder = fetch("Set12", tmp_path / "s", mirror=server.address)
    (folder / "03.png").write_bytes(PAGES[what])
    sums = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    if recorded == "its own":
        sums["03.png"] = hashlib.sha256(PAGES[what]).hexdigest()
    elif recorded == "none":
        del sums["03.png"]
    (folder / "SHA256SUMS").write_text("".join(f"{sums[one]}  {one}\n" for one in sums))
    server.requests.clear()
    server.broken["03.png"] = "missing"
    with pytest.raises(FetchError, match="cannot download"):
        fetch("Set12", folder, mirror=server.address)
    assert (folder / "03.png").read_bytes() == PAGES[what]
    server.broken.clear()
    fetch("Set12", folder, mirror=server.address)
    assert set(server.requests) == {"03.png"}
    assert contents(folder) == CONTENTS
    digest = hashlib.sha256(CONTENTS["03.png"]).hexdigest()
    assert f"{digest}  03.png" in (folder / "SHA256SUMS").read_text()


def test_a_sum_of_a_first_download_is_told_from_a_published_one(server, tmp_path, pinned):
    server.broken["12.png"] = "damaged"
    with pytest.raises(FetchError) as told:
        fetch("Set12", tmp_path / "s", mirror=server.address)
    assert "SHA256SUMS" not in str(told.value)
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "SHA256SUMS").write_text(f"{'0' * 64}  kodim01.png\n")
    server.contents = {f"kodim{number:02}.png": picture(number) for number in range(1, 25)}
    with pytest.raises(FetchError, match="SHA256SUMS has of the first download.*take its line out"):
        fetch("Kodak24", tmp_path / "k", mirror=server.address)


@pytest.mark.parametrize("line", [b"one", b"0" * 64, b"\xff\xfe  a", b"xyz  01.png", b"\0"])
def test_damaged_sums_are_named(server, tmp_path, line):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "SHA256SUMS").write_bytes(b"0" * 64 + b"  02.png\n\n" + line + b"\n")
    with pytest.raises(FetchError, match="SHA256SUMS: expected lines of a SHA-256"):
        fetch("Set12", tmp_path / "s", mirror=server.address)


@pytest.mark.parametrize("mirror", ["/there", "file:///there", "there", "ftp://there", ""])
def test_a_mirror_is_an_address(tmp_path, mirror):
    with pytest.raises(UsageError, match="begins with http:// or https://"):
        fetch("Set12", tmp_path / "s", mirror=mirror)
    assert not (tmp_path / "s").exists()


def test_unknown_sets_are_named():
    with pytest.raises(UsageError, match="BSD68, Set12, CBSD68"):
        fetch("BSD69")


def test_the_table_of_sets_is_complete():
    counts = {name: len(one.names) for name, one in DATASETS.items()}
    assert counts == {
        "BSD68": 68, "Set12": 12, "CBSD68": 68, "Kodak24": 24, "McMaster": 18, "Train400": 400,
    }  # fmt: skip
    for name in ("BSD68", "Train400"):
        assert set(DATASETS[name].checksums) == set(DATASETS[name].names)


@pytest.mark.dataset
@pytest.mark.parametrize("name", ["BSD68", "Train400"])
def test_pinned_checksums_are_those_of_the_published_files(shared, name):
    for file, expected in DATASETS[name].checksums.items():
        content = (shared / "data" / name / file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == expected


def test_program_fetches_and_lists(cli, server, tmp_path):
    environment = {"ADNET_DATA": str(tmp_path), "PATH": ""}
    result = cli("adnet-data", "fetch", "Set12", "--mirror", server.address, env=environment)
    assert result.returncode == 0, result.stderr
    assert contents(tmp_path / "Set12") == CONTENTS
    listed = cli("adnet-data", "list", "--json", env=environment)
    present = {row["name"]: row["present"] for row in json.loads(listed.stdout)}
    assert present["Set12"] == 12
    assert present["BSD68"] == 0
    assert "12 of 12 files here" in cli("adnet-data", "list", env=environment).stdout
    other = cli("adnet-data", "fetch", "set12", "--mirror", server.address, "-o", tmp_path / "o")
    assert other.stdout.strip() == str(tmp_path / "o" / "Set12")  # in any case, as it is listed
    server.close()
    offline = cli(
        "adnet-data", "fetch", "Set12", "--mirror", server.address, "-o", tmp_path / "other"
    )
    assert_clean_error(offline, 1, "cannot download", "--mirror")
