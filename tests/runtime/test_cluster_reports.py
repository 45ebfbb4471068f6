"""What a cluster tells of each image is what one machine tells; Ray is played by a function."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from smear import install

from adnet import storage
from adnet.runtime.cluster import run as run_module
from adnet.runtime.cluster.options import ClusterOptions
from adnet.runtime.cluster.run import run_on_cluster
from adnet.runtime.progress import Listener
from adnet.runtime.report import as_json
from adnet.runtime.settings import Settings
from adnet.runtime.staged import Pair, run_pairs

pytestmark = [pytest.mark.scale, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def settings(monkeypatch, tmp_path_factory):
    return Settings(model=str(install(monkeypatch, tmp_path_factory.mktemp("smear"))[0]))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with images, of which one is damaged and one gets a note."""
    random = np.random.default_rng(0)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("in/a.png", "in/sub/b.png"):
        Image.fromarray(random.integers(0, 256, (30, 40), dtype=np.uint8)).save(tmp_path / name)
    palette = Image.fromarray(random.integers(0, 9, (30, 40), dtype=np.uint8)).convert("P")
    palette.save(tmp_path / "in" / "palette.png")
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:200])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ray(monkeypatch, tmp_path_factory):
    """A cluster of one worker in another folder, which dies where `before` says."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def install_ray(before=lambda rows: None):
        def execute(rows, task, options, on_done):
            rows = list(rows)
            home = os.getcwd()
            before(rows)
            os.chdir(elsewhere)
            try:
                answer = task.open(1).run_rows(json.loads(json.dumps(rows)))
            finally:
                os.chdir(home)
            assert answer.left == []
            on_done(json.loads(json.dumps(answer.done)), answer.models)

        monkeypatch.setattr(run_module, "execute", execute)

    return install_ray


def told(summary):
    report = as_json(summary)
    for one in report["images"]:
        one["seconds"] = None
    report.pop("seconds")
    for key in ("images", "failed", "written", "kept_differently"):  # they may end in any order
        report[key].sort(key=str)
    return json.loads(json.dumps(report, default=str))


def jobs_of(kind, here):
    names = ["a.png", "palette.png", "cut.png", "missing.png", "sub/b.png"]
    if "memory" in kind:
        pytest.importorskip("fsspec")
    store = f"memory://{here.name}"
    base, out = {
        "relative": ("in", "out"), "dotted": ("./in", "./sub/../out"),
        "absolute": (f"{here}/in", f"{here}/out"), "memory": (f"{store}/in", f"{store}/out"),
        "from memory": (f"{store}/in", "out"), "to memory": ("in", f"{store}/out"),
    }[kind]  # fmt: skip
    if storage.is_address(base):
        for path in (here / "in").rglob("*.png"):
            name = path.relative_to(here / "in").as_posix()
            storage.put(f"{base}/{name}", path.read_bytes())
    return [Pair(f"{base}/{name}", f"{out}/{name}") for name in names], out


def empty(out):
    import shutil

    storage.remove_below(out) if storage.is_address(out) else shutil.rmtree(out)


@pytest.mark.parametrize(
    "kind", ["relative", "dotted", "absolute", "memory", "from memory", "to memory"]
)
@pytest.mark.parametrize("twice", [False, True])
def test_as_on_one_machine(settings, here, ray, kind, twice):
    """With every source twice, too: as with two outputs in a list."""
    if twice and kind in ("memory", "from memory"):
        return  # fsspec's memory gives two readers of one file the same position
    jobs, out = jobs_of(kind, here)
    if twice:
        jobs += [Pair(job.source, job.target.replace(".png", "-2.png")) for job in jobs]
    heard = []
    listener = Listener(lambda *_: None, lambda job, error: heard.append((str(job.target), error)))
    with settings.open_denoiser() as denoiser:
        alone = run_pairs(jobs, denoiser, listener=listener)
        alone.models = denoiser.describe()
    expected = told(alone)
    images = [(one["input"], one["output"], one["status"]) for one in expected["images"]]
    assert len(set(images)) == len(jobs)
    for source, _, status in images:
        assert status == ("failed" if "cut" in source or "missing" in source else "written")
    assert all(one["reason"] for one in expected["images"] if one["status"] == "failed")
    assert len(expected["kept_differently"]) == 1 + twice
    assert not any("adnet-" in note for one in expected["images"] for note in one["notes"])
    empty(out)
    ray()
    alone_heard = sorted(heard, key=str)
    heard.clear()
    summary = run_on_cluster(jobs, ClusterOptions(), settings, listener=listener)
    assert told(summary) == expected
    assert sorted(heard, key=str) == alone_heard


@pytest.mark.parametrize("kind", ["relative", "absolute", "memory"])
def test_every_image_is_told_of_after_a_worker_died(settings, here, ray, kind):
    jobs, _ = jobs_of(kind, here)

    def dies(rows):
        for row in rows[:2]:
            storage.put(row["target"], b"made before")

    ray(dies)
    heard = []
    listener = Listener(lambda *_: None, lambda job, error: heard.append(str(job.target)))
    summary = run_on_cluster(jobs, ClusterOptions(), settings, listener=listener)
    images = {str(one.output): one for one in summary.images}
    assert len(summary.images) == len(images) == len(jobs) == len(heard)
    for job in jobs[:2]:
        one = images[job.target]
        assert (str(one.input), one.status) == (job.source, "written")
        assert "worker that died" in one.reason
    assert len(summary.written) == 3
    assert len(summary.failed) == 2
