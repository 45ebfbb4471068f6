"""Read the weights out of what trainers save, and believe only what can be weights.

Trainers nest the state dict under one of a few keys, beside optimisers and counters, and what
wraps a network puts a prefix before each name: DataParallel and DDP `module.`, torch.compile
`_orig_mod.`, Lightning the attribute that holds the network. Both may come several times over.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adnet.errors import CheckpointError

_FIRST = "conv1_1.0.weight"
_WRAPPERS = (
    "params_ema", "params", "state_dict", "model_state_dict", "model", "network", "net", "weights",
)  # fmt: skip
"""Keys under which training scripts nest the weights, the first that holds an ADNet counts."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")
_DEEPEST = 4
"""Wrappers inside of each other; a file may hold a dict that holds itself."""
_COUNTERS = ("num_batches_tracked", "largest_weight")
"""Whole numbers, as the only ones in a state dict of ADNet."""


def read_content(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint's dict without running any code that it may hold.

    Raises:
        CheckpointError: the file is missing, damaged, not weights only, or no dict.
    """
    damaged = f"{path}: not a PyTorch checkpoint, or a damaged one"
    try:
        if (member := _damaged_member(path)) is not None:
            raise CheckpointError(
                f"{path}: damaged: {member} in it is not what was written (its checksum differs). "
                "Copy the file again."
            )
        with warnings.catch_warnings():
            # torch warns of odd pickles; what they hold is checked below.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as err:
        raise CheckpointError(f"{path}: no such checkpoint.") from err
    except pickle.UnpicklingError as err:
        if "GLOBAL" in str(err):
            raise CheckpointError(
                f"{path}: refused, because it holds Python objects and not only weights; loading "
                "such a file could run code of its author. Save the state dict alone."
            ) from err
        raise CheckpointError(f"{damaged}.") from err
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError,
            zipfile.BadZipFile, zlib.error, OSError) as err:  # fmt: skip
        first_line = (str(err).splitlines() or [type(err).__name__])[0]
        raise CheckpointError(f"{damaged} ({first_line}).") from err
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path}: expected a dict of weights, got {type(content).__name__}. "
            "Save network.state_dict()."
        )
    return content


def find_state(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Find the weights, drop prefixes, check that they are finite numbers and make them float32.

    Args:
        content: what the file holds.
        path: for the messages.

    Raises:
        CheckpointError: something else is among them, or they are no numbers to compute with.
    """
    found = _nested(content, _DEEPEST)
    if found is None:  # what it holds instead is for the message
        wrapped = (content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping))
        found = next(wrapped, content)
    state: dict[str, Tensor] = {}
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{path}: expected a dict of named weights, but {name!r} is a "
                f"{type(tensor).__name__}. Save network.state_dict()."
            )
        state[name] = _numbers(tensor, name, path)
    while prefix := _common_prefix(state):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _damaged_member(path: Path) -> str | None:
    """Compare the checksums of a zip, which torch does not (2 ms for ADNet); None: all is well."""
    if not zipfile.is_zipfile(path):  # torch's older format has none
        return None
    with zipfile.ZipFile(path) as archive:
        if not any(member.CRC for member in archive.infolist()):
            return None  # saved with torch.serialization.set_crc32_options(False)
        return archive.testzip()


def _nested(content: Mapping[str, Any], depth: int) -> Mapping[str, Any] | None:
    if any(isinstance(name, str) and name.endswith(_FIRST) for name in content):
        return content
    for key in _WRAPPERS:
        inner = content.get(key)
        if depth and isinstance(inner, Mapping):
            found = _nested(inner, depth - 1)
            if found is not None:
                return found
    return None


def _common_prefix(state: Mapping[str, Tensor]) -> str | None:
    return next((prefix for prefix in _PREFIXES
                 if state and all(name.startswith(prefix) for name in state)), None)  # fmt: skip


def _numbers(tensor: Tensor, name: str, path: Path) -> Tensor:
    """Return floating-point weights as float32, counters as they are."""
    if tensor.is_meta:
        raise CheckpointError(
            f"{path}: {name} has a shape but no values (device meta). Save the network after its "
            "weights were loaded."
        )
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        kind = "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        raise CheckpointError(
            f"{path}: {name} is stored as a {kind} tensor; expected a plain one. Save it with "
            f"{'.dequantize()' if tensor.is_quantized else '.to_dense()'}."
        )
    if not tensor.is_floating_point():
        if name.endswith(_COUNTERS) and not tensor.is_complex():
            return tensor
        raise CheckpointError(
            f"{path}: {name} holds {str(tensor.dtype).removeprefix('torch.')}; weights are "
            "floating-point numbers. Save the network as it was trained, before it was converted."
        )
    values = tensor.to(torch.float32)
    if not torch.isfinite(values).all():
        wide = tensor.double()
        if torch.isfinite(wide).all():
            raise CheckpointError(
                f"{path}: {name} holds {wide.abs().max().item():.3g}, beyond float32's range; "
                "no trained weight is so large. The file is damaged or the training diverged."
            )
        raise CheckpointError(f"{path}: {name} holds nan or inf; the training had diverged.")
    if name.endswith("running_var") and values.numel() and values.min() < 0:
        raise CheckpointError(
            f"{path}: {name} holds {values.min().item():.3g}; a variance is never below 0. The "
            "file is damaged or was changed."
        )
    return values
