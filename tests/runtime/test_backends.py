"""What is particular to one backend, and what the registry and the inventory say."""

import json
import os
import sys
from importlib.metadata import EntryPoint

import numpy as np
import onnxruntime
import pytest
from conftest import EXAMPLES, HAS_TORCH, assert_clean_error
from om_helpers import FAKES

from adnet.errors import BackendUnavailable, ModelError, PrecisionError, UsageError
from adnet.models.shipped import WEIGHTS
from adnet.runtime import inventory, registry
from adnet.runtime.backend import Backend, InputSpec, RunOptions, require_finite
from adnet.runtime.backends.ort_providers import PROVIDERS, choose_provider
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.registry import BackendEntry, open_backend

if HAS_TORCH:
    import torch

    from adnet.models.checkpoint import load_checkpoint, save_checkpoint
    from adnet.models.onnx_network import load_onnx_network
    from adnet.runtime.backends import pytorch as torch_backend

ONNX = WEIGHTS / "gray-blind.onnx"
BATCH = np.full((1, 1, 24, 32), 0.5, np.float32)


# --- torch


@pytest.mark.torch
def test_weights_from_onnx_equal_the_checkpoint():
    from adnet.models.network import fold_batch_norm

    network, card = load_onnx_network(ONNX)
    original = load_checkpoint(ONNX)
    assert card.weights_sha256 == original.card.weights_sha256
    image = torch.rand(1, 1, 40, 50)
    with torch.inference_mode():
        assert torch.allclose(network(image), fold_batch_norm(original.network)(image), atol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("truncated", "damaged"),
        ("no card", "no model card"),
        ("fewer layers", "expected 17 convolutions, got 16; this is no ADNet"),
        ("half", "float32"),
    ],
)
def test_onnx_files_that_torch_cannot_use(tmp_path, change, words):
    import onnx

    path = tmp_path / "m.onnx"
    model = onnx.load(ONNX)
    if change == "no card":
        del model.metadata_props[:]
    elif change == "fewer layers":
        del model.graph.node[0]
    elif change == "half":
        first = model.graph.initializer[0]
        values = onnx.numpy_helper.to_array(first).astype(np.float16)
        first.CopyFrom(onnx.numpy_helper.from_array(values, first.name))
    content = model.SerializeToString()
    path.write_bytes(content[: len(content) // 2] if change == "truncated" else content)
    with pytest.raises(ModelError, match=words):
        load_onnx_network(path)


@pytest.mark.torch
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_overflow_in_half_precision_is_an_error_not_a_black_image(
    cli_here, tmp_path, make_image, precision
):
    from adnet.runtime.cli import main

    checkpoint = load_checkpoint(ONNX)
    state = checkpoint.network.state_dict()
    state["conv1_3.1.weight"] *= 1e6 if precision == "fp16" else 1e38
    save_checkpoint(tmp_path / "hot.pth", state, checkpoint.card)
    result = cli_here(
        main, "adnet-run", make_image(tmp_path / "a.png"), "-o", tmp_path / "out.png", "--model",
        tmp_path / "hot.pth", "--device", "cpu", "--precision", precision,
    )  # fmt: skip
    assert_clean_error(result, 1, "half precision overflowed", "--precision fp32")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65504.0, -65504.0])
def test_saturated_values_count_as_overflow(value):
    result = BATCH.copy()
    require_finite(result * 3, "x", "")
    result[0, 0, 3, 3] = value
    with pytest.raises(PrecisionError):
        require_finite(result, "x", "")
    with pytest.raises(PrecisionError):
        require_finite(result, "x", "", given=BATCH)


@pytest.mark.parametrize(("largest", "white"), [(40.0, 1.0), (1e6, 255.0), (-20.0, 0.1)])
def test_a_result_far_outside_its_inputs_range_counts_as_overflow(largest, white):
    """Where half precision saturates an overflow stays finite, but is no image."""
    result = BATCH.copy()
    result[0, 0, 3, 3] = largest
    with pytest.raises(PrecisionError, match="overflowed"):
        require_finite(result, "x", "", given=BATCH * 2 * np.float32(white))
    require_finite(result, "x", "", given=BATCH * 2 * np.float32(abs(largest)))


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
def test_compiled_torch_computes_the_same():
    with (
        open_backend(ONNX, "torch", RunOptions(device="cpu", compile=True)) as compiled,
        open_backend(ONNX, "torch", RunOptions(device="cpu")) as plain,
    ):
        assert compiled.describe()["compiled"] == "torch.compile"
        for shape in [(1, 1, 24, 32), (2, 1, 33, 32), (1, 1, 50, 41)]:
            batch = np.random.default_rng(0).random(shape, np.float32)
            assert np.abs(compiled.infer(batch) - plain.infer(batch)).max() < 1e-5


@pytest.mark.torch
def test_compiling_without_a_compiler_is_told(monkeypatch):
    def broken(*_, **__):
        def run(_):
            raise RuntimeError("no working C++ compiler found\nlong log")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(BackendUnavailable, match=r"no working C\+\+ compiler found .*--compile"):
        open_backend(ONNX, "torch", RunOptions(device="cpu", compile=True))


