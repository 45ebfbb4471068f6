"""pyACL, Huawei's Python interface to Ascend chips: every code checked, everything released.

Resources are context managers; they are released in the reverse order of their making, after a
failure too. pyACL ties contexts to threads: what is made here must be used and released by the
thread that made it. Calls and their return conventions: CANN manual, "pyACL API reference".
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from operator import attrgetter
from types import ModuleType
from typing import Any, Protocol
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from adnet.cann import SOURCE_SET_ENV
from adnet.errors import BackendUnavailable, DeviceError, UsageError
from adnet.runtime.acl_errors import explain_code

REPEAT_INITIALIZE = 100002
REPEAT_FINALIZE = 100037
HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3
_DEVICE_RUN_MODE = 0
_HUGE_PAGES_FIRST = 0

DTYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype(np.float32),
    1: np.dtype(np.float16),
    4: np.dtype(np.uint8),
}
"""ACL's numbers of the data types that an image can have."""

FORKED = (
    "om backend: this process was forked from one that uses ACL, which does not survive that. "
    "Start worker processes with the 'spawn' method."
)

_log = logging.getLogger(__name__)
_initialised_in: int | None = None


class Acl:
    """The `acl` module; its functions fall into three kinds by what they return."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def do(self, name: str, *arguments: object) -> None:
        """Call a function that returns a code."""
        self.check(name, attrgetter(name)(self.module)(*arguments))

    def get(self, name: str, *arguments: object) -> Any:
        """Call a function that returns (value, code)."""
        value, code = attrgetter(name)(self.module)(*arguments)
        self.check(name, code)
        return value

    def tell(self, name: str, *arguments: object) -> Any:
        """Call a function that returns a value and no code."""
        return attrgetter(name)(self.module)(*arguments)

    def make(self, name: str, *arguments: object) -> int:
        """Call a function that returns a handle and no code; a null handle is a failure."""
        handle: int = self.tell(name, *arguments)
        if not handle:
            raise DeviceError(f"acl.{name} failed: it returned no handle.{self._recent()}")
        return handle

    def check(self, name: str, code: int) -> None:
        """Turn a code that is not 0 into an error.

        Raises:
            DeviceError: names the call, the code and what to do.
        """
        if code != 0:
            label, hint = explain_code(code)
            text = f"acl.{name} failed with {code} ({label}). {hint}".rstrip()
            raise DeviceError(text + self._recent(), code)

    @contextmanager
    def releasing(self, name: str, *arguments: object) -> Iterator[None]:
        """Call `name` at the end. If the block failed, its error goes before one of the release."""
        try:
            yield
        except BaseException:
            try:
                self.do(name, *arguments)
            except DeviceError as also:
                _log.warning("after another error: %s", also)
            raise
        self.do(name, *arguments)

    def _recent(self) -> str:
        """ACL's own last words; newer versions have them."""
        recent = getattr(self.module, "get_recent_err_msg", None)
        text = recent() if recent is not None else None
        return f" ACL: {' '.join(str(text).split())}" if text else ""


def load_acl() -> Acl:
    """Import and initialise ACL, once in a process.

    torch_npu in the same process may have done it before; then it is left to finalise, too.

    Raises:
        BackendUnavailable: pyACL is not installed, or cannot be initialised.
        UsageError: this process was forked from one that uses ACL.
    """
    global _initialised_in  # noqa: PLW0603  (ACL's state is the process's own)
    if _initialised_in is not None and _initialised_in != os.getpid():
        raise UsageError(FORKED)
    try:
        acl = Acl(import_module("acl"))
    except ImportError as err:
        raise BackendUnavailable(
            f"om backend: pyACL cannot be imported ({err}). It comes with CANN: {SOURCE_SET_ENV}."
        ) from err
    if _initialised_in is None:
        code = acl.tell("init")
        if code != REPEAT_INITIALIZE:
            try:
                acl.check("init", code)
            except DeviceError as err:
                raise BackendUnavailable(f"om backend: {err}") from err
            atexit.register(_finalise, acl)
        _initialised_in = os.getpid()
    return acl


def is_initialised() -> bool:
    """Whether this process uses ACL, by `load_acl` or by torch_npu."""
    return _initialised_in == os.getpid() or "torch_npu" in sys.modules


class Closable(Protocol):
    """What must be closed before ACL is finalised."""

    def close(self) -> None:
        """Release everything; a second call does nothing."""


in_use: WeakSet[Closable] = WeakSet()
"""Closed when the program ends, should its owner have forgotten it."""


def _finalise(acl: Acl) -> None:
    if _initialised_in == os.getpid():
        for one in list(in_use):
            one.close()
    code = acl.tell("finalize") if _initialised_in == os.getpid() else 0
    if code not in (0, REPEAT_FINALIZE):
        _log.warning("acl.finalize failed with %d", code)


@contextmanager
def open_device(acl: Acl, index: int) -> Iterator[None]:
    """Open a device with a context of its own for the calling thread."""
    acl.do("rt.set_device", index)
    with ExitStack() as stack:
        stack.enter_context(acl.releasing("rt.reset_device", index))
        context = acl.get("rt.create_context", index)
        stack.enter_context(acl.releasing("rt.destroy_context", context))
        yield


@contextmanager
def stream(acl: Acl) -> Iterator[int]:
    """Make a stream: a queue of work on the device."""
    handle = acl.get("rt.create_stream")
    with acl.releasing("rt.destroy_stream", handle):
        yield handle


@contextmanager
def loaded_model(acl: Acl, path: str) -> Iterator[tuple[int, int]]:
    """Load an OM; yields the model's number and its description's handle."""
    model = acl.get("mdl.load_from_file", path)
    with acl.releasing("mdl.unload", model):
        description = acl.make("mdl.create_desc")
        with acl.releasing("mdl.destroy_desc", description):
            acl.do("mdl.get_desc", description, model)
            yield model, description


@contextmanager
def device_memory(acl: Acl, size: int) -> Iterator[int]:
    """Allocate `size` bytes on the device; yields the address. Not zeroed."""
    address = acl.get("rt.malloc", size, _HUGE_PAGES_FIRST)
    with acl.releasing("rt.free", address):
        yield address


@contextmanager
def host_memory(acl: Acl, size: int) -> Iterator[NDArray[np.uint8]]:
    """Allocate `size` bytes that the device can copy from and to directly; not zeroed.

    The array must not be touched after the block.
    """
    address = acl.get("rt.malloc_host", size)
    with acl.releasing("rt.free_host", address):
        yield np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


@contextmanager
def dataset(acl: Acl, buffers: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Bundle (address, size) pairs of device memory as the inputs or outputs of a model."""
    handle = acl.make("mdl.create_dataset")
    with ExitStack() as stack:
        stack.enter_context(acl.releasing("mdl.destroy_dataset", handle))
        for address, size in buffers:
            buffer = acl.make("create_data_buffer", address, size)
            stack.enter_context(acl.releasing("destroy_data_buffer", buffer))
            acl.get("mdl.add_dataset_buffer", handle, buffer)
        yield handle


def copy_kinds(acl: Acl) -> tuple[int, int]:
    """Return the kinds of copy to and from the device.

    On a board whose own processor runs this program (run mode 0) all memory is the device's.
    """
    if acl.get("rt.get_run_mode") == _DEVICE_RUN_MODE:
        return DEVICE_TO_DEVICE, DEVICE_TO_DEVICE
    return HOST_TO_DEVICE, DEVICE_TO_HOST
