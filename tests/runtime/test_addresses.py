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
from adnet.runtime.addresses import plan_addresses
from adnet.runtime.lists import read_list
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
        (["s3://photos/t"], "s3://photos/x.png", "named like one file of .png"),
        (["s3://photos/t/a.png", "s3://photos/t/u/a.png"], "/tmp/x.tif", "named like one file"),
        (["s3://photos/t/a.png"], "s3://photos/x.pdf", "named like one file of .pdf"),
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
    (tmp_path / "three.txt").write_text("a.png\n\nb.png\tx.png\ty.png\n")
    for name, output, told in [
        ("no.parquet", "out", "a column named source, got target, size"),
        ("twice.txt", "out", "row 2 would be written to out/x.png"),
        ("list.txt", None, "row 1 names no output"), ("torn.parquet", "out", "as Parquet"),
        ("missing.txt", "out", "no such file"), ("three.txt", "out", "row 2: .*got 3 parts"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=told):
            list(read_list(str(tmp_path / name), output))


def write_list(path, rows):
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = list(zip(*rows, strict=True))
        pq.write_table(pa.table({"source": columns[0], "target": columns[1]}), path)
    else:
        path.write_text("".join(f"{source}\t{target}\n" for source, target in rows))
    return str(path)


ON_TOP = {
    "itself": [("a/0.png", "a/0.png")],
    "a later input": [("a/2.png", "a/3.png"), ("a/3.png", "a/4.png")],
    "an earlier input": [("a/3.png", "a/4.png"), ("a/2.png", "a/3.png")],
    "far away": [("a/3.png", "a/4.png"), *((f"b/{n}.png", f"c/{n}.png") for n in range(99)),
                 ("a/2.png", "a/3.png")],
}  # fmt: skip
NAMES = {
    "as it is": lambda name, base: name, "with a dot": lambda name, base: f"./{name}",
    "by another folder": lambda name, base: f"a/../{name}",
    "absolute": lambda name, base: f"{base}/{name}", "link": lambda name, base: f"link/{name}",
    "as an address": lambda name, base: f"file://{base}/{name}",
}  # fmt: skip


@pytest.mark.parametrize("kind", [".txt", ".parquet"])
@pytest.mark.parametrize("named", NAMES)
@pytest.mark.parametrize("case", ON_TOP)
def test_a_list_with_an_output_on_top_of_an_input(tmp_path, monkeypatch, kind, named, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    rows = [(source, NAMES[named](target, tmp_path)) for source, target in ON_TOP[case]]
    with pytest.raises(UsageError, match="row .*would replace the input"):
        read_list(write_list(tmp_path / f"list{kind}", rows), None)


@pytest.mark.parametrize("kind", [".txt", ".parquet"])
@pytest.mark.parametrize("scheme", ["s3", "s3a", "memory"])
@pytest.mark.parametrize("case", ON_TOP)
def test_a_list_of_addresses_with_an_output_on_top_of_an_input(tmp_path, kind, scheme, case):
    base = {"s3a": "s3"}.get(scheme, scheme)
    rows = [(f"{base}://b/{source}", f"{scheme}://b/{target}") for source, target in ON_TOP[case]]
    with pytest.raises(UsageError, match="row .*would replace the input"):
        read_list(write_list(tmp_path / f"list{kind}", rows), None)


def test_a_list_that_goes_to_its_own_folder(tmp_path):
    (tmp_path / "list.txt").write_text(f"{tmp_path}/x.png\n")
    with pytest.raises(UsageError, match="would replace the input"):
        read_list(str(tmp_path / "list.txt"), str(tmp_path))


@pytest.mark.parametrize("cluster", [[], ["--cluster", "127.0.0.1:1"]])
@pytest.mark.parametrize("by_chunk", [[], ["--by-chunk"]])
def test_nothing_is_overwritten_by_a_list(adnet_run, tmp_path, cluster, by_chunk):
    for name in ("x2.tif", "x3.tif"):
        Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / name)
    before = contents(tmp_path)
    for names in ([("x2.tif", "x2.tif")], [("x2.tif", "x3.tif"), ("x3.tif", "x4.tif")]):
        rows = [tuple(f"{tmp_path}/{name}" for name in row) for row in names]
        listed = write_list(tmp_path / "list.txt", rows)
        status, told = adnet_run("--jobs", listed, "--overwrite", *cluster, *by_chunk)
        assert (status, "would replace the input" in told) == (2, True), told
        (tmp_path / "list.txt").unlink()
        assert contents(tmp_path) == before


def test_a_list_from_a_pipe(tmp_path):
    """As the shell's `--jobs <(...)`: it can be read once."""
    import os

    reading, writing = os.pipe()
    os.write(writing, b"a/x.png\na/y.png\n")
    os.close(writing)
    pairs = list(read_list(f"/dev/fd/{reading}", "out"))
    os.close(reading)
    assert pairs == [Pair("a/x.png", "out/x.png"), Pair("a/y.png", "out/y.png")]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"source": ["a", None]}, "row 2: expected .* column source, got nothing"),
        ({"source": ["a", ""]}, "row 2: expected .* column source, got nothing"),
        ({"source": [1, 2]}, "row 1: expected .* column source, got 1, int"),
        ({"source": [b"a", b"b"]}, "row 1: expected .* column source, got b'a', bytes"),
        ({"source": [["a"], ["b"]]}, r"row 1: expected .* column source, got \['a'\], list"),
        ({"source": ["a", "b"], "target": [3, 4]}, "row 1: expected .* column target, got 3, int"),
        ({"source": ["a", "b"], "target": [None, 4.5]}, "row 2: .* column target, got 4.5, float"),
        ({"source": ["a", "b"], "target": [True, None]}, "row 1: .* target, got True, bool"),
    ],
)
def test_a_column_that_is_no_text(tmp_path, columns, told):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    with pytest.raises(UsageError, match=told):
        read_list(str(tmp_path / "list.parquet"), "out")


