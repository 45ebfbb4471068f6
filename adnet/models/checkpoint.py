"""Load published, ModelZoo and own ADNet checkpoints; save ours whole or not at all.

A plain checkpoint is a state dict, or what trainers make of one (`adnet.models.state_dict`). The
published and the ModelZoo colour weights were trained on BGR planes (OpenCV's order); they are
permuted to RGB once, when loaded. Our own format is a dict:

    {"format": "adnet-checkpoint", "version": 1, "model": state dict, "card": JSON text,
     "training": state of the training run (only in last.pth)}

The weights of one fine-tuned for int8 hold its scales, too (`adnet.models.quantized`): a state dict
tells by itself which of the two it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from adnet.atomic import atomic_path
from adnet.errors import CheckpointError
from adnet.failure_keeper import FailureKeeper
from adnet.models.card import ModelCard
from adnet.models.files import kind_of_file, wrong_kind
from adnet.models.network import ADNet
from adnet.models.quantized import QuantizedADNet, weight_bits_of
from adnet.models.state_dict import find_state, read_content

FORMAT = "adnet-checkpoint"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network in evaluation mode on the CPU, its card, and the training state if there is one.

    The network is a `QuantizedADNet` where the checkpoint was fine-tuned for int8.
    """

    network: ADNet
    card: ModelCard
    training: dict[str, Any] | None = None


def load_checkpoint(path: Path, *, planes: Literal["RGB", "BGR"] | None = None) -> Checkpoint:
    """Load a checkpoint without running any code that it may hold.

    An ONNX file of ours is one, too: it holds the weights and the batch norms (RGB planes). What
    the file is, its content decides.

    Args:
        planes: order of the colour planes that the weights expect. None: RGB for our own
            checkpoints, BGR for plain state dicts (the published and the ModelZoo ones).

    Raises:
        CheckpointError: the file is missing, damaged, not weights only, or not ADNet.
        ModelError: likewise, of an ONNX file.
    """
    kind = kind_of_file(path) if path.is_file() else None
    if kind == "om":
        raise CheckpointError(wrong_kind(path, kind, "checkpoint"))
    if kind == "onnx" or (kind is None and path.suffix.lower() == ".onnx"):
        from adnet.models.onnx_network import load_onnx_checkpoint  # noqa: PLC0415  (needs onnx)

        return Checkpoint(*load_onnx_checkpoint(path))
    content = read_content(path)
    own = content.get("format") == FORMAT
    version = content.get("version")
    if own and not (type(version) is int and version == VERSION):  # a tensor has no truth value
        raise CheckpointError(
            f"{path}: checkpoint version {str(version)[:40]}, this adnet reads {VERSION}. "
            "Update adnet."
        )
    state = find_state(content, path)
    network = _empty_network(state, path)
    _check_keys(network, state, path)
    network.load_state_dict(state, strict=False)  # strict but for num_batches_tracked
    network.eval()
    if network.channels == 3 and (planes or ("RGB" if own else "BGR")) == "BGR":
        reverse_planes(network)
    if own:
        card = ModelCard.from_json(str(content.get("card", "")), str(path))
        if card.channels != network.channels:
            raise CheckpointError(
                f"{path}: the card says {card.channels} channels, the network has "
                f"{network.channels}; the file was changed. Take the one that adnet-train wrote."
            )
    else:
        card = ModelCard(cast("Literal[1, 3]", network.channels))
    card = dataclasses.replace(card, weights_sha256=weights_digest(network))
    return Checkpoint(network, card, content.get("training") if own else None)


def save_checkpoint(
    path: Path,
    weights: Mapping[str, Tensor],
    card: ModelCard,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write our own format; the file appears whole or the old one stays.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "model": {name: tensor.detach().cpu() for name, tensor in weights.items()},
        "card": card.to_json(),
    }
    if training is not None:
        content["training"] = _on_cpu(training)
    # Of a full disk, torch itself tells only where in the file it was ("unexpected pos").
    with atomic_path(path) as temporary, FailureKeeper(temporary, "w") as file:
        try:
            torch.save(content, file)
        except RuntimeError as err:
            file.check()
            raise OSError(f"{path}: cannot write the checkpoint: {err}") from err
        file.check()


def _on_cpu(value: Any) -> Any:
    """Copy a nested state to the CPU: a file with NPU tensors in it cannot be read weights-only."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: _on_cpu(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_on_cpu(one) for one in value)
    return value


def reverse_planes(network: ADNet) -> None:
    """Swap the first and third colour plane of a 3-channel network, in place.

    Turns weights for BGR images into weights for RGB images, and back: conv1_1 sees the planes,
    conv1_16 makes them, and conv3 sees both groups of them and makes one.
    """
    first = network.get_submodule("conv1_1.0")
    with torch.no_grad():
        for weight, axes in (
            (first.weight, (1,)),
            (network.conv1_16.weight, (0,)),
            (network.conv3.bias, (0,)),
        ):
            cast(Tensor, weight).copy_(cast(Tensor, weight).flip(axes).clone())
        mixed = network.conv3.weight.reshape(3, 2, 3, 1, 1).flip(0, 2).reshape(3, 6, 1, 1)
        network.conv3.weight.copy_(mixed.clone())


def weights_digest(network: ADNet) -> str:
    """SHA-256 over names, shapes and float32 values of all weights and statistics, sorted by name.

    Counters (num_batches_tracked) are left out: older checkpoints lack them.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            values = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
            digest.update(f"{name}{values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def _channels_of(state: Mapping[str, Tensor], path: Path) -> int:
    first = state.get("conv1_1.0.weight")
    if first is None:
        some = ", ".join(list(state)[:3]) or "nothing"
        raise CheckpointError(
            f"{path}: not an ADNet checkpoint: conv1_1.0.weight is missing; found {some}."
        )
    channels = first.shape[1] if first.ndim == 4 else 0
    if channels not in (1, 3):
        raise CheckpointError(
            f"{path}: conv1_1.0.weight has shape {tuple(first.shape)}; expected (64, 1, 3, 3) for "
            "gray or (64, 3, 3, 3) for colour."
        )
    return channels


def _empty_network(state: Mapping[str, Tensor], path: Path) -> ADNet:
    channels, bits = _channels_of(state, path), weight_bits_of(state)
    return ADNet(channels) if bits is None else QuantizedADNet(channels, bits)


def _check_keys(network: ADNet, state: Mapping[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - optional - set(state))
    unexpected = sorted(set(state) - set(expected))
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = [
        f"{title} {', '.join(names[:4])}{f' and {len(names) - 4} more' if names[4:] else ''}"
        for title, names in (
            ("missing", missing),
            ("not part of ADNet:", unexpected),
            ("wrong shape:", wrong),
        )
        if names
    ]
    if problems:
        raise CheckpointError(f"{path}: not a complete ADNet checkpoint: {'; '.join(problems)}.")
