"""Jobs on a Ray cluster of this machine: real processes, killed in the middle; S3 by moto."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from object_store import object_store
from PIL import Image
from ray_cluster import ray_cluster, wait_for

from adnet import storage

pytest.importorskip("ray")
pytest.importorskip("s3fs")
pytest.importorskip("moto")
tifffile = pytest.importorskip("tifffile")
zarr = pytest.importorskip("zarr")

pytestmark = [pytest.mark.scale, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

COUNT = 60


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """60 images and 2 corrupt ones, and what adnet-run makes of them: (inputs, outputs)."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for index in range(COUNT):
        shape = (90, 110) if index % 2 else (110, 90, 3)
        path = folder / "in" / str(index % 3) / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(path)
    (folder / "in" / "0" / "cut.png").write_bytes(path.read_bytes()[:1000])
    (folder / "in" / "1" / "text.jpg").write_text("no image")
    result = adnet_run(folder / "in", "-o", folder / "out", "--threads", "1").wait()
    assert result == 1
    return folder / "in", folder / "out"


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster() as nodes:
        yield nodes


@pytest.fixture
def nodes(cluster):
    while cluster.count < 2:
        cluster.add()
    return cluster


def adnet_run(*arguments, **options):
    script = Path(sys.executable).parent / "adnet-run"
    return subprocess.Popen(
        [str(script), *map(str, arguments), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def finish(driver, status):
    out, err = driver.communicate(timeout=200)
    assert driver.returncode == status, err
    assert "Traceback" not in err
    return json.loads(out) if out else err


def files_below(folder):
    """name -> bytes, but for what a worker that was killed left half written (.adnet-*.tmp)."""
    if storage.is_address(str(folder)):
        names = storage.list_files(folder)
        return {name: storage.read(storage.join(folder, name)) for name in names}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.name.startswith(".adnet-")
    }  # fmt: skip


def test_a_worker_and_a_node_die(images, nodes, tmp_path):
    source, expected = images
    out = tmp_path / "out"
    command = (source, "-o", out, "--cluster", nodes.address, "--images-per-task", "3")
    environment = nodes.environment
    driver = adnet_run(*command, env=environment)
    wait_for(lambda: len(list(out.rglob("*.png"))) >= 6, driver)
    nodes.kill_a_worker()
    wait_for(lambda: len(list(out.rglob("*.png"))) >= 20, driver)
    nodes.kill_node()
    report = finish(driver, 1)
    assert files_below(out) == files_below(expected)
    assert sorted(report["written"]) == sorted(str(path) for path in out.rglob("*.png"))
    failed = {Path(one["input"]).name: one["error"] for one in report["failed"]}
    assert sorted(failed) == ["cut.png", "text.jpg"]
    told = [one["input"] for one in report["images"]]
    assert len(told) == len(set(told)) == COUNT + 2
    assert report["models"]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    again = finish(adnet_run(*command, env=environment), 1)
    assert again["skipped"] == COUNT
    assert again["written"] == []
    assert len(again["failed"]) == 2
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}


def test_s3_with_faults_and_a_killed_driver(images, nodes):
    source, expected = images
    wanted = files_below(expected)
    with object_store() as (variables, faults):
        for name, data in files_below(source).items():
            storage.put(f"s3://photos/in/{name}", data)
        renew(nodes, variables)  # workers have the environment of their node
        environment = nodes.environment | variables
        command = ("s3://photos/in", "-o", "s3://photos/out", "--cluster", nodes.address,
                   "--images-per-task", "3")  # fmt: skip

        def there():
            return len(storage.list_files("s3://photos/out"))

        driver = adnet_run(*command, env=environment)
        wait_for(lambda: there() >= 10, driver)
        os.kill(driver.pid, signal.SIGKILL)
        driver.communicate()
        found = files_below("s3://photos/out")
        assert found
        assert all(wanted[name] == data for name, data in found.items())
        missing = sorted(set(wanted) - set(found))
        refused = set(missing[:4])
        faults.choose = lambda method, path: method == "PUT" and path[12:] in refused
        report = finish(adnet_run(*command, env=environment), 1)
        assert {Path(one["input"]).name for one in report["failed"]} == {
            "cut.png", "text.jpg", *(Path(name).name for name in refused),
        }  # fmt: skip
        assert sorted(files_below("s3://photos/out")) == sorted(set(wanted) - refused)
        faults.choose = lambda method, path: False
        report = finish(adnet_run(*command, env=environment), 1)
        assert len(report["written"]) == len(refused)
        assert report["skipped"] == COUNT - len(refused)
        assert files_below("s3://photos/out") == wanted


