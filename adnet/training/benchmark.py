"""Throughput of training steps: the same code as a run, and nothing is saved."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from adnet.training.config import TrainConfig
from adnet.training.data import load_training_data, make_batch
from adnet.training.initial import starting_weights
from adnet.training.launch import launch
from adnet.training.learner import Learner
from adnet.training.workers import Workers
from adnet.training.world import join_world

_WARMUP = 3
"""Steps before the clock starts: compilation, allocation, choice of algorithms."""


@dataclass(frozen=True, slots=True)
class TrainingSpeed:
    """Patches a second over `steps` steps after warm-up, data and optimiser included."""

    patches_per_s: float
    workers: int
    device: str
    batch: int
    patch: int
    steps: int
    precision: str

    def describe(self) -> str:
        """Say it in one line."""
        return (
            f"{self.patches_per_s:.1f} patches/s of {self.patch}x{self.patch} in total, "
            f"{self.patches_per_s / self.workers:.1f} per device ({self.workers} x {self.device}, "
            f"batch {self.batch}, {self.precision}, {self.steps} steps after {_WARMUP} of warm-up)"
        )


def benchmark_training(config: TrainConfig, workers: Workers | None) -> TrainingSpeed:
    """Measure `config.steps` steps.

    Raises:
        AdnetError: as `adnet.training.train.train`.
    """
    return launch(_measure, (config,), device=config.device, workers=workers)


def _measure(config: TrainConfig) -> TrainingSpeed:
    with join_world(config.device) as world:
        with world.together():
            data = load_training_data(config, world.device)
            start, whole = starting_weights(config, data, world)
            learner = Learner(config, world, start, None if whole is None else whole.network)
        assert config.steps is not None  # --benchmark STEPS
        began = 0.0
        for step in range(_WARMUP + config.steps):
            if step == _WARMUP:
                _wait(world.device)
                began = time.perf_counter()
            noisy, clean = make_batch(config, data, world, step)
            learner.learn(noisy, clean, config.lr)
        _wait(world.device)
        seconds = time.perf_counter() - began
    return TrainingSpeed(
        config.steps * config.batch / seconds, world.size, str(world.device), config.batch,
        config.patch, config.steps, config.precision,
    )  # fmt: skip


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
