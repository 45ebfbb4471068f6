"""adnet-run --backend auto: the fastest backend by measuring, remembered, told."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest

from adnet.errors import BackendUnavailable, UsageError
from adnet.models.shipped import default_model
from adnet.runtime import fastest
from adnet.runtime.backend import InputSpec, RunOptions
from adnet.runtime.cli import main
from adnet.runtime.fastest import cache_file, candidates, choose_backend, measure

MODEL = default_model(1).path
SECONDS = {"onnx": 0.02, "openvino": 0.005, "torch": 0.04}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "adnet" / "fastest.json"


class Fake:
    spec = InputSpec(1)

    def __init__(self, seconds):
        self.seconds, self.seen = seconds, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.seen.append("closed")

    def infer(self, batch):
        self.seen.append(batch.shape)
        time.sleep(self.seconds)
        return batch


def opening(made, seconds=None):
    def open_fake(_model, name, _options):
        if name not in (seconds or SECONDS):
            raise BackendUnavailable(f"{name} is not there")
        made[name] = Fake((seconds or SECONDS)[name])
        return made[name]

    return open_fake


@pytest.fixture
def told(monkeypatch):
    """What is measured, without measuring; the list of calls."""
    calls = []

    def measured(_model, names, options, side):
        calls.append((list(names), options, side))
        return {"onnx": 0.2, "openvino": 0.3, "torch": 0.1}, {}

    monkeypatch.setattr(fastest, "_measure_apart", measured)
    return calls


def test_backends_take_turns_and_the_best_round_counts():
    made = {}
    names = ["onnx", "npu", "openvino", "torch"]
    rates, errors = measure(MODEL, names, RunOptions(), 64, 0.3, opening(made))
    assert list(rates) == ["onnx", "openvino", "torch"]
    assert errors == {"npu": "npu is not there"}
    for name, seconds in SECONDS.items():
        assert 0.3 * 64**2 / 1e6 / seconds < rates[name] <= 64**2 / 1e6 / seconds
        *batches, last = made[name].seen
        assert last == "closed"
        assert len(batches) >= 3
        assert set(batches) == {(1, 1, 64, 64)}
    assert len({len(one.seen) for one in made.values()}) == 1


def test_a_slow_machine_still_gets_two_rounds():
    made = {}
    measure(MODEL, ["onnx", "torch"], RunOptions(), 41, 0.0, opening(made))
    assert all(len(one.seen) == 4 for one in made.values())  # warming up, twice, closed


@pytest.mark.parametrize("shape", [(1, 48, 96), (4, 64, 64)])
def test_models_of_fixed_sizes_are_measured_at_theirs(shape):
    fake = Fake(0)
    fake.spec = InputSpec(1, (shape,))
    measure(MODEL, ["onnx"], RunOptions(), 256, 0.0, lambda *_: fake)
    assert fake.seen[0] == (shape[0], 1, *shape[1:])


def test_the_answer_is_remembered(told, cache):
    first = choose_backend(None, RunOptions())
    assert first.backend == "openvino"
    assert "openvino, 1.50 times as fast as onnx, the default" in first.remark
    assert "measured now: onnx 0.2, openvino 0.3, torch 0.1" in first.remark
    again = choose_backend(MODEL, RunOptions(cache="anywhere"))
    assert again.backend == "openvino"
    assert "measured before" in again.remark
    assert len(told) == 1
    assert cache == cache_file()
    assert len(json.loads(cache.read_text())) == 1


@pytest.mark.parametrize("change", ["options", "tile", "model", "versions", "processor"])
def test_what_may_change_the_answer_is_measured_again(told, monkeypatch, tmp_path, change):
    choose_backend(MODEL, RunOptions())
    model, options, tile = MODEL, RunOptions(), None
    if change == "options":
        options = RunOptions(threads=1)
    elif change == "tile":
        tile = 100
    elif change == "model":
        model = tmp_path / "m.onnx"
        model.write_bytes(MODEL.read_bytes() + b" ")
    elif change == "versions":
        monkeypatch.setattr(fastest, "versions", lambda *_: {"onnxruntime": "99"})
    else:
        monkeypatch.setattr(fastest, "describe_cpu", lambda: "another, 64 cores")
    choose_backend(model, options, tile)
    assert len(told) == 2
    assert told[1][2] == (100 if change == "tile" else 256)


def test_all_answers_are_kept(told):
    for tile in (None, 100, None, 100):
        choose_backend(MODEL, RunOptions(), tile)
    assert len(told) == 2


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"a": 3}', b"\xff\xfe", b"null", b'{"k": {"onnx": "x"}}']
)
def test_a_damaged_cache_is_ignored_and_replaced(told, cache, text):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(text)
    assert choose_backend(None, RunOptions()).backend == "openvino"
    assert choose_backend(None, RunOptions()).backend == "openvino"
    assert len(told) == 1


def test_a_cache_that_cannot_be_written_costs_only_time(told, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert choose_backend(None, RunOptions()).backend == "openvino"
    assert choose_backend(None, RunOptions()).backend == "openvino"
    assert len(told) == 2


def test_the_cache_folder_follows_the_rules_of_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_file() == tmp_path / ".cache" / "adnet" / "fastest.json"


def test_the_cache_does_not_grow_without_end(told, cache, monkeypatch):
    monkeypatch.setattr(fastest, "_MOST_KEPT", 5)
    for tile in range(41, 50):
        choose_backend(None, RunOptions(), tile)
    kept = json.loads(cache.read_text())
    assert [json.loads(key)["tile"] for key in kept] == [45, 46, 47, 48, 49]


@pytest.mark.parametrize(("other", "taken"), [(0.205, "onnx"), (0.21, "openvino")])
def test_noise_does_not_change_the_backend(monkeypatch, other, taken):
    monkeypatch.setattr(
        fastest, "_measure_apart", lambda *_: ({"onnx": 0.2, "openvino": other}, {})
    )
    choice = choose_backend(None, RunOptions())
    assert choice.backend == taken
    assert ("the default is the fastest" in choice.remark) == (taken == "onnx")


def test_nothing_that_runs_is_an_error_with_every_reason(monkeypatch, tmp_path):
    errors = {"onnx": "onnx backend: has no --compile", "torch": "torch is not there"}
    monkeypatch.setattr(fastest, "_measure_apart", lambda *_: ({}, errors))
    with pytest.raises(UsageError, match=r"auto: .*has no --compile; torch is not there"):
        choose_backend(None, RunOptions(compile=True))
    assert not cache_file().exists()


def test_candidates_run_the_file():
    assert candidates(MODEL)[0] == "onnx"
    assert {"torch", "openvino", "mnn"} <= set(candidates(MODEL))
    assert candidates(MODEL.with_suffix(".om")) == ["om"]
    assert candidates(MODEL.with_suffix(".pth"))[0] == "torch"


def test_a_measurement_that_crashes_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(fastest.sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="measuring failed"):
        choose_backend(None, RunOptions())


def test_a_measurement_that_hangs_is_told(monkeypatch):
    monkeypatch.setattr(fastest, "_TIMEOUT", 0.01)
    with pytest.raises(UsageError, match="no answer after"):
        choose_backend(None, RunOptions())


@pytest.mark.parametrize("backend", ["onnx", pytest.param("torch", marks=pytest.mark.slow)])
def test_the_program_takes_what_was_chosen(cli_here, monkeypatch, tmp_path, make_image, backend):
    if backend == "torch":
        pytest.importorskip("torch")
    make_image(tmp_path / "a.png")
    monkeypatch.setattr(
        fastest, "_measure_apart",
        lambda *_: ({"onnx": 0.2, "torch": 0.4 if backend == "torch" else 0.1}, {}),
    )  # fmt: skip
    result = cli_here(
        main, "adnet-run", tmp_path / "a.png", "-o", tmp_path / "out", "--backend", "auto", "--json"
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert [one["backend"] for one in told["models"]] == [backend]
    assert told["notes"][0].startswith(f"--backend auto: {backend}")


@pytest.mark.slow
def test_what_is_installed_is_measured_really(cli, tmp_path, make_image, cache):
    """In a process of its own; an option that only some obey leaves only them."""
    make_image(tmp_path / "a.png", size=(64, 60))
    for options in ((), ("--provider", "cpu")):
        result = cli(
            "adnet-run", tmp_path / "a.png", "-o", tmp_path / "out", "--overwrite", "--backend",
            "auto", "--json", *options,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        note = json.loads(result.stdout)["notes"][0]
        assert note.startswith("--backend auto: ")
        if options == ("--provider", "cpu"):
            assert note.startswith("--backend auto: onnx, the default is the fastest")
            assert "torch" not in note
    kept = list(json.loads(cache.read_text()).values())
    assert len(kept) == 2
    assert "onnx" in kept[0]


def test_batches_are_of_the_models_planes():
    fake = Fake(0)
    fake.spec = SimpleNamespace(channels=3, sizes=None, batches=lambda _: None)
    measure(MODEL, ["onnx"], RunOptions(), 64, 0.0, lambda *_: fake)
    assert fake.seen[0] == (1, 3, 64, 64)
    assert np.prod(fake.seen[0]) == 3 * 64 * 64


@pytest.mark.parametrize("kind", ["paths", "json", "list"])
def test_every_kind_of_run_takes_it(cache, monkeypatch, cli_here, tmp_path, make_image, kind):
    """Also where a list names the images, as it may name addresses."""
    monkeypatch.setattr(fastest, "_measure_apart", lambda *_: ({"onnx": 0.2}, {}))
    image = make_image(tmp_path / "a.png", size=(24, 24))
    (tmp_path / "list.txt").write_text(f"{image}\t{tmp_path / 'out' / 'a.png'}\n")
    what = {
        "paths": [image, "-o", tmp_path / "out"],
        "json": [image, "-o", tmp_path / "out", "--json"],
        "list": ["--jobs", tmp_path / "list.txt"],
    }[kind]
    result = cli_here(main, "adnet-run", *what, "--backend", "auto")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "a.png").exists()
    assert "--backend auto: " in result.stdout
