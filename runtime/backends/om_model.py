"""What a loaded OM takes and gives, as ACL describes it, and the card beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adnet.errors import ModelError
from adnet.models.card import ModelCard
from adnet.models.om_file import read_sidecar, sidecar_path
from adnet.runtime.backend import InputSpec, Shape
from adnet.runtime.backends.acl import DTYPES, Acl

GEAR_INPUT = "ascend_mbatch_shape_data"
"""Name of the extra input of a model with gears; it says which gear runs."""

_NHWC = 1
_ALL_INPUTS = -1

GearKind = Literal["static", "batch", "size", "dims"]


@dataclass(frozen=True, slots=True)
class OmModel:
    """The interface of a loaded model."""

    model: int
    description: int
    spec: InputSpec
    gear_kind: GearKind
    image_input: int
    """Index of the image among the inputs."""
    gear_input: int | None
    input_sizes: tuple[int, ...]
    """Bytes of each input, for the largest gear."""
    output_size: int
    input_dtype: np.dtype[Any]
    output_dtype: np.dtype[Any]
    is_nhwc: bool
    """The image goes in as (N, H, W, C): models with AIPP."""

    def set_gear(self, acl: Acl, inputs: int, shape: Shape) -> None:
        """Choose the gear for the next run with the dataset `inputs`."""
        batch, height, width = shape
        if self.gear_kind == "batch":
            acl.do("mdl.set_dynamic_batch_size", self.model, inputs, self.gear_input, batch)
        elif self.gear_kind == "size":
            acl.do("mdl.set_dynamic_hw_size", self.model, inputs, self.gear_input, height, width)
        elif self.gear_kind == "dims":
            dims = [batch, self.spec.channels, height, width]
            gear = {"name": "", "dimCount": len(dims), "dims": dims}
            acl.do("mdl.set_input_dynamic_dims", self.model, inputs, self.gear_input, gear)


def describe_model(acl: Acl, model: int, description: int, path: Path) -> OmModel:
    """Ask ACL what a loaded model takes, and make sure that it can be an ADNet.

    Raises:
        ModelError: it is no ADNet, or made in a way that adnet does not run.
        DeviceError: a call failed.
    """

    def refuse(expected: str, got: object) -> ModelError:
        return ModelError(
            f"{path}: no ADNet that adnet can run: expected {expected}, got {got}. Convert the "
            "checkpoint with 'adnet-export om'."
        )

    inputs = acl.tell("mdl.get_num_inputs", description)
    names = [acl.tell("mdl.get_input_name_by_index", description, i) for i in range(inputs)]
    images = [index for index, name in enumerate(names) if name != GEAR_INPUT]
    outputs = acl.tell("mdl.get_num_outputs", description)
    if len(images) != 1 or outputs != 1:
        raise refuse("one image in and one out", f"inputs {', '.join(names)}, {outputs} outputs")
    image = images[0]
    is_nhwc = acl.tell("mdl.get_input_format", description, image) == _NHWC
    dims = list(acl.get("mdl.get_input_dims", description, image)["dims"])
    if len(dims) != 4:
        raise refuse("an input of 4 dimensions", dims)
    if is_nhwc:
        dims = [dims[0], dims[3], dims[1], dims[2]]
    channels = dims[1]
    if channels not in (1, 3):
        raise refuse("1 or 3 channels", f"dimensions {dims}")
    types = []
    for what in ("input", "output"):
        number = acl.tell(f"mdl.get_{what}_data_type", description, image if what == "input" else 0)
        if number not in DTYPES:
            raise refuse(f"an {what} of float32, float16 or uint8", f"ACL's data type {number}")
        types.append(DTYPES[number])
    if types[1] == np.uint8:
        raise refuse("a float output (uint8 would turn 0...1 into 0 and 1)", "uint8")
    kind, shapes = _gears(acl, description, dims)
    spec = InputSpec(channels, shapes, types[0].name)
    found = OmModel(
        model=model,
        description=description,
        spec=spec,
        gear_kind=kind,
        image_input=image,
        gear_input=names.index(GEAR_INPUT) if GEAR_INPUT in names else None,
        input_sizes=tuple(
            acl.tell("mdl.get_input_size_by_index", description, i) for i in range(inputs)
        ),
        output_size=acl.tell("mdl.get_output_size_by_index", description, 0),
        input_dtype=types[0],
        output_dtype=types[1],
        is_nhwc=is_nhwc,
    )
    largest = max(n * h * w for n, h, w in shapes) * channels
    needed = (largest * types[0].itemsize, largest * types[1].itemsize)
    if (found.input_sizes[image], found.output_size) != needed:
        raise refuse(
            f"{needed[0]} bytes in and {needed[1]} out",
            f"{found.input_sizes[image]} and {found.output_size}",
        )
    if (kind == "static") != (found.gear_input is None):
        raise refuse("gears and the input that chooses them", f"{kind} and inputs {names}")
    return found


def read_card(path: Path, channels: Literal[1, 3]) -> ModelCard:
    """Read the card beside an OM; without one, as with an OM made by hand, it knows the channels.

    Raises:
        ModelError: the file is damaged, or belongs to another model.
    """
    beside = read_sidecar(path)
    if beside is None:
        return ModelCard(channels)
    card = beside.card
    if card.channels != channels:
        raise ModelError(
            f"{sidecar_path(path)}: says {card.channels} channels, but {path.name} takes "
            f"{channels}. The two files do not belong together."
        )
    return card


def _gears(
    acl: Acl, description: int, dims: list[int]
) -> tuple[GearKind, tuple[tuple[int, int, int], ...]]:
    """Return the kind of gears and all shapes (batch, height, width).

    A model without gears answers with empty lists. The order of the questions is that of the
    public samples: models with free dimensions may answer the last question, too.
    """
    count, _, height, width = dims
    batches = acl.get("mdl.get_dynamic_batch", description)["batch"]
    if batches:
        return "batch", tuple((batch, height, width) for batch in batches)
    gears = acl.get("mdl.get_input_dynamic_gear_count", description, _ALL_INPUTS)
    if gears:
        entries = acl.get("mdl.get_input_dynamic_dims", description, _ALL_INPUTS, gears)
        return "dims", tuple((e["dims"][0], *e["dims"][2:4]) for e in entries)
    sizes = acl.get("mdl.get_dynamic_hw", description, _ALL_INPUTS)["hw"]
    if sizes:
        return "size", tuple((count, *size) for size in sizes)
    return "static", ((count, height, width),)
