"""adnet-run with addresses and lists on one machine: as with paths, byte for byte."""

import json

import numpy as np
import pytest

pytest.importorskip("s3fs")
pytest.importorskip("moto")
from object_store import object_store
from PIL import Image

from adnet import storage
from adnet.errors import UsageError
from adnet.runtime.addresses import plan_addresses, read_list
from adnet.runtime.staged import Pair

pytestmark = [pytest.mark.scale, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def store():
    with object_store() as (_, faults):
        yield faults


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    random = np.random.default_rng(0)
    for index, name in enumerate(["a.png", "b.tif", "sub/c.jpg", "sub/d.webp", "e.bmp", "ä ö.png"]):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40 + index, 50), dtype=np.uint8)).save(path)
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:300])
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def address(store, folder, request):
    """The folder's files in the store."""
    address = f"s3://photos/{request.node.name}/in"
    for path in folder.rglob("*.*"):
        storage.put(storage.join(address, path.relative_to(folder).as_posix()), path.read_bytes())
    return address


def contents(place):
    if storage.is_address(str(place)):
        return {n: storage.read(storage.join(place, n)) for n in storage.list_files(place)}
    return {p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*.*")}


@pytest.fixture
def adnet_run(cli_here):
    from adnet.runtime.cli import main

    def run(*arguments):
        result = cli_here(main, "adnet-run", *arguments, "--json")
        return result.returncode, json.loads(result.stdout) if result.stdout else result.stderr

    return run


@pytest.mark.parametrize("from_store", [True, False])
@pytest.mark.parametrize("to_store", [True, False])
def test_as_with_paths(adnet_run, folder, address, tmp_path, from_store, to_store):
    adnet_run(folder, "-o", tmp_path / "expected")
    source = address if from_store else folder
    out = address.replace("/in", "/out") if to_store else tmp_path / "out"
    status, report = adnet_run(source, "-o", out)
    expected = contents(tmp_path / "expected")
    assert len(expected) == 6
    assert contents(out) == expected
    assert status == 1
    (failed,) = report["failed"]
    assert failed["input"] == storage.join(str(source), "cut.png")
    assert failed["error"].startswith(failed["input"])
    assert report["not_taken"]["by_suffix"] == {".txt": 1}
    assert sorted(report["written"]) == sorted(storage.join(str(out), name) for name in expected)
    status, report = adnet_run(source, "-o", out)
    assert (status, report["skipped"], report["written"]) == (1, 6, [])
    status, report = adnet_run(source, "-o", out, "--overwrite")
    assert (report["skipped"], len(report["written"])) == (0, 6)


def test_one_object_becomes_one_object(adnet_run, address):
    out = address.replace("/in", "/one.tif")
    assert adnet_run(f"{address}/a.png", "-o", out)[0] == 0
    assert storage.read(out)[:2] == b"II"


def test_a_put_that_is_refused_is_listed_and_done_again(adnet_run, store, address):
    out = address.replace("/in", "/out")
    store.choose = lambda method, path: method == "PUT" and path.endswith(("out/a.png", "c.jpg"))
    status, report = adnet_run(address, "-o", out)
    store.choose = lambda method, path: False
    assert status == 1
    failed = {one["input"]: one["error"] for one in report["failed"]}
    names = {name.rpartition("/")[2] for name in failed}
    assert names == {"a.png", "c.jpg", "cut.png"}
    assert "out/a.png: cannot be written" in failed[f"{address}/a.png"]
    assert set(contents(out)) == {"b.tif", "sub/d.webp", "e.bmp", "ä ö.png"}
    status, report = adnet_run(address, "-o", out)
    assert (report["skipped"], len(report["written"])) == (4, 2)


@pytest.mark.parametrize(
    ("inputs", "output", "told"),
    [
        (["s3://photos/nothing"], "s3://photos/x", "nothing is there"),
        (["s3://photos/t/notes.txt"], "s3://photos/x", "suffix .txt"),
        (["s3://photos/t"], "s3://photos/t/out", "lies inside the input"),
        (["s3://photos/t/a.png"], "s3://photos/t", "would replace an input"),
        (["s3://photos/t/a.png", "s3://photos/t/u/a.png"], "/tmp/x", "both be written"),
        (["s3://photos/t/v"], "s3://photos/x", "no image below .*ignored: 1 .txt"),
        (["/no/such/folder"], "s3://photos/x", "no such file or folder"),
    ],
)
def test_refusals(store, inputs, output, told):
    for name in ("notes.txt", "a.png", "u/a.png", "v/w.txt", ".hidden/x.png"):
        storage.put(f"s3://photos/t/{name}", b"x")
    with pytest.raises(UsageError, match=told):
        plan_addresses(inputs, output)


def test_an_output_that_cannot_be_written_is_known_at_once(adnet_run, store, address):
    status, told = adnet_run(address, "-o", "s3://no-such-bucket/out")
    assert status == 2
    assert "s3://no-such-bucket" in told


def test_lists(tmp_path, store):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    text = tmp_path / "list.txt"
    text.write_text("/a/x.png\ns3://photos/ä y.png\t/out/z.tif\n\n", encoding="utf-8")
    expected = [Pair("/a/x.png", "out/x.png"), Pair("s3://photos/ä y.png", "/out/z.tif")]
    assert list(read_list(str(text), "out")) == expected
    storage.put("s3://photos/list.txt", text.read_bytes())
    assert list(read_list("s3://photos/list.txt", "out")) == expected
    table = pa.table({"source": ["/a/x.png", "s3://photos/ä y.png"], "target": [None, "/out/z.tif"],
                      "size": [1, 2]})  # fmt: skip
    pq.write_table(table, tmp_path / "list.parquet")
    assert list(read_list(str(tmp_path / "list.parquet"), "out")) == expected
    pq.write_table(table.drop_columns(["source"]), tmp_path / "no.parquet")
    (tmp_path / "twice.txt").write_text("a/x.png\nb/x.png\n")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    for name, output, told in [
        ("no.parquet", "out", "a column named source, got target, size"),
        ("twice.txt", "out", "row 2 would be written to out/x.png"),
        ("list.txt", None, "row 1 names no output"), ("torn.parquet", "out", "as Parquet"),
        ("missing.txt", "out", "no such file"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=told):
            list(read_list(str(tmp_path / name), output))


def test_a_list_is_denoised(adnet_run, folder, tmp_path, store):
    listed = tmp_path / "list.txt"
    listed.write_text(
        f"{folder}/a.png\n{folder}/b.tif\t{tmp_path}/sub/other.tif\n{folder}/no.png\n"
    )
    status, report = adnet_run("--jobs", listed, "-o", tmp_path / "out")
    assert status == 1
    assert sorted(report["written"]) == [f"{tmp_path}/out/a.png", f"{tmp_path}/sub/other.tif"]
    assert [one["input"] for one in report["failed"]] == [f"{folder}/no.png"]
    for name in ("a.png", "b.tif"):
        assert (folder / name).is_file()
    status, told = adnet_run("--jobs", listed, folder, "-o", tmp_path / "out")
    assert status == 2
    assert "leave out INPUTS" in told
