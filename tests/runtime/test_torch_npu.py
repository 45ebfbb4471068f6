"""The simulated torch_npu refuses memory formats as the real one does, and adnet asks for none.

It registers itself in the whole process, so the last test runs this module again in one of its own.
"""

import os
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import numpy as np
import pytest
import torch
from om_helpers import FAKES, run_beside_fakes

from adnet.device import compile_backend
from adnet.errors import BackendUnavailable, PrecisionError
from adnet.models.checkpoint import load_checkpoint
from adnet.models.network import ADNet
from adnet.models.shipped import WEIGHTS
from adnet.runtime.backend import RunOptions
from adnet.runtime.cli import main as run_main
from adnet.runtime.registry import open_backend
from adnet.training.cli import main as train_main
from adnet.training.config import TrainConfig
from adnet.training.learner import Learner
from adnet.training.world import World

ON_NPU = "ADNET_TEST_NPU" in os.environ
on_npu = pytest.mark.skipif(not ON_NPU, reason="run in a process of its own")
LAST, LAST_3D = torch.channels_last, torch.channels_last_3d

if ON_NPU:
    import torch_npu

    ALLOWED_AT_FIRST = torch_npu.npu.conv.allow_hf32, torch_npu.npu.matmul.allow_hf32

WAYS = {
    "to": lambda x: x.to(memory_format=LAST),
    "to another type": lambda x: x.to(torch.float16, memory_format=LAST),
    "to itself": lambda x: x.to("npu", memory_format=LAST),
    "to like another": lambda x: torch.zeros(x.shape).to(x, memory_format=LAST),
    "back to the CPU": lambda x: x.to("cpu", memory_format=LAST),
    "cpu": lambda x: x.cpu(memory_format=LAST),
    "half": lambda x: x.half(memory_format=LAST),
    "contiguous": lambda x: x.contiguous(memory_format=LAST),
    "clone": lambda x: x.clone(memory_format=LAST),
    "torch.clone": lambda x: torch.clone(x, memory_format=LAST),
    "empty_like": lambda x: torch.empty_like(x, memory_format=LAST),
    "zeros_like": lambda x: torch.zeros_like(x, memory_format=LAST),
    "empty_like from the CPU": lambda x: torch.empty_like(
        torch.zeros(x.shape), device="npu", memory_format=LAST
    ),
    "empty": lambda x: torch.empty(x.shape, memory_format=LAST, device="npu"),
    "from the CPU": lambda x: torch.zeros(x.shape).to("npu", memory_format=LAST),
    "npu": lambda x: torch.zeros(x.shape).npu(memory_format=LAST),
    "five dimensions": lambda x: torch.empty((1, *x.shape), memory_format=LAST_3D, device="npu"),
    "module": lambda _: ADNet(1).to("npu").to(memory_format=LAST),
    "module on its way": lambda _: ADNet(1).to("npu", memory_format=LAST),
}


@on_npu
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 5), (1, 3, 1, 1)])
@pytest.mark.parametrize("way", WAYS)
def test_channels_last_is_refused(way, shape):
    tensor = torch.zeros(shape, device="npu")
    with pytest.raises(RuntimeError, match="^Only contiguous_format or preserve_format is supp"):
        WAYS[way](tensor)


@on_npu
@pytest.mark.parametrize("given", [torch.contiguous_format, torch.preserve_format])
def test_the_two_other_formats_are_taken(given):
    tensor = torch.arange(120.0).reshape(2, 3, 4, 5).to("npu", memory_format=given)
    for result in (
        tensor.to(torch.float16, memory_format=given),
        tensor.clone(memory_format=given),
        torch.empty_like(tensor, memory_format=given).copy_(tensor),
    ):
        assert result.cpu().float().sum() == 120 * 119 / 2
    assert not tensor.is_contiguous(memory_format=LAST)  # a question is no request
    ADNet(1).to("npu").to(memory_format=given)


@on_npu
def test_what_is_channels_last_on_the_cpu_arrives_contiguous():
    values = torch.rand(2, 3, 4, 5)
    arrived = values.to(memory_format=LAST).to("npu")
    assert arrived.is_contiguous()
    assert np.array_equal(arrived.cpu().numpy(), values.numpy())
    assert arrived.cpu().is_contiguous()
    network = ADNet(3).to(memory_format=LAST).to("npu")
    assert all(weight.is_contiguous() for weight in network.parameters())


