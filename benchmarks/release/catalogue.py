"""The models that the package ships, and how each is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from adnet.training.config import TrainConfig
from adnet.training.recipes import make_config

_HELD_OUT = 6
"""Images."""

TWIN: Mapping[str, Any] = {
    "quantize": "int8", "loss": "twin", "val_images": _HELD_OUT, "precision": "bf16",
    "log_every": 20,
}  # fmt: skip
"""For an int8 form; the rest is what --quantize sets."""

ACCELERATED: Mapping[str, Any] = {"batch": 128, "compile": True}
ACCELERATED_LENGTH = 4
"""A run that begins on a GPU takes so many times the steps, of larger batches."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the catalogue."""

    name: str
    channels: Literal[1, 3]
    sigma: tuple[float, float] | None
    """Noise levels on the 0-255 scale; None: pairs of real photographs."""
    steps: int
    lr: float
    start: tuple[str, ...]
    """Where its weights begin: the first of these that the campaign has finished, or that is
    shipped. Its own name means the shipped model of that name."""
    data: str = "BSD432"
    val: str | None = None
    """Validation set of its own; None holds images out of `data`."""
    tests: tuple[str, ...] = ()
    """Sets that it is measured on once it is shipped, never before."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of TrainConfig."""
    twin_of: str | None = None
    """The shipped float model that this is the int8 form of; its run starts there and nowhere
    else."""

    def config(self, folders: Mapping[str, Path], init: str, device: str) -> TrainConfig:
        """Make the settings of its run.

        Args:
            folders: data set -> its folder.
            init: checkpoint or shipped model to start from.
            device: as for adnet-train; anything but a CPU takes the accelerated schedule.
        """
        is_accelerated = not device.startswith("cpu")
        if self.twin_of is not None:
            return make_config(
                [folders[self.data]], channels=self.channels, lr=self.lr, init=init,
                steps=self.steps, sigma=self.sigma, device=device, **{**TWIN, **self.options},
            )  # fmt: skip
        fields: dict[str, Any] = {
            "val_images": _HELD_OUT,
            **(ACCELERATED if is_accelerated else {}),
        }
        if self.sigma is None:
            fields["noise"] = "pairs"
        else:
            fields["sigma"] = self.sigma
        if self.val is not None:
            fields["val"] = (str(folders[self.val]),)
        return make_config(
            [folders[self.data]], "cpu", channels=self.channels, lr=self.lr, init=init,
            steps=self.steps * (ACCELERATED_LENGTH if is_accelerated else 1), device=device,
            **{**fields, **self.options},
        )  # fmt: skip


def _gray(name: str, sigma: tuple[float, float], steps: int, lr: float, *start: str) -> Model:
    return Model(name, 1, sigma, steps, lr, start, tests=("BSD68",))


def _colour(name: str, sigma: tuple[float, float], steps: int, lr: float, *start: str) -> Model:
    return Model(name, 3, sigma, steps, lr, start, tests=("CBSD68",))


def _twin(name: str, channels: Literal[1, 3], sigma: tuple[float, float], tests: str) -> Model:
    return Model(f"{name}-int8", channels, sigma, 800, 2e-4, (name,), tests=(tests,), twin_of=name)


CATALOGUE: tuple[Model, ...] = (
    _gray("gray-blind", (0, 55), 16_000, 0.005, "gray-blind"),
    _gray("gray-25", (25, 25), 10_000, 0.004, "gray-25", "gray-blind"),
    Model(
        "color-blind", 3, (0, 75), 14_000, 0.005, ("color-blind",), tests=("CBSD68", "PolyU-test")
    ),
    _colour("color-25", (25, 25), 8_000, 0.003, "color-blind"),
    Model(
        "color-real", 3, None, 3_000, 0.002, ("color-blind",), data="PolyU-train", val="PolyU-val",
        tests=("PolyU-test",),
    ),
    _gray("gray-50", (50, 50), 5_000, 0.003, "gray-blind"),
    _colour("color-50", (50, 50), 5_000, 0.003, "color-blind"),
    _gray("gray-15", (15, 15), 5_000, 0.003, "gray-blind"),
    _colour("color-15", (15, 15), 5_000, 0.003, "color-blind"),
    _colour("color-35", (35, 35), 5_000, 0.003, "color-blind"),
    _colour("color-75", (75, 75), 5_000, 0.003, "color-blind"),
    _twin("gray-25", 1, (25, 25), "BSD68"),
    _twin("gray-50", 1, (50, 50), "BSD68"),
    _twin("gray-15", 1, (15, 15), "BSD68"),
)  # fmt: skip
"""In the order of training."""
