"""The simulated torch_npu refuses memory formats as the real one does, and adnet asks for none.

It registers itself in the whole process, so the last test runs this module again in one of its own.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from adnet.runtime.backend import RunOptions
from adnet.runtime.registry import open_backend
from conftest import ROOT
from om_helpers import FAKES

from adnet.model import ADNet
from adnet.pretrained import WEIGHTS
from adnet.training.config import TrainConfig
from adnet.training.learner import Learner
from adnet.training.world import World

ON_NPU = "ADNET_TEST_NPU" in os.environ
on_npu = pytest.mark.skipif(not ON_NPU, reason="run in a process of its own")
LAST, LAST_3D = torch.channels_last, torch.channels_last_3d

if ON_NPU:
    import torch_npu  # noqa: F401  (registers the device)

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


@on_npu
@pytest.mark.filterwarnings("ignore")  # torch's own, about a device simulated in Python
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
def test_training_steps(optimizer, channels):
    """Two steps of the learner equal those on the CPU; optimisers are torch's own here."""
    sys.modules.setdefault("torch_npu.optim", type(sys)("torch_npu.optim"))
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


@pytest.mark.skipif(ON_NPU, reason="this is it")
def test_on_the_simulated_npu():
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env=os.environ | {"ADNET_TEST_NPU": "1", "PYTHONPATH": str(FAKES)},
        capture_output=True, text=True, timeout=300, check=False, cwd=ROOT,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    assert "1 skipped" in result.stdout
