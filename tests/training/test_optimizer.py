"""Optimisers and settings of an NPU, on a stand-in for torch_npu.

The stand-in is tests/fakes/torch_npu/optim.py alone, over tensors on the CPU; torch.npu carries the
HF32 switches.
"""

import copy
import dataclasses
import importlib.util
import sys
import types

import pytest
import torch
from om_helpers import FAKES

from adnet.models.network import ADNet
from adnet.training.config import TrainConfig
from adnet.training.optimizer import load_optimizer_state, make_optimizer, zero_gradients
from adnet.training.precision import set_hf32

CONFIG = TrainConfig(data=("x",), steps=1, lr=0.01)


@pytest.fixture
def torch_npu(monkeypatch):
    package = types.ModuleType("torch_npu")
    spec = importlib.util.spec_from_file_location("torch_npu.optim", FAKES / "torch_npu/optim.py")
    optim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(optim)
    package.optim = optim
    package.npu = types.SimpleNamespace(
        conv=types.SimpleNamespace(allow_hf32=True), matmul=types.SimpleNamespace(allow_hf32=False)
    )
    monkeypatch.setitem(sys.modules, "torch_npu", package)
    monkeypatch.setitem(sys.modules, "torch_npu.optim", optim)
    return package


def parameter():
    value = torch.nn.Parameter(torch.ones(3))
    value.grad = torch.full((3,), 2.0)
    return value


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_optimisers_by_name(name, kind):
    config = dataclasses.replace(CONFIG, optimizer=name, weight_decay=0.1, momentum=0.8)
    one = parameter()
    optimizer = make_optimizer(config, [one], torch.device("cpu"))
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.01, 0.1)
    if name == "sgd":
        assert (group["momentum"], group["nesterov"]) == (0.8, True)
    optimizer.step()
    assert (one < 1).all()
    zero_gradients(optimizer)
    assert one.grad is None


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_muon_turns_the_hidden_convolutions_step_orthogonal(memory_format):
    """Every hidden weight moves along an (almost) orthogonal matrix, of the size Adam would go."""
    torch.manual_seed(0)
    network = ADNet(1).to(memory_format=memory_format)
    before = {name: one.detach().clone() for name, one in network.named_parameters()}
    config = dataclasses.replace(CONFIG, optimizer="muon")
    optimizer = make_optimizer(config, network.parameters(), torch.device("cpu"))
    network(torch.rand(2, 1, 24, 24)).square().mean().backward()
    optimizer.step()
    moved = {name: one.detach() - before[name] for name, one in network.named_parameters()}
    assert all(step.any() for name, step in moved.items() if name != "conv3.weight")
    for layer in range(2, 16):
        step = moved[f"conv1_{layer}.0.weight"].permute(0, 2, 3, 1).reshape(64, -1)
        singular = torch.linalg.svdvals(step) / (0.01 * 0.2 * 576**0.5)
        # Five steps of the iteration leave singular values of 0.7 to 1.2, and lose tiny ones.
        assert singular[:32].min() > 0.6
        assert singular.max() < 1.3
    assert moved["conv1_1.0.weight"].abs().max() == pytest.approx(0.01, rel=1e-3)  # Adam's
    zero_gradients(optimizer)
    assert all(one.grad is None for one in network.parameters())


def test_muon_goes_on_from_a_stored_state():
    config = dataclasses.replace(CONFIG, optimizer="muon")

    def steps(network, optimizer, first, last):
        for seed in range(first, last):
            torch.manual_seed(seed)
            network(torch.rand(1, 1, 16, 16)).square().mean().backward()
            for group in optimizer.param_groups:
                group["lr"] = 0.01 / (1 + seed)
            optimizer.step()
            zero_gradients(optimizer)

    torch.manual_seed(0)
    whole = ADNet(1)
    optimizer = make_optimizer(config, whole.parameters(), torch.device("cpu"))
    steps(whole, optimizer, 0, 3)
    weights, state = copy.deepcopy(whole.state_dict()), copy.deepcopy(optimizer.state_dict())
    steps(whole, optimizer, 3, 5)
    other = ADNet(1)
    other.load_state_dict(weights)
    resumed = make_optimizer(config, other.parameters(), torch.device("cpu"))
    load_optimizer_state(resumed, state)
    steps(other, resumed, 3, 5)
    for one, two in zip(whole.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_npus_use_the_fused_optimisers(torch_npu, name):
    one = parameter()
    config = dataclasses.replace(CONFIG, optimizer=name)
    optimizer = make_optimizer(config, [one], types.SimpleNamespace(type="npu"))
    assert type(optimizer).__module__.startswith("torch_npu")
    zero_gradients(optimizer)
    assert one.grad is not None
    assert not one.grad.any()


def test_a_missing_fused_optimiser_is_said(torch_npu, monkeypatch, caplog):
    monkeypatch.delattr(torch_npu.optim, "NpuFusedAdamW")
    config = dataclasses.replace(CONFIG, optimizer="adamw")
    optimizer = make_optimizer(config, [parameter()], types.SimpleNamespace(type="npu"))
    assert type(optimizer) is torch.optim.AdamW
    assert "no NpuFusedAdamW" in caplog.text


@pytest.mark.parametrize("allowed", [True, False])
def test_hf32_is_switched_for_convolutions_and_products(torch_npu, allowed):
    set_hf32(types.SimpleNamespace(type="npu"), allowed)
    assert torch_npu.npu.conv.allow_hf32 is allowed
    assert torch_npu.npu.matmul.allow_hf32 is allowed


@pytest.mark.parametrize("taken", [0, 3])
def test_a_fused_optimiser_really_goes_back(torch_npu, taken):
    """To the state after `taken` steps, of which 0 has no moments at all."""

    def moved(steps):
        one = parameter()
        optimizer = make_optimizer(CONFIG, [one], types.SimpleNamespace(type="npu"))
        for _ in range(steps):
            optimizer.step()
        return one, optimizer

    reference, plain = moved(taken)
    state, weights = copy.deepcopy(plain.state_dict()), reference.detach().clone()
    one, optimizer = moved(taken)
    one.grad.fill_(float("nan"))
    optimizer.step()
    load_optimizer_state(optimizer, state)
    with torch.no_grad():
        one.copy_(weights)
    one.grad.fill_(2.0)
    optimizer.step()
    plain.step()
    assert torch.isfinite(one).all()
    assert torch.equal(one, reference)
