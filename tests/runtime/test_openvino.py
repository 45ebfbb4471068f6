"""What is particular to the OpenVINO backend; the rest is in the contract."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.engine
openvino = pytest.importorskip("openvino", reason="needs openvino: pip install openvino")

from adnet.errors import BackendUnavailable, ModelError, UsageError  # noqa: E402
from adnet.images.levels import WHITE  # noqa: E402
from adnet.images.noise import add_published_noise  # noqa: E402
from adnet.images.synthetic import render  # noqa: E402
from adnet.models.shipped import WEIGHTS  # noqa: E402
from adnet.runtime import inventory  # noqa: E402
from adnet.runtime.backend import RunOptions  # noqa: E402
from adnet.runtime.backends import ov  # noqa: E402
from adnet.runtime.denoiser import Denoiser  # noqa: E402
from adnet.runtime.registry import open_backend  # noqa: E402

ONNX = WEIGHTS / "gray-25.onnx"


def batch(height=60, width=72, channels=1):
    noisy = np.atleast_3d(add_published_noise(render(height, width, channels), 25))
    return np.ascontiguousarray(noisy.transpose(2, 0, 1)[None], np.float32)


def run(model, name="openvino", given=None, **options):
    with open_backend(model, name, RunOptions(**options)) as backend:
        return backend.infer(batch() if given is None else given)


def can(precision):
    return precision.upper() in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_float32_is_float32_whatever_the_processor_prefers():
    assert np.abs(run(ONNX) - run(ONNX, "onnx")).max() < 2e-5
    with open_backend(ONNX, "openvino") as backend:
        assert backend.describe()["precision"] == "fp32"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_obeyed_or_refused(precision):
    if can(precision):
        difference = np.abs(run(ONNX, precision=precision) - run(ONNX)).max()
        assert 1e-4 < difference < 0.1
    else:
        with pytest.raises(BackendUnavailable, match=f"CPU does not compute in {precision}"):
            run(ONNX, precision=precision)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_processors_without_it_refuse(monkeypatch, precision):
    class Old:
        def get_property(self, device, name):
            return ["FP32", "INT8", "EXPORT_IMPORT"]

    with pytest.raises(BackendUnavailable, match=f"{precision} .it can: fp32, int8"):
        ov._require_precision(Old(), "CPU", precision)


def test_colour_on_any_size():
    for size in ((41, 60), (90, 33)):
        given = batch(*size, channels=3)
        expected = run(WEIGHTS / "color-blind.onnx", "onnx", given)
        got = run(WEIGHTS / "color-blind.onnx", given=given)
        assert np.abs(got - expected).max() < 2e-5


@pytest.fixture
def variants(tmp_path):
    """variants(precision, io) writes that variant of gray-25."""
    pytest.importorskip("torch", reason="needs torch: exports a model")
    from adnet.export.to_onnx import Variant, checkpoint_to_onnx
    from adnet.export.torch_to_onnx import OnnxShape

    def make(precision, io):
        path = tmp_path / f"{precision}-{io}.onnx"
        checkpoint_to_onnx(ONNX, path, OnnxShape(), variant=Variant(precision, io), verify=False)
        return path

    return make


@pytest.mark.parametrize(
    ("precision", "io", "tolerance"), [("fp16", "fp16", 5e-3), ("fp32", "uint8", 1.01 / WHITE)]
)
def test_variants_of_input(variants, precision, io, tolerance):
    path = variants(precision, io)
    options = {} if precision == "fp32" or can("fp16") else {"precision": "fp32"}
    assert np.abs(run(path, **options) - run(path, "onnx")).max() <= tolerance


@pytest.mark.slow
def test_int8_is_the_same_as_on_onnx_runtime(variants):
    path = variants("int8", "fp32")
    with open_backend(path, "openvino") as backend:
        assert backend.describe()["precision"] == "int8"
        got, expected = backend.infer(batch()), run(path, "onnx")
    assert (got - expected).std() < 0.5 * (expected - run(ONNX)).std() + 2e-3
    assert np.abs(got - expected).max() < 0.03
    run(path, precision="int8")
    with pytest.raises(UsageError, match="is an int8 model; --precision bf16 needs"):
        run(path, precision="bf16")


def test_int8_is_a_matter_of_the_file():
    with pytest.raises(UsageError, match="is a fp32 model. Make an int8 one"):
        run(ONNX, precision="int8")


def test_a_cache_only_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(ONNX)
    assert list(tmp_path.iterdir()) == []
    first = run(ONNX, cache=str(tmp_path / "kept"))
    assert list((tmp_path / "kept").iterdir())
    assert np.array_equal(run(ONNX, cache=str(tmp_path / "kept")), first)
    with pytest.raises(UsageError, match="onnx backend: has no --cache"):
        run(ONNX, "onnx", cache="kept")


def test_streams_and_threads():
    with open_backend(ONNX, "openvino", RunOptions(streams=2, threads=1)) as backend:
        assert backend.lanes == 2
        assert backend.describe() | {"streams": "2", "threads": "2"} == backend.describe()
    with pytest.raises(UsageError, match="more than four times the"):
        run(ONNX, streams=100, threads=50)


@pytest.mark.parametrize(
    ("name", "there", "expected"),
    [("gpu", ["CPU", "GPU"], "GPU"), ("gpu", ["CPU", "GPU.0", "GPU.1"], "GPU.0"),
     ("gpu:1", ["CPU", "GPU.0", "GPU.1"], "GPU.1"), ("gpu:0", ["CPU", "GPU"], "GPU"),
     ("npu", ["CPU", "NPU"], "NPU"), ("cpu", ["CPU"], "CPU")],
)  # fmt: skip
def test_names_of_devices(name, there, expected):
    assert ov._choose_device(name, there) == expected
    with pytest.raises(BackendUnavailable, match="Available here: cpu"):
        ov._choose_device("gpu:5", there)


@pytest.mark.parametrize("content", [b"", b"rubbish", ONNX.read_bytes()[:5000]])
def test_damaged_files(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx"):
        run(path)


def test_models_of_others(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(ONNX)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="has no model card"):
        run(tmp_path / "m.onnx")


def test_rows_of_the_inventory():
    rows = {row.where: row for row in inventory.rows_of("openvino")}
    assert rows["cpu"].available
    assert rows["cpu"].version
    assert {"gpu", "npu"} <= {where.partition(":")[0] for where in rows}


def test_the_program(cli_here, tmp_path, make_image):
    from adnet.runtime.cli import main

    make_image(tmp_path / "a.png")
    result = cli_here(
        main, "adnet-run", tmp_path / "a.png", "-o", tmp_path / "out", "--model", "gray-25",
        "--backend", "openvino", "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (model,) = json.loads(result.stdout)["models"]
    assert model["backend"] == "openvino"


def test_tiles_and_the_whole_are_the_same():
    noisy = add_published_noise(render(130, 150), 25)
    with (
        Denoiser("gray-25", backend="openvino", tile=64) as tiled,
        Denoiser("gray-25", backend="openvino") as whole,
    ):
        assert np.abs(tiled(noisy) - whole(noisy)).max() < 2e-5


SIGNALLED = """
import signal, sys, threading
import numpy as np
from adnet import Denoiser

held = []

def open_one():
    held.append(Denoiser("gray-25", backend="openvino"))
    held[0](np.zeros((16, 24), np.uint8))

def close_one():
    held.pop().close()

def there(where, action):
    if where == "main":
        return action()
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()

for _ in range(2):
    there(sys.argv[1], open_one)
    there(sys.argv[2], close_one)
    signal.signal(signal.SIGTERM, lambda *_: print("handled"))
    signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize("closed_in", ["main", "thread"])
@pytest.mark.parametrize("opened_in", ["main", "thread"])
def test_signals_after_it_is_closed(opened_in, closed_in):
    """OpenVINO left to itself unmaps the stack that signals are handled on."""
    run = subprocess.run(
        [sys.executable, "-c", SIGNALLED, opened_in, closed_in],
        capture_output=True, check=False, text=True, timeout=120,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (0, "handled\nhandled\n"), run.stderr
