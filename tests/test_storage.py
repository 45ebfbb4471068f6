"""Addresses: S3 (moto), other file systems (fsspec's memory and local), errors in plain words."""

import pytest

pytest.importorskip("s3fs")
pytest.importorskip("moto")
import fsspec
from object_store import object_store

from adnet import storage
from adnet.errors import ImageError, UsageError

pytestmark = [
    pytest.mark.scale,
    pytest.mark.filterwarnings("ignore"),  # of moto and botocore
]


@pytest.fixture(scope="module")
def store():
    with object_store() as (_, faults):
        yield faults


@pytest.fixture(autouse=True)
def _no_faults(request):
    yield
    if "store" in request.fixturenames:
        request.getfixturevalue("store").choose = lambda method, path: False


def test_what_is_an_address():
    for text in ("s3://photos/x.png", "gs://b", "hdfs://host:9000/x"):
        assert storage.is_address(text)
    for text in ("a.png", "/a/b.png", "C:/a.png", r"C:\a.png", "a:b.png", "s3:/b"):
        assert not storage.is_address(text)
    assert storage.join("s3://photos/a/", "x/y.png") == "s3://photos/a/x/y.png"
    assert storage.suffix_of("s3://photos/a/X.PNG") == ".png"
    assert storage.folder_of("s3://photos/a/x.png") == "s3://photos/a"
    assert storage.name_of("s3://photos/a/x.png") == "x.png"


def test_there_and_back(store, tmp_path):
    names = ["in/a.png", "in/sub/ä ö%20+.png", "in/empty.bin", "other/x.png"]
    for name in names:
        storage.put(f"s3://photos/there/{name}", name.encode() if "empty" not in name else b"")
    assert storage.list_files("s3://photos/there/in") == {
        "a.png": 8, "empty.bin": 0, "sub/ä ö%20+.png": len("in/sub/ä ö%20+.png".encode()),
    }  # fmt: skip
    assert storage.read("s3://photos/there/in/sub/ä ö%20+.png").decode() == "in/sub/ä ö%20+.png"
    assert storage.size_of("s3://photos/there/in/a.png") == 8
    assert storage.size_of("s3://photos/there/in") is None
    storage.fetch("s3://photos/there/in/a.png", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"in/a.png"
    storage.put_file("s3://photos/there/put", tmp_path / "a")
    assert storage.read("s3://photos/there/put") == b"in/a.png"


def test_a_new_object_is_seen_at_once(store):
    assert storage.list_files("s3://photos/fresh") == {}
    fsspec.filesystem("s3", skip_instance_cache=True).pipe_file("photos/fresh/x", b"1")
    assert storage.list_files("s3://photos/fresh") == {"x": 1}


def test_existing_takes_one_listing_for_a_store(store, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_FEW", 4)
    (tmp_path / "c.png").touch()
    for index in range(5):
        storage.put(f"s3://photos/many/{index % 2}/{index}.png", b"x")
    wanted = [f"s3://photos/many/{index % 2}/{index}.png" for index in range(0, 9, 2)]
    wanted += [str(tmp_path / "c.png"), str(tmp_path / "d.png"), str(tmp_path / "no" / "d.png")]
    store.seen.clear()
    there = storage.existing(wanted)
    assert there == {f"s3://photos/many/0/{n}.png" for n in (0, 2, 4)} | {str(tmp_path / "c.png")}
    assert len(store.seen) == 1


def test_existing_does_not_list_a_bucket_for_few(store):
    """Their common folder may be the bucket."""
    for name in ("few/a.png", "b.png", "far/x.png", "few/a.png.old"):
        storage.put(f"s3://photos/{name}", b"x")
    for count in (1, 2, 3):
        wanted = [f"s3://photos/{name}" for name in ("b.png", "few/a.png", "few/no.png")[:count]]
        store.seen.clear()
        assert storage.existing(wanted) == set(wanted[:2])
        assert len(store.seen) <= 2 * count
        for method, path, query in store.seen:
            assert method == "HEAD" or "prefix=few" in query, (path, query)


@pytest.mark.parametrize("size", [0, 1, 1000, 5_000_000])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_put_that_fails_leaves_nothing_or_what_was_there(store, size, before):
    address = f"s3://photos/torn/{size}-{before is None}.png"
    if before is not None:
        storage.put(address, before)
    store.choose = lambda method, path: method == "PUT" and "/torn/" in path
    with pytest.raises(ImageError, match=f"{address}: cannot be written: .*"):
        storage.put(address, bytes(size))
    store.choose = lambda method, path: False
    if before is None:
        assert storage.size_of(address) is None
    else:
        assert storage.read(address) == before


def test_an_upload_in_parts_that_fails_leaves_nothing(store, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_STREAMED", 1000)
    file = tmp_path / "large"
    file.write_bytes(bytes(60_000_000))
    store.choose = lambda method, path: method == "PUT"
    with pytest.raises(ImageError, match="cannot be written"):
        storage.put_file("s3://photos/parts/x", file)
    store.choose = lambda method, path: False
    assert storage.list_files("s3://photos/parts") == {}
    storage.put_file("s3://photos/parts/x", file)
    assert storage.list_files("s3://photos/parts") == {"x": 60_000_000}


@pytest.mark.parametrize("place", ["local", "memory"])
def test_an_exception_while_it_is_put_leaves_nothing(tmp_path, monkeypatch, place):
    class Broken(bytes):
        def __len__(self):
            raise OSError("broke off")

    address = f"{tmp_path}/x.png" if place == "local" else "memory://x/y.png"
    if place == "memory":
        system, _ = storage._open(address)
        monkeypatch.setattr(type(system), "pipe_file", lambda *_: 1 / 0)
    with pytest.raises(ImageError, match="cannot be written"):
        storage.put(address, Broken(b"x"))
    assert list(tmp_path.iterdir()) == []
    assert storage.size_of(address) is None


def test_elsewhere_a_temporary_name_is_moved(tmp_path, monkeypatch):
    """As hdfs:// and sftp://; here with fsspec's own local file system behind file://."""
    address = f"file://{tmp_path}/sub/x.png"
    storage.put(address, b"whole")
    assert storage.read(address) == b"whole"
    system, _ = storage._open(address)

    def torn(_self, path, data, **_):
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])

    monkeypatch.setattr(type(system), "pipe_file", torn)
    with pytest.raises(ImageError, match="3 of 7 bytes were written"):
        storage.put(f"file://{tmp_path}/sub/y.png", b"a whole")
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["x.png"]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("s3://photos/nothing.png", "no such file, bucket or folder"),
        ("s3://no-such-bucket/x.png", "no such file, bucket or folder"),
        ("nosuchscheme://b/x.png", "nosuchscheme"),
        ("gs://b/x.png", "package"),
    ],
)
def test_errors_name_the_address(store, address, told):
    if address.startswith("gs:"):
        try:
            import gcsfs  # noqa: F401

            pytest.skip("gcsfs is installed")
        except ImportError:
            pass
    with pytest.raises((ImageError, UsageError), match=told) as caught:
        storage.read(address)
    assert str(caught.value).startswith(address)


def test_a_place_that_cannot_be_written_is_known_before_the_work(store):
    storage.require_writable("s3://photos/probe")
    assert storage.list_files("s3://photos/probe") == {}
    with pytest.raises(UsageError, match="no-such-bucket"):
        storage.require_writable("s3://no-such-bucket/out")
    store.choose = lambda method, path: method == "PUT"
    with pytest.raises(
        UsageError, match=r"s3://photos/probe: the output cannot be written: .*thrown by the test"
    ):
        storage.require_writable("s3://photos/probe")
