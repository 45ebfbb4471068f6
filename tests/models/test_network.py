import pytest
import torch
from networks import trained_like

from adnet.models.architecture import CONVOLUTIONS, RECEPTIVE_RADIUS, flops
from adnet.models.network import ADNet, fold_batch_norm, parameter_count


@pytest.mark.parametrize(("channels", "parameters"), [(1, 519_171), (3, 521_493)])
def test_size_of_the_published_network(channels, parameters):
    network = ADNet(channels)
    assert parameter_count(network) == parameters
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == CONVOLUTIONS == 17
    assert flops(321, 481, 1) == pytest.approx(159.73e9, rel=1e-4)


def test_other_channel_counts_are_refused():
    with pytest.raises(ValueError, match="1 or 3"):
        ADNet(2)


def test_receptive_radius_is_exact():
    assert RECEPTIVE_RADIUS == 20
    network = trained_like(1).double()
    image = torch.rand(1, 1, 61, 61, dtype=torch.float64, requires_grad=True)
    network(image)[0, 0, 30, 30].backward()
    rows, columns = torch.nonzero(image.grad[0, 0], as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 50, 10, 50)


@pytest.mark.parametrize("channels", [1, 3])
def test_folding_batch_norms_keeps_the_function(channels):
    network = trained_like(channels).double()
    batch = torch.rand(2, channels, 30, 41, dtype=torch.float64)
    folded = fold_batch_norm(network)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    assert torch.allclose(folded(batch), network(batch), atol=1e-12)


def test_folding_a_training_network_is_refused():
    with pytest.raises(ValueError, match="training mode"):
        fold_batch_norm(ADNet(1).train())


def test_fresh_network_is_almost_the_identity():
    torch.manual_seed(0)
    batch = torch.rand(1, 1, 32, 32)
    assert (ADNet(1)(batch) - batch).abs().mean() < 0.3