@pytest.mark.torch
def test_precision_and_threads(monkeypatch):
    with pytest.raises(UsageError, match="precision must be fp32, fp16, bf16"):
        open_backend(ONNX, "torch", RunOptions(device="cpu", precision="int8"))
    before = torch.get_num_threads()
    try:
        with open_backend(ONNX, "torch", RunOptions(device="cpu", threads=1)) as backend:
            assert backend.describe()["threads"] == "1"
    finally:
        torch.set_num_threads(before)


@pytest.mark.torch
def test_an_npu_keeps_float32_exact(monkeypatch):
    class Npu:
        conv = type("Conv", (), {"allow_hf32": True})
        matmul = type("Matmul", (), {"allow_hf32": False})
        jit_compile = True

        def set_compile_mode(self, jit_compile):
            self.jit_compile = jit_compile

    npu = Npu()
    monkeypatch.setattr(torch, "npu", npu, raising=False)
    torch_backend._forbid_rounding(type("Device", (), {"type": "npu"}))
    assert (npu.conv.allow_hf32, npu.matmul.allow_hf32, npu.jit_compile) == (False, False, False)


@pytest.mark.torch
def test_the_npu_backend_takes_only_npus():
    with pytest.raises(UsageError, match="runs on npu:N, got device 'cpu'"):
        open_backend(ONNX, "npu", RunOptions(device="cpu"))


# --- ONNX Runtime


@pytest.mark.parametrize(
    ("name", "device", "expected"),
    [
        (None, None, ("cpu", "cpu")),
        (None, "cpu", ("cpu", "cpu")),
        (None, "cuda", ("cuda", "cuda:0")),
        (None, "cuda:1", ("cuda", "cuda:1")),
        ("tensorrt", "cuda:1", ("tensorrt", "cuda:1")),
        (None, "npu:3", ("cann", "npu:3")),
        ("OpenVINO", None, ("openvino", "cpu")),
    ],
)
def test_providers_and_devices(name, device, expected):
    everything = [one.full_name for one in PROVIDERS.values()]
    chosen, provider, where = choose_provider(name, device, everything)
    assert (chosen, where) == expected
    assert provider is PROVIDERS[chosen]


@pytest.mark.parametrize(
    ("name", "device", "error", "message"),
    [
        ("cuda", None, BackendUnavailable, "Available here: cpu.*onnxruntime-gpu"),
        ("quantum", None, UsageError, "unknown provider 'quantum'"),
        (None, "tpu", BackendUnavailable, "nothing runs on device 'tpu'"),
        ("cpu", "cuda", UsageError, "provider cpu runs on cpu, got device 'cuda'"),
        (None, "cuda:x", UsageError, "no name such as cuda"),
    ],
)
def test_providers_that_are_not_there(name, device, error, message):
    with pytest.raises(error, match=message):
        choose_provider(name, device, ["CPUExecutionProvider"])


@pytest.mark.parametrize("provider", sorted(set(PROVIDERS) - {"cpu", "openvino"}))
def test_no_provider_falls_back_silently(monkeypatch, provider):
    """ONNX Runtime itself would warn and go on with the CPU."""
    full_name = PROVIDERS[provider].full_name
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [full_name, "CPUExecutionProvider"]
    )
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(BackendUnavailable, match=f"{full_name}.*Needed"),
    ):
        open_backend(ONNX, "onnx", RunOptions(provider=provider))


def test_threads_belong_to_the_cpu(monkeypatch):
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    with pytest.raises(UsageError, match="belong to the CPU, not to provider cuda"):
        open_backend(ONNX, "onnx", RunOptions(provider="cuda", threads=2))


