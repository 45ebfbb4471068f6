"""What every runtime backend is: a loaded model that maps batches to batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from adnet.errors import (
    ModelError,
    NotEnoughMemory,
    PrecisionError,
    ShapeError,
    UsageError,
)
from adnet.images.levels import to_levels
from adnet.models.card import ModelCard
from adnet.out_of_memory import MEMORY_ERRORS, explain_memory_error
from adnet.provenance import usable_cores
from adnet.runtime.choices import Precision, is_whole
from adnet.runtime.fork import OfOneProcess

if TYPE_CHECKING:
    from typing_extensions import Self

Batch = NDArray[np.float32]
"""(N, C, H, W), C-contiguous, nominal range [0, 1]; noise may overshoot."""


Shape = tuple[int | None, int | None, int | None]
"""(batch, height, width); None means any."""


_PLAUSIBLE = 16.0
"""Noisy images reach 2 or 3, white being 1; a denoised one stays near its input."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What one loaded model accepts."""

    channels: Literal[1, 3]
    shapes: tuple[Shape, ...] = ((None, None, None),)
    """Every combination that the model takes."""
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    """What the model itself is fed; `Backend.infer` takes float32 whatever it is. Values for a
    uint8 model are rounded to 256 levels and clipped."""

    @property
    def sizes(self) -> tuple[tuple[int, int], ...] | None:
        """The (height, width) pairs; None when any size goes."""
        found = []
        for _, height, width in self.shapes:
            if height is None or width is None:
                return None
            found.append((height, width))
        return tuple(dict.fromkeys(found))

    def batches(self, size: tuple[int, int]) -> tuple[int, ...] | None:
        """Return the batches that go with a size, ascending; None when any does."""
        found = [n for n, *of in self.shapes if None in of or tuple(of) == size]
        batches = sorted(n for n in found if n is not None)
        return tuple(batches) if len(batches) == len(found) else None

    def takes(self, batch: int, size: tuple[int, int]) -> bool:
        """Tell whether the model takes so many images of a size at once."""
        if self.sizes is not None and size not in self.sizes:
            return False
        batches = self.batches(size)
        return batches is None or batch in batches

    def check(self, batch: Batch, backend: str) -> None:
        """Make sure that `batch` can go to a model of this spec.

        Raises:
            ShapeError: wrong dtype, rank, channels, size, batch or memory layout.
        """

        def refuse(expected: str, got: object) -> ShapeError:
            return ShapeError(f"{backend} backend: expected {expected}, got {got}.")

        if batch.dtype != np.float32:
            raise refuse("float32 values", batch.dtype)
        if batch.ndim != 4 or 0 in batch.shape:
            raise refuse("a non-empty batch (N, C, H, W)", f"shape {batch.shape}")
        if not batch.flags.c_contiguous:
            raise refuse("a C-contiguous batch", f"strides {batch.strides}; use ascontiguousarray")
        count, channels, height, width = batch.shape
        if channels != self.channels:
            raise refuse(f"{self.channels} channels", channels)
        if self.sizes is not None and (height, width) not in self.sizes:
            sizes = _any_of(f"{h}x{w}" for h, w in self.sizes)
            raise refuse(f"images of {sizes} (height x width)", f"{height}x{width}")
        batches = self.batches((height, width))
        if batches is not None and count not in batches:
            raise refuse(f"a batch of {_any_of(batches)}", count)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a user may ask of a backend; None leaves it to the backend."""

    threads: int | None = None
    """CPU threads."""
    device: str | None = None
    """Such as `cpu`, `cuda:1` or, for several of a kind, `npu:0,npu:1`."""
    precision: Precision | None = None
    provider: str | None = None
    """Execution provider of ONNX Runtime."""
    streams: int | None = None
    """Batches in work at once on a CPU."""
    compile: bool | None = None
    """Use torch.compile."""
    cache: str | None = None
    """Folder in which OpenVINO keeps compiled models; None keeps none."""

    def __post_init__(self) -> None:
        for name, value in (("threads", self.threads), ("streams", self.streams)):
            if not is_whole(value, 1):
                raise UsageError(f"{name} must be a whole number of at least 1, got {value!r}.")
        for name in ("device", "precision", "provider", "cache"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise UsageError(f"{name} must be a text, got {value!r}.")

    def given(self) -> dict[str, Any]:
        """Return what is asked for, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def allow(self, backend: str, *names: str) -> None:
        """Refuse every option that is given and not among `names`.

        Raises:
            UsageError: the backend cannot do as asked.
        """
        for name, value in self.given().items():
            if name not in names:
                raise UsageError(
                    f"{backend} backend: has no --{name}; got {value!r}. "
                    "Leave the option out or choose another backend."
                )

    def on(self, device: str) -> RunOptions:
        """Return the same options with a device."""
        return replace(self, device=device)


