"""The weights that a run begins with, or goes on from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from adnet.errors import TrainingError, UsageError
from adnet.models.checkpoint import Checkpoint, load_checkpoint
from adnet.models.network import ADNet
from adnet.models.quantized import QuantizedADNet
from adnet.models.shipped import resolve_model
from adnet.training.config import TrainConfig, refuse_changes
from adnet.training.data import TrainingData, make_batch
from adnet.training.quantization import quantized_from
from adnet.training.world import World

_CALIBRATION_PATCHES = 64


def starting_weights(
    config: TrainConfig, data: TrainingData, world: World, last: Path | None = None
) -> tuple[Checkpoint | None, Checkpoint | None]:
    """Load what a run begins with, alike in every worker.

    Args:
        last: the run's own last.pth, to resume from; None begins with `config.init`, or from
            scratch.

    Returns:
        The weights to begin with, None for a start from scratch; and the float network that an
        int8 one learns from, None for a float run.

    Raises:
        UsageError, TrainingError, ModelError: they do not suit the run, or cannot be read.
    """
    if config.quantize is None:
        return _load(config, last), None
    whole = _load(config, None)
    if whole is None or last is not None:
        return _load(config, last), whole
    quantized = _quantized(config, data, world, whole.network)
    return dataclasses.replace(whole, network=quantized), whole


def _load(config: TrainConfig, last: Path | None) -> Checkpoint | None:
    source = last or (resolve_model(config.init) if config.init else None)
    if source is None:
        return None
    start = load_checkpoint(source)
    if start.network.channels != config.channels:
        raise TrainingError(
            f"{source}: has {start.network.channels} channels, the run {config.channels}. Give "
            f"--channels {start.network.channels}, or start from another model."
        )
    if last is None and isinstance(start.network, QuantizedADNet):
        raise UsageError(
            f"{config.init}: is an int8 model. Give --init the float one that it was made from."
        )
    if last is not None:
        if start.training is None:
            raise TrainingError(f"{source}: holds weights only, no training state to resume.")
        if "learner" not in start.training:
            raise TrainingError(
                f"{source}: written by an older adnet. Start a new run with --init {source}."
            )
        refuse_changes(start.training["config"], config, source)
    return start


def _quantized(config: TrainConfig, data: TrainingData, world: World, network: ADNet) -> ADNet:
    """Quantise the network to begin with, alike in every worker."""
    alone = World(world.device)
    noisy = [make_batch(config, data, alone, step)[0]
             for step in range(-(-_CALIBRATION_PATCHES // config.batch))]  # fmt: skip
    return quantized_from(network.to(world.device), noisy, config.weight_bits)