def test_texts_of_every_kind_in_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        column = pa.array(["a.png", "b.png"]).cast(kind)
        pq.write_table(pa.table({"source": column, "target": pa.nulls(2)}), tmp_path / "l.parquet")
        pairs = list(read_list(str(tmp_path / "l.parquet"), "out"))
        assert pairs == [Pair("a.png", "out/a.png"), Pair("b.png", "out/b.png")]


def test_a_line_without_an_image(tmp_path):
    (tmp_path / "list.txt").write_text("a.png\n\tout.png\n")
    with pytest.raises(UsageError, match="row 2 names no image"):
        read_list(str(tmp_path / "list.txt"), "out")


def test_two_inputs_of_one_name_by_chunk(adnet_run, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / name / "x.tif")
    inputs = (tmp_path / "a/x.tif", tmp_path / "b/x.tif")
    status, told = adnet_run(*inputs, "--by-chunk", "-o", tmp_path / "out")
    assert (status, "would both be written" in told) == (2, True), told


@pytest.mark.parametrize("where", ["here", "s3"])
@pytest.mark.parametrize("name", ["no.tif", "no.zarr", "no.TIFF"])
@pytest.mark.parametrize("beside", [[], ["a.tif"]])
def test_a_missing_input_by_chunk_starts_nothing(adnet_run, store, tmp_path, where, name, beside):
    pytest.importorskip("zarr")
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "a.tif")
    storage.put("s3://photos/here/a.tif", (tmp_path / "a.tif").read_bytes())
    base = str(tmp_path) if where == "here" else "s3://photos/here"
    inputs = [f"{base}/{one}" for one in (*beside, name)]
    status, told = adnet_run(*inputs, "-o", tmp_path / "out", "--by-chunk")
    assert (status, f"{base}/{name}: no such file" in told) == (2, True), told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["x.png", "x.jpg", "x.gif", "x.npy", "x.png/", "x.pdf"])
@pytest.mark.parametrize("where", ["here", "s3"])
def test_a_target_by_chunk_that_is_neither_zarr_nor_tiff(adnet_run, store, tmp_path, where, target):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(tmp_path / "a.zarr", data=np.zeros((20, 20), np.uint8))
    base = str(tmp_path) if where == "here" else f"s3://photos/{tmp_path.name}"
    status, told = adnet_run(tmp_path / "a.zarr", "-o", f"{base}/{target}")
    assert (status, "only .zarr and .tif are written" in told) == (2, True), told
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    assert storage.list_files(f"s3://photos/{tmp_path.name}") == {}


@pytest.mark.parametrize("folder", ["out", "v1.2", "x.png"])
def test_a_folder_by_chunk(adnet_run, tmp_path, folder):
    """One that is there may have any name."""
    zarr = pytest.importorskip("zarr")
    zarr.create_array(tmp_path / "a.zarr", data=np.zeros((20, 20), np.uint8))
    if "png" in folder:
        (tmp_path / folder).mkdir()
    status, report = adnet_run(tmp_path / "a.zarr", "-o", tmp_path / folder)
    assert (status, report["written"]) == (0, [f"{tmp_path}/{folder}/a.zarr"])


def test_a_run_says_nothing_of_the_store(address, tmp_path):
    """Botocore tells at INFO where it found the credentials and the endpoint."""
    import subprocess
    import sys
    from pathlib import Path

    program = Path(sys.executable).with_name("adnet-run")
    done = subprocess.run(
        [program, f"{address}/a.png", "-o", tmp_path / "a.png", "--quiet"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("named", ["cut.tif", "./cut.tif", "{}/cut.tif", "file://{}/cut.tif"])
def test_failures_by_chunk_name_the_image_as_given(adnet_run, tmp_path, monkeypatch, named):
    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.tif").write_bytes(b"no image")
    given = named.format(tmp_path)
    status, report = adnet_run(given, "-o", "out.zarr")
    assert status == 1
    (failed,) = report["failed"]
    shown = given.removeprefix("./")
    assert failed["input"] == shown
    assert failed["error"].startswith(f"{shown}: cannot be read")
    assert report["images"][0]["reason"] == failed["error"]
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "cut.tif")
    status, told = adnet_run(given, "-o", named.format(tmp_path), "--by-chunk")
    assert (status, f"error: {shown}: the output would replace" in told) == (2, True), told


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