class Backend(OfOneProcess, ABC):
    """One loaded model. A context manager; up to `lanes` threads may call `infer` at once.

    In a process forked from the one that opened it, `infer` refuses and `close` does nothing.

    A subclass acquires everything in its constructor or nothing, calls `super().__init__` last,
    and implements `_infer`, `_release` and `describe`.
    """

    name: ClassVar[str]
    lanes: int = 1
    """How many calls of `infer` at once keep the device busy; more are never needed."""
    device_seconds: float | None = None
    """Time of the last execution alone, without copies; None where it is unknown."""

    def __init__(self, card: ModelCard, spec: InputSpec, device: str) -> None:
        super().__init__()
        self.card = card
        self.spec = spec
        self.device = device
        """What the model really runs on, such as `cpu` or `npu:0`."""
        self._closed = False

    def infer(self, batch: Batch) -> Batch:
        """Denoise a batch; blocks until the result is on the host. Same shape, not clipped.

        Raises:
            ShapeError: the batch does not fit `spec`.
            UsageError: the backend is closed, or this process was forked from its own.
            NotEnoughMemory: the batch is too large for the device or machine.
        """
        self._require_own_process(f"{self.name} backend")
        if self._closed:
            raise UsageError(f"{self.name} backend: used after close().")
        self.spec.check(batch, self.name)
        try:
            return self._infer(batch)
        except MEMORY_ERRORS as err:
            told = explain_memory_error(err, "--tile or --batch")
            if told is None:
                raise
            raise NotEnoughMemory(f"{self.name} backend: {told}") from err

    def close(self) -> None:
        """Release the model; a second call does nothing."""
        if not self._closed:
            self._closed = True
            if self._is_of_this_process():
                self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _infer(self, batch: Batch) -> Batch: ...

    @abstractmethod
    def _release(self) -> None: ...

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """Tell versions, provider and precision, for reports."""


def share_cores(backend: str, streams: int, threads: int | None) -> int | None:
    """Return the CPU threads of each stream: those asked for, else the cores shared among streams.

    None, for one stream and nothing asked for, leaves it to the runtime.

    Raises:
        UsageError: more than four threads for each core.
    """
    cores = usable_cores()
    if threads is None and streams > 1:
        threads = max(1, cores // streams)
    if streams * (threads or 1) > 4 * cores:
        raise UsageError(
            f"{backend} backend: {streams} streams of {threads or 1} threads are more than four "
            f"times the {cores} cores here, and would be slow. Give fewer; --threads counts for "
            "each stream."
        )
    return threads


def spec_of_onnx(
    model: Path,
    card: ModelCard,
    dims: Sequence[int | None],
    dtype: Literal["float32", "float16", "uint8"] | None,
    *,
    is_single: bool,
    found: str,
) -> InputSpec:
    """Make sure that an engine sees the ONNX file of an ADNet, and return what it takes.

    Args:
        dims: of the input; None where a size is open.
        dtype: of the input; None: another one.
        is_single: there is one input and one output.
        found: the inputs in words.

    Raises:
        ModelError: it is something else.
    """
    if not is_single or dtype is None or len(dims) != 4 or dims[1] != card.channels:
        raise ModelError(
            f"{model}: expected one image (N, {card.channels}, H, W), got {found}. "
            "Export the checkpoint again with 'adnet-export onnx'."
        )
    return InputSpec(card.channels, ((dims[0], dims[2], dims[3]),), dtype)


def to_model_dtype(batch: Batch, dtype: str) -> NDArray[Any]:
    """Turn a batch into the `InputSpec.dtype` of a model; no copy where none is needed."""
    return to_levels(batch) if dtype == "uint8" else batch.astype(dtype, copy=False)


def require_finite(result: Batch, backend: str, remedy: str, *, given: Batch | None = None) -> None:
    """Refuse a result of half precision that overflowed: it would be a black or broken image.

    Where half precision saturates (310P and the first 910 may), an overflow gives the largest
    number and stays finite, so the range is checked, too. An overflow inside the network whose
    result looks like an image cannot be seen here.

    Args:
        given: the batch that it was made of; larger values in it allow larger ones in the result.

    Raises:
        PrecisionError: a value is not finite, or far outside the range of such an image.
    """
    largest = _largest(result)
    if largest < _PLAUSIBLE:  # false for nan
        return
    white = 1.0 if given is None else max(1.0, _largest(given))
    if not largest < _PLAUSIBLE * white:
        raise PrecisionError(
            f"{backend} backend: half precision overflowed (largest value {largest:g}, in the "
            f"input {white:g}). {remedy}"
        )


def _largest(batch: Batch) -> float:
    """Return the largest absolute value, or nan, without a temporary array."""
    return float(max(batch.max(), -batch.min()))


def _any_of(values: Iterable[object]) -> str:
    return " or ".join(str(value) for value in values)