def renew(nodes, variables):
    while nodes.count:
        nodes.kill_node()
    nodes.add(variables)
    nodes.add(variables)


def test_lost_devices(images, nodes, tmp_path):
    """One worker loses its device for good: the other does its work. Both: the run ends."""
    source, _ = images
    for name, status in (("once", 0), ("all", 1)):
        out = tmp_path / f"out-{name}"
        driver = subprocess.run(
            [sys.executable, str(ROOT / "tests" / "losing.py"), str(source / "2"), str(out),
             nodes.address, str(tmp_path / f"{name}.losing")],
            capture_output=True, text=True, timeout=200, check=False, env=nodes.environment,
        )  # fmt: skip
        assert driver.returncode == status, driver.stderr
        if name == "once":
            assert json.loads(driver.stdout.splitlines()[-1]) == {"written": 20, "failed": 0}
            assert (tmp_path / "once.lost").exists()
            assert "a worker on" in driver.stderr
        else:
            assert "DeviceLostError: no worker is left" in driver.stderr


def test_one_huge_image_with_a_killed_worker(nodes, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (600, 700, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", pixels, tile=(128, 128), compression="zlib")
    alone = finish(
        adnet_run(tmp_path / "in.tif", "-o", tmp_path / "alone.zarr", "--chunk", "64"), 0
    )
    assert alone["written"]
    out = tmp_path / "out.zarr"
    driver = adnet_run(
        tmp_path / "in.tif", "-o", out, "--chunk", "64", "--cluster", nodes.address,
        env=nodes.environment,
    )  # fmt: skip
    partial = tmp_path / "out.zarr.partial" / "c"
    wait_for(lambda: len(list(partial.rglob("*"))) > 30, driver)
    nodes.kill_a_worker()
    report = finish(driver, 0)
    assert report["written"] == [str(out)]
    np.testing.assert_array_equal(zarr.open(out)[:], zarr.open(tmp_path / "alone.zarr")[:])


def test_plain_errors(images, nodes, tmp_path):
    source, _ = images
    wrong = nodes.environment | {"RAY_AUTH_TOKEN": "another" + "0" * 30}
    none = nodes.environment | {"HOME": str(tmp_path)}  # without ~/.ray/auth_token
    del none["RAY_AUTH_TOKEN"]
    off = none | {"RAY_AUTH_MODE": "disabled"}
    for environment in (wrong, none, off):
        driver = adnet_run(
            source, "-o", tmp_path / "x", "--cluster", nodes.address, env=environment
        )
        (told,) = finish(driver, 2).splitlines()
        assert told.startswith(f"error: --cluster {nodes.address}: the cluster asks for a token")
        assert "RAY_AUTH_MODE=token" in told
    dead = nodes.environment | {"RAY_ADDRESS": "127.0.0.1:1"}
    for environment, address in ((nodes.environment, "127.0.0.1:1"), (dead, "auto")):
        driver = adnet_run(source, "-o", tmp_path / "x", "--cluster", address, env=environment)
        told = finish(driver, 2)
        assert told.splitlines()[-1].startswith(f"error: --cluster {address}: "), told
    driver = adnet_run(
        source,
        "-o",
        tmp_path / "x",
        "--cluster",
        nodes.address,
        "--backend",
        "nosuch",
        env=nodes.environment,
    )
    assert "error: unknown backend 'nosuch'" in finish(driver, 2)
    assert not (tmp_path / "x").exists()


def test_workers_without_adnet(images, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'adnet':\n"
        "            raise ModuleNotFoundError(\"No module named 'adnet'\", name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    with ray_cluster(0) as nodes:
        nodes.add({"PYTHONPATH": f"{tmp_path}{os.pathsep}{nodes.environment['PYTHONPATH']}"})
        command = (images[0], "-o", tmp_path / "x", "--cluster", nodes.address)
        driver = adnet_run(*command, env=nodes.environment)
        told = driver.communicate(timeout=200)[1]  # after what Ray says of its workers
    assert driver.returncode == 2, told
    assert "the workers cannot import adnet. Install adnet on every node" in told.splitlines()[-1]
