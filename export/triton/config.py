"""Triton's config.pbtxt: the fields of `ModelConfig` in its protobuf's text format."""

from __future__ import annotations

import re
from dataclasses import dataclass

from adnet.errors import UsageError
from adnet.export.choices import TritonMode

IMAGE_TYPES = {"": "UINT8", "_uint16": "UINT16", "_fp32": "FP32"}
"""What the tensor names `image` and `denoised` end with -> Triton's type."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What a repository asks of Triton.

    Raises:
        UsageError: a number is out of range, or the name is none for a folder.
    """

    mode: TritonMode = "image"
    name: str = "adnet"
    """Of the model, as requests call it."""
    instances: int = 1
    """Copies that work at once."""
    threads: int | None = None
    """CPU threads of each copy; None leaves it to the runtime."""
    queue: int = 16
    """Requests that wait; the next one is told UNAVAILABLE."""
    batch: int = 8
    """Tiles that Triton puts together (mode tiles)."""
    max_pixels: int = 50_000_000
    """Of one image (mode image)."""

    def __post_init__(self) -> None:
        for option in ("instances", "threads", "queue", "batch", "max_pixels"):
            value = getattr(self, option)
            if value is not None and value < 1:
                told = option.replace("_", "-")
                raise UsageError(f"--{told}: expected at least 1, got {value}.")
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", self.name):
            raise UsageError(
                "--name: expected ASCII letters, digits, - and _, the first a letter or a digit, "
                f"got {self.name!r}. It becomes a folder and a part of the server's addresses."
            )


def config_text(serving: Serving, channels: int, model_file: str) -> str:
    """Write the config.pbtxt.

    Args:
        channels: colour planes that the model takes.
        model_file: name of the model file in the version's folder.
    """
    parts = [f'name: "{serving.name}"']
    parts += _tiles(serving, channels) if serving.mode == "tiles" else _image()
    parts.append(_group(serving))
    parts.append(_batching(serving))
    if serving.mode == "image":
        told = {"model_file": model_file, "max_pixels": serving.max_pixels}
        if serving.threads is not None:
            told["threads"] = serving.threads
        parts += [_parameter(key, str(value)) for key, value in told.items()]
    elif serving.threads is not None:  # names of Triton's onnxruntime backend, see its README
        parts.append(_parameter("intra_op_thread_count", str(serving.threads)))
    return "\n".join(parts) + "\n"


def _image() -> list[str]:
    """One request is one image; which of the inputs it gives is up to it."""
    inputs = [_tensor(f"image{end}", kind, "-1, -1, -1", optional=True)
              for end, kind in IMAGE_TYPES.items()]  # fmt: skip
    inputs.append(_tensor("file", "STRING", "1", optional=True))
    outputs = [_tensor(f"denoised{end}", kind, "-1, -1, -1") for end, kind in IMAGE_TYPES.items()]
    outputs.append(_tensor("denoised_file", "STRING", "1"))
    return ['backend: "python"', "max_batch_size: 0", _list("input", inputs), _list("output", outputs)]  # noqa: E501  # fmt: skip


def _tiles(serving: Serving, channels: int) -> list[str]:
    dims = f"{channels}, -1, -1"
    return [
        'backend: "onnxruntime"',
        f"max_batch_size: {serving.batch}",
        _list("input", [_tensor("image", "FP32", dims)]),
        _list("output", [_tensor("denoised", "FP32", dims)]),
    ]


def _tensor(name: str, kind: str, dims: str, *, optional: bool = False) -> str:
    more = " optional: true" if optional else ""
    return f'{{ name: "{name}" data_type: TYPE_{kind} dims: [ {dims} ]{more} }}'


def _list(key: str, items: list[str]) -> str:
    return f"{key} [\n  " + ",\n  ".join(items) + "\n]"


def _group(serving: Serving) -> str:
    kind = "KIND_AUTO" if serving.mode == "tiles" else "KIND_CPU"
    return f"instance_group [ {{ count: {serving.instances} kind: {kind} }} ]"


def _batching(serving: Serving) -> str:
    """The bounded queue is a part of Triton's dynamic batcher, whatever the batch."""
    wait = "max_queue_delay_microseconds: 2000 " if serving.mode == "tiles" else ""
    policy = f"default_queue_policy {{ max_queue_size: {serving.queue} }}"
    return f"dynamic_batching {{ {wait}{policy} }}"


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