def test_streams_share_the_cores():
    with open_backend(ONNX, "onnx", RunOptions(streams=2)) as backend:
        facts = backend.describe()
        assert (backend.lanes, facts["streams"]) == (2, "2")
        assert int(facts["threads"]) == max(1, len(os.sched_getaffinity(0)) // 2)
    with pytest.raises(UsageError, match="streams must be a whole number of at least 1"):
        RunOptions(streams=0)
    with pytest.raises(UsageError, match="more than four times"):
        open_backend(ONNX, "onnx", RunOptions(streams=50, threads=100))


# --- registry and inventory


class Inverter(Backend):
    """A backend of another package."""

    name = "inverter"

    def __init__(self, model, options):
        options.allow(self.name)
        from adnet.models.card import ModelCard

        super().__init__(ModelCard(1), InputSpec(1), "cpu")

    def _infer(self, batch):
        return 1 - batch

    def _release(self):
        pass

    def describe(self):
        return {"backend": self.name, "device": "cpu"}


ENTRY = BackendEntry("test_backends:Inverter", (".inv",), "pip install inverter")


@pytest.fixture
def inverter(monkeypatch):
    point = EntryPoint("inverter", "test_backends:ENTRY", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    registry._added.cache_clear()
    yield
    registry._added.cache_clear()


@pytest.mark.parametrize("value", ["no_such_package:ENTRY", "test_backends:ONNX", "json:nothing"])
def test_a_broken_package_does_not_stop_the_others(monkeypatch, value):
    point = EntryPoint("broken", value, registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    registry._added.cache_clear()
    try:
        with open_backend(ONNX) as backend:
            assert backend.name == "onnx"
        rows = {row.backend: row for row in inventory.list_backends()}
        assert not rows["broken"].available
        with pytest.raises(BackendUnavailable, match="'broken' cannot be loaded: repair"):
            open_backend(ONNX, "broken")
    finally:
        registry._added.cache_clear()


@pytest.mark.parametrize("target", ["test_backends:NoSuchClass", "test_backends:Breaking"])
def test_what_fails_in_another_package_is_told_as_such(monkeypatch, target):
    monkeypatch.setattr(
        registry, "_added", lambda: {"other": BackendEntry(target, (".onnx",), "pip install other")}
    )
    with pytest.raises(BackendUnavailable, match="'other'.*pip install other"):
        open_backend(ONNX, "other")


class Breaking:
    def __init__(self, model, options):
        raise ImportError("libother.so is missing")


def test_another_package_adds_a_backend(inverter, tmp_path):
    (tmp_path / "m.inv").write_text("")
    for name in (None, "inverter"):
        with Denoiser(tmp_path / "m.inv", backend=name) as denoise:
            assert denoise(np.full((5, 6), 200, np.uint8))[0, 0] == 55
    with pytest.raises(UsageError, match=r"inverter \(\.inv\)"):
        open_backend(tmp_path / "m.xyz")
    rows = {row.backend: row for row in inventory.list_backends()}
    assert rows["inverter"].available


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {("onnx", "cpu"): True, ("torch", "cpu"): True, ("npu", "npu"): False,
              ("om", "npu"): False, ("onnx", "cuda"): False}),
        ({"PYTHONPATH": str(FAKES), "ACL_FAKE_DEVICES": "2"},
         {("npu", "npu:0"): True, ("om", "npu:0"): True, ("om", "npu:1"): True}),
        ({"PYTHONPATH": str(FAKES), "TORCH_NPU_FAKE_NO_CANN": "1"},
         {("torch", "cpu"): True, ("npu", "npu"): False}),
    ],
)  # fmt: skip
def test_list_of_what_runs_here(cli, environment, expected):
    result = cli("adnet-run", "--list-backends", "--json", env=os.environ | environment)
    rows = {(row["backend"], row["where"]): row for row in json.loads(result.stdout)}
    for key, available in expected.items():
        assert rows[key]["available"] == available, rows[key]
        assert bool(rows[key]["note"]) != available
    if "TORCH_NPU_FAKE_NO_CANN" in environment:
        assert "set_env.sh" in rows["npu", "npu"]["note"]
    if not environment:
        text = cli("adnet-run", "--list-backends").stdout
        assert "onnx   cpu        yes" in text


def test_torch_that_cannot_be_imported_because_of_torch_npu(monkeypatch):
    """With torch-npu installed and CANN missing, `import torch` itself raises."""

    def broken(name):
        cause = ImportError("libhccl.so: cannot open shared object file")
        raise RuntimeError("Failed to load the backend extension: torch_npu.") from cause

    monkeypatch.setattr(registry, "import_module", broken)
    with pytest.raises(BackendUnavailable, match=r"set_env\.sh.*TORCH_DEVICE_BACKEND_AUTOLOAD=0"):
        open_backend(ONNX, "torch")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--backend", "torch", "--device", "cuda:5"], ["device 'cuda:5'", "Available here: cpu"]),
        (["--backend", "torch", "--device", "cpu:7"], ["there is one cpu", "Available here: cpu"]),
        (["--backend", "torch", "--device", "mps"], ["device 'mps'", "Available here: cpu"]),
        (["--backend", "npu"], ["torch_npu", "torch-npu"]),
        (["--backend", "npu", "--device", "cpu"], ["runs on npu:N"]),
        (["--provider", "cuda"], ["provider cuda", "Available here: cpu"]),
        (["--device", "npu:0"], ["provider cann", "Available here: cpu"]),
        (["--precision", "fp16"], ["onnx backend: has no --precision"]),
        (["--backend", "torch", "--streams", "2"], ["torch backend: has no --streams"]),
        (["--backend", "quantum"], ["unknown backend 'quantum'", "onnx", "torch", "npu", "om"]),
    ],
)
def test_what_is_not_there_is_refused_with_status_2(cli_here, tmp_path, options, parts):
    from adnet.runtime.cli import main

    result = cli_here(
        main, "adnet-run", EXAMPLES / "noisy" / "shapes.png", "-o", tmp_path / "out", *options
    )
    assert_clean_error(result, 2, *parts)
    assert not (tmp_path / "out").exists()
    assert "acl" not in sys.modules
