"""Everything that decides a training run, checked when it is made."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from adnet.errors import UsageError
from adnet.training.options import Option, choices, option_fields

_FREE_TO_CHANGE = {
    "recipe", "data", "val", "device", "compile", "val_every", "log_every", "save_minutes",
    "save_every", "keep",
}  # fmt: skip
"""Fields that a resumed run may change: none of them alters what is learned from a step. (That
`data` holds the same pixels is checked by their fingerprint; what a recipe sets are fields of their
own.)"""

SET_BY_STORES = {"scales", "val_images"}
"""Fields that change nothing where stores are trained on: that was decided when they were made."""

SEEDS = 2**63
"""How many seeds there are: what torch's generators take, of one sign."""

STORE_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides a training run; written to config.json.

    The batch, the rate and the schedule are those of the whole run: they mean the same for any
    number of workers. `make_config` completes what is left out as adnet-train does.
    """

    data: tuple[str, ...]
    """Folders of images, or one HDF5 store (a file, or the folder of `adnet-data prepare`)."""
    val: Annotated[
        tuple[str, ...],
        Option(
            "Folder of validation images.",
            heading="Data",
            is_path=True,
            shown="some of DATA are held out",
        ),
    ] = ()
    """Empty: `val_images` images are held out of `data`."""
    val_images: Annotated[int, Option("Images to hold out.")] = 8
    noise: Annotated[
        Literal["awgn", "pairs"],
        Option("DATA holds pairs of real noisy and clean images.", flag=("--pairs", "pairs")),
    ] = "awgn"
    """`awgn` adds Gaussian noise to clean images; `pairs` learns from photographs of the same
    scene, noisy and clean."""
    channels: Annotated[Literal[1, 3], Option("1 gray, 3 colour.")] = 1
    sigma: Annotated[
        tuple[float, float],
        Option("Noise level (25), or LOW,HIGH for a blind model, 0-255 scale."),
    ] = (0.0, 55.0)
    """Noise range; equal ends train for one known level."""
    val_sigma: Annotated[float, Option("Validation noise; 25, or what SIGMA has nearest.")] = 25.0
    patch: Annotated[int, Option("Side of a patch in pixels.")] = 50
    batch: Annotated[int, Option("Patches a step, over all workers.")] = 128
    scales: Annotated[tuple[float, ...], Option("Scales of the images; 1 for pairs.")] = (
        1.0, 0.9, 0.8, 0.7,
    )  # fmt: skip
    augment: Annotated[bool, Option("Turn and mirror patches at random.")] = True
    """Show every patch in one of its eight orientations, drawn again each time."""
    epochs: Annotated[int | None, Option("Length in passes over a train.h5.", heading="Length")] = (
        None
    )
    """Sets the number of steps."""
    steps: Annotated[int | None, Option("Length of the schedule in steps.")] = None
    max_minutes: Annotated[float | None, Option("Length of the schedule in minutes.")] = None
    """The schedule ends at whichever of `steps` and `max_minutes` comes first."""
    optimizer: Annotated[
        Literal["adam", "adamw", "muon", "sgd"],
        Option("On an NPU fused, except muon.", heading="Learning"),
    ] = "adam"
    """`muon`: Muon for the hidden convolutions, AdamW for the rest."""
    weight_decay: Annotated[float, Option("Weight decay.")] = 0.0
    momentum: Annotated[float, Option("Nesterov momentum of sgd.")] = 0.9
    loss: Annotated[
        Literal["mean", "sum", "twin"],
        Option("sum: as published. twin: int8 learns from the float network alone."),
    ] = "mean"
    """`mean`: mean squared error over all values. `sum`: the published loss, summed over a patch's
    values, halved, averaged over patches. `twin`, with `quantize`: the squared difference to the
    float network, which a decibel at a low noise level makes count as much as one at a high one;
    the clean image plays no part, so nothing that is lost can hide behind what training gains."""
    lr: Annotated[float, Option("Peak learning rate.")] = 1e-3
    schedule: Annotated[Literal["cosine", "steps"], Option("steps: down at the milestones.")] = (
        "cosine"
    )
    """`cosine` falls over the whole run; `steps` multiplies the rate by `decay` at `milestones`."""
    milestones: Annotated[
        tuple[float, ...], Option("Shares of the run, e.g. 0.5,0.9, or none.")
    ] = ()
    """In 0..1."""
    decay: Annotated[float, Option("Factor on the rate at a milestone.")] = 0.1
    warmup_steps: Annotated[int, Option("Steps of linear warm-up.")] = 500
    final_lr_ratio: Annotated[float, Option("End of the cosine as a share of the rate.")] = 1e-3
    ema: Annotated[float, Option("Decay of the averaged weights; 0: none.")] = 0.999
    clip_norm: Annotated[
        float | None, Option("Largest gradient norm; 0: any.", zero_is_none=True)
    ] = 1.0
    """None does not clip."""
    seed: Annotated[int, Option("Seed of every random choice.")] = 0
    init: Annotated[
        str | None, Option("Checkpoint or name of a shipped model to start from.", is_path=True)
    ] = None
    """None starts from scratch."""
    freeze_norm: Annotated[bool, Option("Fine-tune with fixed batch-norm statistics.")] = False
    """Use the batch norms' stored statistics, as they are used after training. A small batch of
    mixed noise levels has statistics of its own, which a model may come to rely on."""
    quantize: Annotated[
        Literal["int8"] | None,
        Option("Fine-tune --init for int8; --steps 400, if no length is given."),
    ] = None
    """Rounding is imitated, its scales are learned, and the float network is a second target.
    `recipes.py` has the options that then are default."""
    weight_bits: Annotated[Literal[7, 8], Option("7 is right on every processor.")] = 7
    """Of an int8 model. 8 lose about 0.01 dB less, and overflow on x86 processors without VNNI."""
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"],
        Option("bf16 and fp16: by autocast.", heading="Device"),
    ] = "fp32"
    """`bf16`, `fp16`: autocast; the weights and the loss stay float32."""
    loss_scale: Annotated[
        float | None,
        Option("Fixed loss scale of fp16; 0: adapted.", shown="adapted", zero_is_none=True),
    ] = None
    """None adapts it."""
    hf32: Annotated[
        bool | None,
        Option("NPU: allow or forbid HF32 in fp32.", shown="torch_npu's choice"),
    ] = None
    """Let convolutions and products of fp32 round to HF32; None leaves torch_npu's choice."""
    compile: Annotated[bool, Option("Use torch.compile (pays off on a GPU).")] = False
    device: Annotated[str, Option("cpu, cuda, cuda:1, npu, npu:1 ...")] = "cpu"
    val_every: Annotated[int, Option("Steps between validations.", heading="Saving")] = 1000
    log_every: Annotated[int, Option("Steps between metrics.")] = 50
    save_minutes: Annotated[float, Option("Minutes between saves.")] = 5.0
    save_every: Annotated[int | None, Option("Steps between saves, too.", shown="none")] = None
    """Of last.pth, beside those by time."""
    keep: Annotated[int, Option("Checkpoints kept to resume from.")] = 3
    """last.pth included."""
    recipe: Annotated[
        Literal["default", "cpu", "paper", "modelzoo"],
        Option("Defaults of the other options.", heading="Options"),
    ] = "default"
    """The recipe that the other fields came from (`make_config`): a record that sets nothing."""

    def __post_init__(self) -> None:
        low, high = self.sigma
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known and (value is not None or DEFAULTS[name] is not None):
                raise UsageError(
                    f"training: {name} must be one of {', '.join(map(str, known))}, got {value!r}."
                )
        for wrong, problem in (
            (not self.data, "no folder of training images is given"),
            (
                not 0 <= low <= high <= 255,
                f"sigma must lie in 0..255, the lower end first, got {low:g},{high:g}",
            ),
            (not 0 <= self.val_sigma <= 255, f"val sigma must lie in 0..255, got {self.val_sigma}"),
            (self.val_images < 0, f"val images must not be negative, got {self.val_images}"),
            (
                self.val_images == 0 and not self.val and not self.has_stores,
                "without held-out images (--val-images 0) give --val",
            ),
            (
                self.quantize is not None and self.init is None,
                "quantising fine-tunes a trained network: give --init, a name or a checkpoint",
            ),
            (
                self.loss == "twin" and self.quantize is None,
                "--loss twin compares an int8 network with its float one: give --quantize",
            ),
            (
                self.quantize is not None and self.optimizer == "muon",
                "muon does not learn the scales of an int8 model: use adam",
            ),
            (self.patch < 8, f"patch must be at least 8 pixels, got {self.patch}"),
            (self.batch < 1, f"batch must be at least 1, got {self.batch}"),
            (not 0 < self.lr < math.inf, f"lr must be above 0 and finite, got {self.lr}"),
            (
                not 0 <= self.weight_decay < math.inf,
                f"weight decay must not be negative, and finite, got {self.weight_decay}",
            ),
            (
                not 0 <= self.momentum < 1,
                f"momentum must lie in 0..1, below 1, got {self.momentum}",
            ),
            (
                self.warmup_steps < 0,
                f"warmup steps must not be negative, got {self.warmup_steps}",
            ),
            (
                not 0 <= self.seed < SEEDS,
                f"seed must lie in 0..{SEEDS - 1}, got {self.seed}",
            ),
            (not 0 < self.decay <= 1, f"decay must lie in 0..1, above 0, got {self.decay}"),
            (
                not 0 <= self.final_lr_ratio <= 1,
                f"final lr ratio must lie in 0..1, got {self.final_lr_ratio}",
            ),
            (not 0 <= self.ema < 1, f"ema must lie in 0..1, below 1, got {self.ema}"),
            (
                self.clip_norm is not None and not 0 < self.clip_norm < math.inf,
                f"clip norm must be above 0, finite, or none (--clip-norm 0): {self.clip_norm}",
            ),
            (not self.scales, "no scale is given"),
            (
                not all(0 < s <= 1 for s in self.scales),
                f"scales must lie in 0..1, above 0: {self.scales}",
            ),
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
                self.max_minutes is not None and not 0 < self.max_minutes < math.inf,
                f"max minutes must be above 0 and finite, got {self.max_minutes}",
            ),
            (
                not all(0 < share < 1 for share in self.milestones),
                f"milestones are shares of the run in 0..1, got {self.milestones}",
            ),
            (
                self.loss_scale is not None and not 0 < self.loss_scale < math.inf,
                f"loss scale must be above 0 and finite, got {self.loss_scale}",
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
                not 0 < self.save_minutes < math.inf,
                f"save minutes must be above 0 and finite, got {self.save_minutes}",
            ),
            (self.val_every < 1, f"val every must be at least 1, got {self.val_every}"),
            (self.log_every < 1, f"log every must be at least 1, got {self.log_every}"),
        ):
            if wrong:
                raise UsageError(f"training: {problem}.")

    @property
    def has_stores(self) -> bool:
        """Whether all of the data are HDF5 stores."""
        return self.noise != "pairs" and all(store_at(Path(path)) for path in self.data)

    def to_dict(self) -> dict[str, Any]:
        """For a record: JSON types, paths reduced to names (a card must not tell whose disk)."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        values["data"] = [_name(path) for path in self.data]
        values["val"] = [_name(path) for path in self.val]
        values["init"] = None if self.init is None else _name(self.init)
        return values


FIELDS = {field.name: field for field in option_fields(TrainConfig)}
"""Field of TrainConfig -> how it is said on the command line."""

DEFAULTS: Mapping[str, Any] = {name: field.default for name, field in FIELDS.items()}

CHOICES = choices(FIELDS.values())
"""Field -> what it may be, where that is one of a few."""


def store_at(path: Path, name: str = "train.h5") -> Path | None:
    """Return the HDF5 store that a path of data means, None for a folder of images.

    A store is named itself, or lies in the folder that `adnet-data prepare` made.

    Args:
        name: of a store in such a folder: train.h5, or val.h5 where images to validate on are
            meant.
    """
    if path.is_dir():
        inside = path / name
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
    # A run from before there was a field had its default.
    then = json.loads(json.dumps(dict(DEFAULTS))) | dict(before)
    free = _FREE_TO_CHANGE | (SET_BY_STORES if now.has_stores else set())
    changed = [
        f"{name} was {then.get(name)}, is {value}"
        for name, value in now.to_dict().items()
        if name not in free and then.get(name) != value
    ]
    if changed:
        raise UsageError(
            f"{checkpoint}: the run to resume was made with other settings: {'; '.join(changed)}. "
            "Use the same ones, or start a new run with --init."
        )
