"""The int8 network: what it rounds, and how it is kept in a checkpoint."""

import pytest
import torch
from networks import trained_like

from adnet.errors import CheckpointError
from adnet.images.levels import WHITE
from adnet.models.card import ModelCard
from adnet.models.checkpoint import load_checkpoint, save_checkpoint, weights_digest
from adnet.models.network import fold_batch_norm
from adnet.models.quantized import QuantizedADNet, weight_bits_of
from adnet.models.shipped import WEIGHTS
from adnet.training.quantization import parameter_groups, quantized_from


def noisy(channels, count=2, side=24):
    torch.manual_seed(3)
    return [torch.rand(2, channels, side, side) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [7, 8])
def test_a_quantised_network_is_close_to_its_float_one(channels, bits):
    network = trained_like(channels)
    batches = noisy(channels)
    quantized = quantized_from(network, batches, bits)
    with torch.inference_mode():
        expected, got = network(batches[0]), quantized(batches[0])
        noise = (batches[0] - expected).std()
    assert 0 < (got - expected).std() < 0.1 * noise
    layers = list(quantized.quantized_layers())
    assert len(layers) == 15
    for layer in layers:
        whole = layer.integers()
        assert torch.equal(whole, whole.round())
        assert whole.abs().max() <= 2 ** (bits - 1) - 1


@pytest.mark.slow
def test_eight_bits_are_closer_than_seven():
    network = trained_like(1)
    batches = noisy(1)
    errors = []
    for bits in (7, 8):
        with torch.inference_mode():
            got = quantized_from(network, batches, bits)(batches[0])
            errors.append(float((got - network(batches[0])).std()))
    assert errors[1] < errors[0]


@pytest.mark.slow
def test_balancing_channels_changes_no_result_and_helps():
    """One channel of small and one of large values, which one scale for all would drown."""
    from adnet.training import quantization

    network = load_checkpoint(WEIGHTS / "gray-25.onnx").network
    with torch.no_grad():  # exact: the ReLU lets positive factors pass
        norm, after = network.get_submodule("conv1_4.1"), network.get_submodule("conv1_5.0")
        norm.weight[0] *= 50
        norm.bias[0] *= 50
        after.weight[:, 0] /= 50
    batches = noisy(1)
    folded = fold_batch_norm(network)
    quantization._balance(folded, batches)
    with torch.inference_mode():
        expected = network(batches[0])
        assert torch.allclose(folded(batches[0]), expected, atol=1e-5)
        balanced = quantized_from(network, batches, 8)(batches[0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(quantization, "_balance", lambda *_: None)
            plain = quantized_from(network, batches, 8)(batches[0])
    assert (balanced - expected).std() < 0.7 * (plain - expected).std()


@pytest.mark.slow
def test_gradients_reach_weights_and_scales():
    network = load_checkpoint(WEIGHTS / "gray-25.onnx").network
    network = quantized_from(network, noisy(1), 8).train()
    network(noisy(1)[0]).square().mean().backward()
    weights, scales = parameter_groups(network)
    assert len(scales["params"]) == 30
    assert scales["times"] > 1
    every = [*weights["params"], *scales["params"]]
    assert {id(one) for one in every} == {id(one) for one in network.parameters()}
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in every)
    assert parameter_groups(trained_like(1)) == []


def test_gradient_of_a_scale_is_that_of_the_rounding_error():
    """LSQ, equation 3: (rounded - value) / scale within the range, the bound beyond it."""
    from torch import nn

    from adnet.models.quantized import QuantizedConv2d

    layer = QuantizedConv2d(nn.Conv2d(1, 1, 3, padding=1, bias=False), 127)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 1, 1] = 1.0
        layer.log_input_scale.fill_(torch.tensor(0.1).log())
        layer.log_weight_scale.fill_(torch.tensor(1.0).log())
    layer(torch.tensor([[[[0.13]]]])).sum().backward()
    assert layer.log_input_scale.grad.item() == pytest.approx(0.1 * (1 - 1.3), abs=1e-5)
    layer.zero_grad()
    layer(torch.tensor([[[[100.0]]]])).sum().backward()
    assert layer.log_input_scale.grad.item() == pytest.approx(0.1 * WHITE, abs=1e-4)


def test_the_float_twin_has_the_rounded_weights():
    quantized = quantized_from(trained_like(3), noisy(3), 7)
    twin = quantized.to_float()
    layer = next(quantized.quantized_layers())
    weight = twin.get_submodule("conv1_2.0").weight
    levels = weight / layer.log_weight_scale.exp()[:, None, None, None]
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert torch.equal(twin.conv3.weight, quantized.conv3.weight)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [7, 8])
def test_checkpoints_carry_the_scales(tmp_path, bits):
    network = quantized_from(trained_like(1), noisy(1), bits)
    save_checkpoint(tmp_path / "q.pth", network.state_dict(), ModelCard(1, (25, 25)))
    loaded = load_checkpoint(tmp_path / "q.pth")
    assert isinstance(loaded.network, QuantizedADNet)
    assert loaded.network.weight_bits == bits
    assert loaded.card.weights_sha256 == weights_digest(network)
    with torch.inference_mode():
        assert torch.equal(loaded.network(noisy(1)[0]), network(noisy(1)[0]))
    state = network.state_dict()
    del state["conv1_7.0.log_input_scale"]
    save_checkpoint(tmp_path / "q.pth", state, ModelCard(1))
    with pytest.raises(CheckpointError, match=r"missing conv1_7\.0\.log_input_scale"):
        load_checkpoint(tmp_path / "q.pth")


def test_bits_that_do_not_exist():
    with pytest.raises(ValueError, match="7 or 8, got 4"):
        QuantizedADNet(1, 4)
    assert weight_bits_of({}) is None
    assert weight_bits_of({"largest_weight": torch.tensor(5)}) is None