@on_npu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", ["gray-blind.onnx", "color-blind.onnx"])
def test_inference(name, precision):
    batch = np.random.default_rng(0).random((2, 1 if "gray" in name else 3, 40, 50), np.float32)
    with open_backend(WEIGHTS / name, "npu", RunOptions(precision=precision)) as backend:
        result = backend.infer(batch)
    with open_backend(WEIGHTS / name, "onnx") as backend:
        expected = backend.infer(batch)
    assert np.abs(result - expected).max() < {"fp32": 1e-5, "fp16": 5e-3, "bf16": 0.06}[precision]


def in_a_thread(call):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


@on_npu
def test_a_thread_must_set_its_device():
    def work():
        return torch.zeros(2, device="npu")

    with pytest.raises(RuntimeError, match="107002"):
        in_a_thread(work)
    work()  # where it was imported, it is set
    in_a_thread(lambda: (torch.npu.set_device("npu:0"), work()))


@on_npu
def test_the_backend_sets_the_device_in_every_thread():
    batch = np.random.default_rng(0).random((1, 1, 24, 32), np.float32)
    with open_backend(WEIGHTS / "gray-blind.onnx", "npu") as backend:
        expected = backend.infer(batch)
        assert np.array_equal(in_a_thread(lambda: backend.infer(batch)), expected)


@on_npu
@pytest.mark.parametrize("device", ["npu", "npu:0", None])
@pytest.mark.parametrize("backend", ["npu", "torch"])
def test_the_backend_opens_in_any_thread(backend, device):
    """A folder of gray and colour images opens its second model in a thread of the pipeline."""
    batch = np.random.default_rng(0).random((1, 1, 24, 32), np.float32)

    def run():
        with open_backend(WEIGHTS / "gray-blind.onnx", backend, RunOptions(device=device)) as here:
            return here.describe()["device"], here.infer(batch)

    there, result = in_a_thread(run)
    assert there.startswith("npu")
    with open_backend(WEIGHTS / "gray-blind.onnx", "onnx") as here:
        assert np.abs(result - here.infer(batch)).max() < 1e-5


