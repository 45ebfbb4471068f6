"""Everything that decides a training run, checked when it is made."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adnet.errors import UsageError
from adnet.models.architecture import WEIGHT_BITS

_FREE_TO_CHANGE = {
    "recipe", "data", "val", "device", "compile", "val_every", "log_every", "save_minutes",
    "save_every", "keep",
}  # fmt: skip
"""Fields that a resumed run may change: none of them alters what is learned from a step. (That
`data` holds the same pixels is checked by their fingerprint; what a recipe sets are fields of their
own.)"""

STORE_SUFFIXES = (".h5", ".hdf5")

CHOICES: Mapping[str, tuple[Any, ...]] = {
    "noise": ("awgn", "pairs"),
    "precision": ("fp32", "bf16", "fp16"),
    "optimizer": ("adam", "adamw", "muon", "sgd"),
    "loss": ("mean", "sum"),
    "schedule": ("cosine", "steps"),
    "quantize": (None, "int8"),
    "weight_bits": WEIGHT_BITS,
}


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides a training run; written to config.json.

    The batch, the rate and the schedule are those of the whole run: they mean the same for any
    number of workers.
    """

    data: tuple[str, ...]
    """Folders of images, or one HDF5 store (a file, or the folder of `adnet-data prepare`)."""
    val: tuple[str, ...] = ()
    """Folders of validation images; empty: `val_images` images are held out of `data`."""
    val_images: int = 8
    noise: Literal["awgn", "pairs"] = "awgn"
    """`awgn` adds Gaussian noise to clean images; `pairs` learns from photographs of the same
    scene, noisy and clean."""
    channels: Literal[1, 3] = 1
    sigma: tuple[float, float] = (0.0, 55.0)
    """Noise range on the 0-255 scale; equal ends train for one known level."""
    val_sigma: float = 25.0
    patch: int = 50
    batch: int = 128
    """Patches a step, over all workers."""
    scales: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7)
    augment: bool = True
    """Show every patch in one of its eight orientations, drawn anew each time."""
    epochs: int | None = None
    """Length in passes over a store; sets the number of steps."""
    steps: int | None = None
    max_minutes: float | None = None
    """The schedule ends at whichever of `steps` and `max_minutes` comes first."""
    optimizer: Literal["adam", "adamw", "muon", "sgd"] = "adam"
    """`muon`: Muon for the hidden convolutions, AdamW for the rest."""
    weight_decay: float = 0.0
    momentum: float = 0.9
    """Nesterov momentum of sgd."""
    loss: Literal["mean", "sum"] = "mean"
    """`mean`: mean squared error over all values. `sum`: the published loss, summed over a patch's
    values, halved, averaged over patches."""
    lr: float = 1e-3
    schedule: Literal["cosine", "steps"] = "cosine"
    """`cosine` falls over the whole run; `steps` multiplies the rate by `decay` at `milestones`."""
    milestones: tuple[float, ...] = ()
    """Shares of the run, in 0..1."""
    decay: float = 0.1
    warmup_steps: int = 500
    final_lr_ratio: float = 1e-3
    """Learning rate at the end of the cosine, as a share of `lr`."""
    ema: float = 0.999
    clip_norm: float | None = 1.0
    """Largest gradient norm; None does not clip."""
    seed: int = 0
    init: str | None = None
    """Checkpoint, or name of a shipped model, to start from; None starts from scratch."""
    freeze_norm: bool = False
    """Fine-tune with the batch norms' stored statistics, as they are used after training. A small
    batch of mixed noise levels has statistics of its own, which a model may come to rely on."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """`bf16`, `fp16`: autocast; the weights and the loss stay float32."""
    loss_scale: float | None = None
    """Scale of the loss in fp16; None adapts it."""
    hf32: bool | None = None
    """NPU: let convolutions and products of fp32 round to HF32; None leaves torch_npu's choice."""
    quantize: Literal["int8"] | None = None
    """Fine-tune `init` for int8 arithmetic: rounding is imitated, its scales are learned, and the
    float network is a second target. (`recipes.py` has the options that then are default.)"""
    weight_bits: Literal[7, 8] = 7
    """Of an int8 model. With 7 it gives the same result on every processor; 8 lose about 0.01 dB
    less and overflow on x86 processors without VNNI."""
    compile: bool = False
    device: str = "cpu"
    val_every: int = 1000
    log_every: int = 50
    save_minutes: float = 5.0
    save_every: int | None = None
    """Steps between saves of last.pth, beside those by time."""
    keep: int = 3
    """Checkpoints to resume from that are kept, last.pth included."""
    recipe: str = "default"
    """The recipe that the other fields came from (`recipe_options`): a record that sets nothing."""

    def __post_init__(self) -> None:
        low, high = self.sigma
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(
                    f"training: {name} must be one of {', '.join(map(str, known))}, "
                    f"got {getattr(self, name)!r}."
                )
        for wrong, problem in (
            (not self.data, "no folder of training images is given"),
            (self.channels not in (1, 3), f"channels must be 1 or 3, got {self.channels}"),
            (not 0 <= low <= high <= 255, f"sigma must lie in 0..255, got {low:g},{high:g}"),
            (not 0 <= self.val_sigma <= 255, f"val sigma must lie in 0..255, got {self.val_sigma}"),
            (self.val_images < 0, f"val images must not be negative, got {self.val_images}"),
            (
                self.val_images == 0 and not self.val and not self._is_store,
                "without held-out images (--val-images 0) give --val",
            ),
            (
                self.quantize is not None and self.init is None,
                "quantising fine-tunes a trained network: give --init, a name or a checkpoint",
            ),
            (
                self.quantize is not None and self.optimizer == "muon",
                "muon does not learn the scales of an int8 model: use adam",
            ),
            (self.patch < 8, f"patch must be at least 8 pixels, got {self.patch}"),
            (self.batch < 1, f"batch must be at least 1, got {self.batch}"),
            (not self.lr > 0, f"lr must be above 0, got {self.lr}"),
            (not 0 < self.decay <= 1, f"decay must lie in 0..1, got {self.decay}"),
            (
                not 0 <= self.final_lr_ratio <= 1,
                f"final lr ratio must lie in 0..1, got {self.final_lr_ratio}",
            ),
            (not 0 <= self.ema < 1, f"ema must lie in 0..1, got {self.ema}"),
            (
                self.clip_norm is not None and not self.clip_norm > 0,
                f"clip norm must be above 0, got {self.clip_norm}",
            ),
            (not self.scales, "no scale is given"),
            (not all(0 < s <= 1 for s in self.scales), f"scales must lie in 0..1: {self.scales}"),
            (
                self.noise == "pairs" and self.scales != (1.0,),
                "pairs are learned at scale 1: resizing changes real noise",
            ),
            (
                self.steps is None and self.epochs is None and self.max_minutes is None,
                "give --steps, --epochs or --max-minutes",
            ),
            (
                self.steps is not None and self.epochs is not None,
                "give --steps or --epochs, not both",
            ),
            (self.steps is not None and self.steps < 1, f"steps must be above 0, got {self.steps}"),
            (
                self.epochs is not None and self.epochs < 1,
                f"epochs must be above 0, got {self.epochs}",
            ),
            (
                self.max_minutes is not None and not self.max_minutes > 0,
                f"max minutes must be above 0, got {self.max_minutes}",
            ),
            (
                not all(0 < share < 1 for share in self.milestones),
                f"milestones are shares of the run in 0..1, got {self.milestones}",
            ),
            (
                self.loss_scale is not None and not self.loss_scale > 0,
                f"loss scale must be above 0, got {self.loss_scale}",
            ),
            (
                self.loss_scale is not None and self.precision != "fp16",
                f"a loss scale is for precision fp16, not {self.precision}",
            ),
            (self.keep < 1, f"keep must be at least 1, got {self.keep}"),
            (
                self.save_every is not None and self.save_every < 1,
                f"save every must be at least 1, got {self.save_every}",
            ),
            (
                not self.save_minutes > 0,
                f"save minutes must be above 0, got {self.save_minutes}",
            ),
            (self.val_every < 1, f"val every must be at least 1, got {self.val_every}"),
            (self.log_every < 1, f"log every must be at least 1, got {self.log_every}"),
        ):
            if wrong:
                raise UsageError(f"training: {problem}.")

    @property
    def _is_store(self) -> bool:
        return self.noise != "pairs" and all(store_at(Path(path)) for path in self.data)

    def to_dict(self) -> dict[str, Any]:
        """For a record: JSON types, paths reduced to names (a card must not tell whose disk)."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        values["data"] = [_name(path) for path in self.data]
        values["val"] = [_name(path) for path in self.val]
        values["init"] = None if self.init is None else _name(self.init)
        return values


def store_at(path: Path) -> Path | None:
    """Return the HDF5 store that a path of training data means, None for a folder of images.

    A store is named itself, or is the train.h5 in the folder that `adnet-data prepare` made.
    """
    if path.is_dir():
        inside = path / "train.h5"
        return inside if inside.is_file() else None
    return path if path.suffix.lower() in STORE_SUFFIXES else None


def _name(path: str) -> str:
    """Last part of a path; of one that ends in a dot, that of the folder which it means."""
    name = Path(path).name
    return name if name not in ("", "..") else Path(path).resolve().name


def refuse_changes(before: Mapping[str, Any], now: TrainConfig, checkpoint: Path) -> None:
    """Make sure that a resumed run goes on as it began.

    Args:
        before: the stored config, as `to_dict` gives it.

    Raises:
        UsageError: naming the fields that changed.
    """
    changed = [
        f"{name} was {before.get(name)}, is {value}"
        for name, value in now.to_dict().items()
        if name not in _FREE_TO_CHANGE and before.get(name) != value
    ]
    if changed:
        raise UsageError(
            f"{checkpoint}: the run to resume was made with other settings: {'; '.join(changed)}. "
            "Use the same ones, or start a new run with --init."
        )
