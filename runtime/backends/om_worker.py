"""One Ascend device at work: a thread of its own, two sets of buffers, copies beside execution.

pyACL ties contexts to threads and a model to one stream at a time. So each device gets a thread
that makes, uses and releases everything; callers hand it batches and wait. While the chip runs one
batch, the thread prepares the next in the other set of buffers, and reads the one before it. All
buffers are allocated once, for the largest gear.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.errors import AdnetError, DeviceError, DeviceLostError, UsageError
from adnet.images.levels import round_to_levels
from adnet.runtime.backend import Batch, Shape
from adnet.runtime.backends.acl import (
    FORKED,
    Acl,
    copy_kinds,
    dataset,
    device_memory,
    host_memory,
    loaded_model,
    open_device,
    stream,
)
from adnet.runtime.backends.acl_errors import LOST_CODES
from adnet.runtime.backends.om_model import OmModel, describe_model

MOST_FAILURES = 3
"""Failures in a row after which a device counts as lost, whatever their codes."""

_log = logging.getLogger(__name__)

SETS = 2
"""Sets of buffers: one that the chip works on, one that is filled or read."""


@dataclass(slots=True)
class _Request:
    batch: Batch
    result: Future[Batch]

    @property
    def shape(self) -> Shape:
        return self.batch.shape[0], *self.batch.shape[2:]


@dataclass(slots=True)
class _BufferSet:
    """What one batch needs on its way through the chip."""

    inputs: int
    """Dataset."""
    outputs: int
    image_address: int
    output_address: int
    host_input: NDArray[np.uint8]
    host_output: NDArray[np.uint8]
    scratch: NDArray[np.float32] | None
    """For scaling to 8 bits; None when the model takes floats."""
    gear: Shape | None = None


class DeviceWorker:
    """Runs an OM on one device.

    Raises:
        AdnetError: the device cannot be opened, or the model not be loaded; nothing is left open.
    """

    def __init__(self, acl: Acl, device: int, model: Path) -> None:
        self._acl = acl
        self._device = device
        self._path = model
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._ready: Future[OmModel] = Future()
        self._lock = threading.Lock()
        self._closed: AdnetError | None = None
        self._process = os.getpid()
        self.clock = _Clock()
        self._thread = threading.Thread(target=self._work, name=f"npu:{device}", daemon=True)
        self._thread.start()
        try:
            self.model = self._ready.result()
        except BaseException:
            self._stop()  # for an interrupt; a thread that failed is gone already
            self._thread.join()
            raise

    def submit(self, batch: Batch) -> Future[Batch]:
        """Queue a batch that fits the model's spec.

        Raises:
            UsageError: the worker is closed, or this process was forked from its own.
            DeviceLostError: the device has failed for good.
        """
        if os.getpid() != self._process:
            raise UsageError(FORKED)
        request = _Request(batch, Future())
        with self._lock:
            if self._closed is not None:
                raise self._closed
            self._requests.put(request)
        return request.result

    def close(self) -> None:
        """Finish what is queued, release everything, end the thread; a second call does nothing.

        What could not be released is logged: all results are there, and nobody can do more.
        """
        if os.getpid() == self._process:
            self._stop()
            self._thread.join()

    def _work(self) -> None:
        """Body of the thread."""
        try:
            with ExitStack() as stack:
                acl = self._acl
                stack.enter_context(open_device(acl, self._device))
                queue = stack.enter_context(stream(acl))
                handles = stack.enter_context(loaded_model(acl, str(self._path)))
                model = describe_model(acl, *handles, self._path)
                sets = [_buffer_set(acl, model, stack) for _ in range(SETS)]
                lane = _Lane(acl, model, queue, copy_kinds(acl), self.clock)
                self._ready.set_result(model)
                self._serve(lane, sets)
        except BaseException as err:  # noqa: BLE001  (it is handed to the thread that waits)
            if not self._ready.done():
                self._ready.set_exception(err)
            elif not isinstance(err, DeviceLostError):  # the waiting callers have got that one
                _log.warning("npu:%d: when it was closed: %s", self._device, err)
            self._refuse(err)

    def _refuse(self, cause: BaseException) -> None:
        """Answer everything that is queued, or comes later, with a failure."""
        with self._lock:
            self._closed = DeviceLostError(f"om backend: npu:{self._device} has stopped: {cause}")
            while not self._requests.empty():
                request = self._requests.get()
                if request is not None:
                    request.result.set_exception(self._closed)

    def _stop(self) -> None:
        """Take no more batches; what is queued before is finished."""
        with self._lock:
            self._closed = self._closed or UsageError("om backend: used after close().")
            self._requests.put(None)

    def _serve(self, lane: _Lane, sets: list[_BufferSet]) -> None:
        """Take batches until told to stop: fill one set while the chip works on the other.

        Raises:
            DeviceLostError: the device has failed for good; every batch in work has got this error.
        """
        running: tuple[_Request, _BufferSet] | None = None
        waiting: tuple[_Request, _BufferSet] | None = None
        finished: tuple[_Request, _BufferSet] | None = None
        steps = _Steps()
        stopping = False
        try:
            while not (stopping and running is None):
                if not stopping:
                    try:
                        request = self._requests.get(block=running is None)
                        stopping = request is None
                    except Empty:
                        request = None
                    if request is not None:
                        free = sets[0] if running is None or running[1] is sets[1] else sets[1]
                        if steps.attempt(request, lane.fill, free, request):
                            waiting = request, free
                finished = None
                if running is not None and steps.attempt(running[0], lane.wait):
                    finished = running
                running = None
                if waiting is not None and steps.attempt(waiting[0], lane.launch, waiting[1]):
                    running = waiting
                waiting = None
                if finished is not None and steps.attempt(finished[0], lane.deliver, *finished):
                    steps.failures = 0
        except DeviceLostError as err:
            for pair in (running, waiting, finished):
                if pair is not None and not pair[0].result.done():
                    pair[0].result.set_exception(err)
            raise


@dataclass(slots=True)
class _Clock:
    """Time between the launch of the last run and its end."""

    started: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Lane:
    """The steps that a batch goes through on a device."""

    acl: Acl
    model: OmModel
    stream: int
    kinds: tuple[int, int]
    clock: _Clock

    def fill(self, buffers: _BufferSet, request: _Request) -> None:
        """Convert the batch to the model's type and layout, copy it to the device, choose the gear.

        uint8 models get 256 levels, as from a file: rounded and clipped.
        """
        batch, model = request.batch, self.model
        source: NDArray[Any] = batch
        if buffers.scratch is not None:
            source = buffers.scratch[: batch.size].reshape(batch.shape)
            round_to_levels(batch, out=source)
        if model.is_nhwc:
            source = source.transpose(0, 2, 3, 1)
        host = buffers.host_input[: batch.size * model.input_dtype.itemsize]
        np.copyto(host.view(model.input_dtype).reshape(source.shape), source, casting="unsafe")
        size = model.input_sizes[model.image_input]
        self.acl.do(
            "rt.memcpy", buffers.image_address, size, host.ctypes.data, host.nbytes, self.kinds[0]
        )
        if buffers.gear != request.shape:
            buffers.gear = None  # should the next call fail, the old gear is not trusted either
            model.set_gear(self.acl, buffers.inputs, request.shape)
            buffers.gear = request.shape

    def launch(self, buffers: _BufferSet) -> None:
        """Start the run; it continues beside what the host does next."""
        self.clock.started = time.perf_counter()
        self.acl.do(
            "mdl.execute_async", self.model.model, buffers.inputs, buffers.outputs, self.stream
        )

    def wait(self) -> None:
        """Wait for the run that was launched last.

        Raises:
            DeviceError: it failed.
            DeviceLostError: it failed, and may still go on, so its buffers cannot be used again.
        """
        try:
            self.acl.do("rt.synchronize_stream", self.stream)
        except DeviceError as err:
            if self.acl.tell("rt.synchronize_stream", self.stream) != 0:
                raise DeviceLostError(str(err), err.code) from err
            raise
        self.clock.seconds = time.perf_counter() - self.clock.started

    def deliver(self, request: _Request, buffers: _BufferSet) -> None:
        """Copy the result to the host and hand it to whom it belongs."""
        dtype = self.model.output_dtype
        host = buffers.host_output[: request.batch.size * dtype.itemsize]
        self.acl.do(
            "rt.memcpy", host.ctypes.data, buffers.host_output.nbytes, buffers.output_address,
            host.nbytes, self.kinds[1],
        )  # fmt: skip
        result = host.view(dtype).reshape(request.batch.shape).astype(np.float32)
        request.result.set_result(result)


def _buffer_set(acl: Acl, model: OmModel, stack: ExitStack) -> _BufferSet:
    """Allocate one set for the largest gear; `stack` releases it."""
    sizes = model.input_sizes
    addresses = [stack.enter_context(device_memory(acl, size)) for size in sizes]
    output = stack.enter_context(device_memory(acl, model.output_size))
    image_bytes = sizes[model.image_input]
    is_scaled = model.input_dtype == np.uint8
    return _BufferSet(
        inputs=stack.enter_context(dataset(acl, list(zip(addresses, sizes, strict=True)))),
        outputs=stack.enter_context(dataset(acl, [(output, model.output_size)])),
        image_address=addresses[model.image_input],
        output_address=output,
        host_input=stack.enter_context(host_memory(acl, image_bytes)),
        host_output=stack.enter_context(host_memory(acl, model.output_size)),
        scratch=np.empty(image_bytes, np.float32) if is_scaled else None,
    )


class _Steps:
    """Does steps for batches; a failure is raised for the caller of that batch."""

    def __init__(self) -> None:
        self.failures = 0
        """Failed steps since the last result."""

    def attempt(self, request: _Request, step: Any, *arguments: object) -> bool:
        """Do one step and return whether it went well; then the others go on.

        Raises:
            DeviceLostError: going on has no use.
        """
        try:
            step(*arguments)
        except Exception as err:
            self.failures += 1
            code = getattr(err, "code", None)
            if isinstance(err, DeviceError) and (
                code in LOST_CODES or self.failures >= MOST_FAILURES
            ):
                err = DeviceLostError(str(err), code)
            request.result.set_exception(err)
            if isinstance(err, DeviceLostError):
                raise err from None
            return False
        return True
