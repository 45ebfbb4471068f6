"""A folder that is watched: what is missing is made, what appears is taken when it stands still."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from adnet.benchmarks.studies.memory import save_identity
from adnet.errors import UsageError
from adnet.runtime import watch as module
from adnet.runtime.naming import Naming
from adnet.runtime.progress import Position
from adnet.runtime.request import Request
from adnet.runtime.summary import Summary
from adnet.runtime.watch import watch

RUN = Path(sys.executable).parent / "adnet-run"


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    pytest.importorskip("onnx")
    return save_identity(tmp_path_factory.mktemp("identity") / "identity.onnx", 1)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class Steps:
    """Stands for the clock: each look is followed by the next action of the test."""

    def __init__(self, monkeypatch, *actions):
        self._actions = list(actions)
        monkeypatch.setattr(module.time, "sleep", self.sleep)

    def sleep(self, _):
        if not self._actions:
            raise KeyboardInterrupt
        self._actions.pop(0)()


@pytest.fixture
def watched(identity, tmp_path, monkeypatch):
    """watched(actions): watch tmp_path/in, one action after each look; returns the summary."""
    (tmp_path / "in").mkdir()

    def run(*actions, told=None, **asked):
        Steps(monkeypatch, *actions)
        asked.setdefault("output", tmp_path / "out")
        request = Request(inputs=[tmp_path / "in"], model=identity, **asked)
        summary = Summary()
        watch(
            request, Position(0, lambda _: None), summary, (told if told is not None else []).append
        )
        return summary

    return run


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def nothing():
    pass


def test_what_is_missing_is_made_and_what_appears_is_taken(watched, tmp_path, make_image):
    make_image(tmp_path / "in" / "a.png", size=(20, 20))
    make_image(tmp_path / "in" / "b.png", size=(20, 20))
    make_image(tmp_path / "out" / "b.png", size=(20, 20))
    seen = []
    done = watched(
        nothing,
        lambda: seen.append(tree(tmp_path / "out")),
        lambda: make_image(tmp_path / "in" / "x" / "c.jpg", size=(20, 20)),
        nothing,
        lambda: seen.append(tree(tmp_path / "out")),
    )
    assert seen == [["a.png", "b.png"], ["a.png", "b.png", "x/c.jpg"]]
    assert [path.name for path in done.written] == ["a.png", "c.jpg"]
    assert not done.failed


def test_a_file_that_still_grows_is_left_alone(watched, tmp_path, make_image):
    whole = make_image(tmp_path / "a.png", size=(60, 60)).read_bytes()
    target = tmp_path / "in" / "a.png"
    done = watched(
        *(lambda cut=cut: target.write_bytes(whole[:cut]) for cut in range(100, 1000, 100)),
        lambda: target.write_bytes(whole),
        nothing,
    )
    assert (len(done.written), done.failed) == (1, [])


def test_one_that_failed_is_tried_again_when_it_changes(watched, tmp_path, make_image):
    good = make_image(tmp_path / "a.png", size=(20, 20)).read_bytes()
    target = tmp_path / "in" / "a.png"
    target.write_bytes(b"no image")
    (tmp_path / "in" / "b.png").write_bytes(b"none either")
    done = watched(
        nothing, nothing, nothing, nothing, lambda: target.write_bytes(good[:100]),
        nothing, nothing, lambda: target.write_bytes(good), nothing,
    )  # fmt: skip
    # Once, not at every look; and not what was mended since.
    assert [path.name for path, _ in done.failed] == ["b.png"]
    assert [path.name for path in done.written] == ["a.png"]


def test_beside_the_inputs_results_are_no_inputs(watched, tmp_path, make_image):
    make_image(tmp_path / "in" / "a.png", size=(20, 20))
    done = watched(*[nothing] * 5, output=None, naming=Naming("_x"))
    assert tree(tmp_path / "in") == ["a.png", "a_x.png"]
    assert len(done.written) == 1


def test_with_overwrite_each_state_is_done_once(watched, tmp_path, make_image):
    source = make_image(tmp_path / "in" / "a.png", size=(20, 20))
    make_image(tmp_path / "out" / "a.png", size=(10, 10))
    done = watched(*[nothing] * 3, lambda: make_image(source, size=(24, 24)), *[nothing] * 3,
                   overwrite=True)  # fmt: skip
    assert len(done.written) == 2
    with Image.open(tmp_path / "out" / "a.png") as written:
        assert written.size == (24, 24)


def test_a_folder_that_goes_and_comes_back(watched, tmp_path, make_image):
    told = []
    folder, away = tmp_path / "in", tmp_path / "away"
    make_image(folder / "a.png", size=(20, 20))
    done = watched(lambda: folder.rename(away), nothing, nothing, lambda: away.rename(folder),
                   nothing, nothing, told=told)  # fmt: skip
    assert told == [f"waiting: {folder}: no such file or folder."]
    assert len(done.written) == 1


def test_only_folders_are_watched(watched, tmp_path, make_image, identity):
    path = make_image(tmp_path / "a.png", size=(20, 20))
    with pytest.raises(UsageError, match="--watch takes folders"):
        watch(Request(inputs=[path], output=tmp_path / "out", model=identity), None, Summary())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order(identity, tmp_path, make_image, ending):
    (tmp_path / "in").mkdir()
    process = subprocess.Popen(
        [RUN, "in", "-o", "out", "--watch", "--model", identity],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    try:
        for name in ("a.png", "b.png"):
            make_image(tmp_path / "in" / name, size=(20, 20))
            wait_for(lambda name=name: (tmp_path / "out" / name).exists())
        time.sleep(0.5)  # until what is written is counted, too
        process.send_signal(ending)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "2 denoised, 0 skipped (output exists), 0 failed" in out
    assert [line for line in err.splitlines() if line.startswith("done: ")] == [
        f"done: in/{name}" for name in ("a.png", "b.png")
    ]
    assert "Traceback" not in err
    assert tree(tmp_path / "out") == ["a.png", "b.png"]
    assert set(os.listdir(tmp_path)) == {"in", "out"}
