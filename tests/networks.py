"""Networks for tests."""

import torch

from adnet.models.network import ADNet


def trained_like(channels: int, seed: int = 0) -> ADNet:
    """A network whose batch norms and attention are not at their start values."""
    torch.manual_seed(seed)
    network = ADNet(channels)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                tensor.normal_(0, 0.05)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
        network.conv3.weight.normal_(0, 0.3)
    return network.eval()