@on_npu
@pytest.mark.parametrize(
    "options", [["--backend", "npu"], ["--backend", "torch", "--device", "npu"]]
)
def test_a_folder_of_gray_and_colour(cli_here, make_image, tmp_path, options):
    for index in range(4):
        make_image(tmp_path / "in" / f"{index}.png", "L" if index % 2 else "RGB")
    done = cli_here(run_main, "adnet-run", tmp_path / "in", "-o", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 4


@on_npu
def test_a_forked_child_is_refused(monkeypatch):
    monkeypatch.setattr(torch_npu, "_process", os.getpid() + 1)
    with pytest.raises(RuntimeError, match="'spawn' start method"):
        torch.zeros(2, device="npu")


@on_npu
def test_devices_that_are_not_there():
    for call in (lambda: torch.zeros(2, device="npu:7"), lambda: torch.npu.set_device(7),
                 lambda: torch.npu.get_device_name("npu:7")):  # fmt: skip
        with pytest.raises(RuntimeError, match="107001"):
            call()
    with pytest.raises(BackendUnavailable, match="npu:7.*Available here: cpu, npu:0"):
        open_backend(WEIGHTS / "gray-blind.onnx", "npu", RunOptions(device="npu:7"))


@on_npu
def test_tensors_stay_on_their_device():
    there = torch.zeros(2, 3, device="npu")
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(2, 3)
    with pytest.raises(TypeError, match="Tensor.cpu"):
        there.numpy()


@on_npu
@pytest.mark.parametrize("chip", ["Ascend310", "Ascend310B1", "Ascend310B4"])
def test_chips_that_it_does_not_support(monkeypatch, chip):
    monkeypatch.setattr(torch_npu, "SOC", chip)
    for call in (lambda: torch.zeros(2, device="npu"), lambda: torch.npu.set_device(0)):
        with pytest.raises(RuntimeError, match=f"Unsupported SOC version: {chip}"):
            call()
    with pytest.raises(BackendUnavailable, match=f"Unsupported SOC version: {chip}"):
        open_backend(WEIGHTS / "gray-blind.onnx", "npu")


@on_npu
def test_hf32_is_allowed_for_convolutions_alone():
    assert ALLOWED_AT_FIRST == (True, False)  # of convolutions, of products


@pytest.fixture(params=["Ascend310P3", "Ascend910A"])
def float16_chip(request, monkeypatch):
    monkeypatch.setattr(torch_npu, "SOC", request.param)
    monkeypatch.setattr(torch_npu, "HAS_BF16", False)
    return request.param


@on_npu
def test_a_simulated_device_says_so(monkeypatch):
    with open_backend(WEIGHTS / "gray-blind.onnx", "npu") as backend:
        assert backend.describe()["simulated"] == "yes"
        monkeypatch.delattr(torch_npu, "SIMULATED")
        assert "simulated" not in backend.describe()


@on_npu
def test_bf16_is_refused_on_chips_without_it(float16_chip):
    with pytest.raises(RuntimeError, match="bfloat16 is not supported"):
        torch.zeros(2, device="npu").to(torch.bfloat16)
    with pytest.raises(BackendUnavailable, match=f"bf16: {float16_chip} has no bfloat16.*fp16"):
        open_backend(WEIGHTS / "gray-blind.onnx", "npu", RunOptions(precision="bf16"))
    config = TrainConfig(data=("x",), steps=2, precision="bf16")
    with pytest.raises(BackendUnavailable, match=f"bf16: {float16_chip} has no bfloat16"):
        Learner(config, World(torch.device("npu:0")), None)
    open_backend(WEIGHTS / "gray-blind.onnx", "npu", RunOptions(precision="fp16")).close()


@on_npu
def test_a_chip_that_multiplies_in_float16_is_checked_in_every_precision(float16_chip, monkeypatch):
    batch = np.full((1, 1, 24, 32), 0.5, np.float32)
    with open_backend(WEIGHTS / "gray-blind.onnx", "npu") as backend:
        assert backend.describe()["precision"] == "fp32 (products in fp16)"
        backend.infer(batch)
        network = backend._network
        monkeypatch.setattr(backend, "_network", lambda image: network(image) * 65504)
        with pytest.raises(PrecisionError, match="overflowed .*another device"):
            backend.infer(batch)


@on_npu
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_compiling_goes_through_torchair(monkeypatch):
    compiled = []

    def graph_backend(module, inputs):
        compiled.append(len(inputs))
        return module.forward

    batch = np.random.default_rng(0).random((1, 1, 24, 32), np.float32)
    torchair = type(sys)("torchair")
    torchair.get_npu_backend = lambda: graph_backend
    monkeypatch.setitem(sys.modules, "torchair", torchair)
    assert compile_backend(torch.device("npu:0")) is graph_backend
    assert compile_backend(torch.device("cpu")) == "inductor"
    with pytest.raises(RuntimeError, match="Triton-Ascend"):
        torch.compile(ADNet(1).to("npu"))
    given = []
    monkeypatch.setattr(
        torch, "compile", lambda network, **options: given.append(options) or network
    )
    with open_backend(WEIGHTS / "gray-blind.onnx", "npu", RunOptions(compile=True)) as backend:
        backend.infer(batch)
    assert given[0]["backend"] is graph_backend
    config = TrainConfig(data=("x",), steps=2, compile=True)
    Learner(config, World(torch.device("npu:0")), None)
    assert given[1]["backend"] is graph_backend


@on_npu
@pytest.mark.parametrize("missing", ["module", "inside"])
def test_compiling_without_torchair_is_refused(monkeypatch, missing):
    if missing == "inside":  # torch_npu's stand-in for a TorchAir that it could not load
        torchair = type(sys)("torchair")
        torchair.__getattr__ = lambda name: (_ for _ in ()).throw(AssertionError("no torchair"))
        monkeypatch.setitem(sys.modules, "torchair", torchair)
    for call in (
        lambda: open_backend(WEIGHTS / "gray-blind.onnx", "npu", RunOptions(compile=True)),
        lambda: Learner(
            TrainConfig(data=("x",), steps=2, compile=True), World(torch.device("npu:0")), None
        ),
    ):
        with pytest.raises(BackendUnavailable, match="TorchAir.*Leave out --compile"):
            call()


@pytest.mark.parametrize(
    ("case", "error"), [("cann", "libhccl.so"), ("cuda", "Two accelerators cannot be used")]
)
def test_loading_is_refused(case, error, monkeypatch):
    if ON_NPU:
        pytest.skip("it is loaded")
    if case == "cann":
        monkeypatch.setenv("TORCH_NPU_FAKE_NO_CANN", "1")
    else:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises((ImportError, RuntimeError), match=error):
        runpy.run_path(str(FAKES / "torch_npu" / "__init__.py"))


@on_npu
@pytest.mark.filterwarnings("ignore")  # torch's own, about a device simulated in Python
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
def test_training_steps(optimizer, channels):
    """Two steps of the learner equal those on the CPU."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, channels, 20, 24, generator=generator)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=generator)
    config = TrainConfig(
        data=("x",), steps=2, channels=channels, optimizer=optimizer, lr=1e-4, clip_norm=None
    )
    errors = []
    for device in ("cpu", "npu:0"):
        learner = Learner(config, World(torch.device(device)), None)
        given = [one.to(memory_format=LAST).to(device) for one in (noisy, clean)]
        errors.append([float(learner.learn(*given, lr=1e-4).cpu()) for _ in range(2)])
        learner.load_state_dict(learner.state_dict())
    assert errors[1] == pytest.approx(errors[0], rel=1e-2)


@on_npu
def test_a_generator_belongs_to_its_device():
    generator = torch.Generator("npu").manual_seed(7)
    assert generator.device == torch.device("npu:0")
    assert isinstance(generator, torch.Generator)
    drawn = [torch.empty(9, device="npu").normal_(generator=generator).cpu() for _ in range(2)]
    assert not torch.equal(*drawn)
    again = torch.empty(9, device="npu").normal_(generator=generator.manual_seed(7)).cpu()
    assert torch.equal(drawn[0], again)
    with pytest.raises(RuntimeError, match="107001"):
        torch.Generator("npu:7")
    with pytest.raises(RuntimeError, match="Expected a 'npu' device type for generator"):
        torch.empty(9, device="npu").normal_(generator=torch.Generator())
    torch.empty(9).normal_(generator=torch.Generator("cpu"))


@on_npu
@pytest.mark.parametrize("name", ["NpuFusedAdam", "NpuFusedAdamW", "NpuFusedSGD"])
def test_fused_optimisers_refuse_what_they_do_not_know(name):
    kind = getattr(import_module("torch_npu.optim"), name)
    one = torch.nn.Parameter(torch.ones(3, device="npu"))
    for options in ({"fused": True}, {"foreach": True}, {"maximize": True}):
        with pytest.raises(TypeError):
            kind([one], lr=0.1, **options)
    optimizer = kind([one], lr=0.1)
    one.square().sum().backward()
    optimizer.step()
    with pytest.raises(ValueError, match="set_to_none"):
        optimizer.zero_grad(set_to_none=True)
    optimizer.zero_grad()
    one.square().sum().backward()
    optimizer.step()
    one.grad = torch.ones(3, device="npu")
    with pytest.raises(RuntimeError, match="combined gradient was replaced"):
        optimizer.step()


@on_npu
@pytest.mark.filterwarnings("ignore")  # torch's own, about a device simulated in Python
@pytest.mark.parametrize("options", [
    ["--optimizer", "adam", "--hf32"], ["--optimizer", "sgd", "--lr", "1e-4", "--loss", "sum"],
    ["--optimizer", "muon", "--precision", "bf16"], ["--precision", "fp16"],
], ids=" ".join)  # fmt: skip
def test_adnet_train(cli_here, make_image, tmp_path, options):
    """The whole program: patches, noise, steps, judging, checkpoints, and going on after a stop."""
    for index in range(6):
        make_image(tmp_path / "images" / f"{index}.png", size=(60, 45), seed=index)
    words = [tmp_path / "images", "-o", tmp_path / "run", "--device", "npu", "--patch", "16",
             "--batch", "2", "--val-images", "2", "--val-every", "2", "--save-every", "2",
             "--steps", "4", *options]  # fmt: skip
    done = cli_here(train_main, "adnet-train", *words)
    assert done.returncode == 0, done.stderr
    loaded = load_checkpoint(tmp_path / "run" / "best.pth")
    assert loaded.card.training["device"].startswith("Ascend910B3")
    if "adam" not in options:
        return
    last = tmp_path / "run" / "last.pth"
    weights = load_checkpoint(last).network.state_dict()
    last.with_name("step-00000002.pth").replace(last)
    resumed = cli_here(train_main, "adnet-train", *words, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    for name, one in load_checkpoint(last).network.state_dict().items():
        assert torch.equal(one, weights[name]), name


@pytest.mark.slow
@pytest.mark.skipif(ON_NPU, reason="this is it")
def test_on_the_simulated_npu():
    assert "3 skipped" in run_beside_fakes(__file__, ADNET_TEST_NPU="1")
