"""What the simulated driver remembers: every resource, every thread's context, planned faults."""

import ctypes
import functools
import os
import threading
from dataclasses import dataclass, field

import numpy as np

INVALID_PARAM, UNINITIALIZE = 100000, 100001
INVALID_DEVICE_ID, CONTEXT_NULL, STREAM_CONTEXT = 107001, 107002, 107003
UNALIGNED, INVALID_HANDLE, OUT_OF_MEMORY = 107008, 107017, 207001


RELEASES = (
    "rt.free", "rt.free_host", "destroy_data_buffer", "mdl.destroy_dataset", "mdl.destroy_desc",
    "mdl.unload", "rt.destroy_stream", "rt.destroy_context", "rt.reset_device",
)  # fmt: skip
FAULTS = (  # of the chip; 507011 and the like end one run alone
    507010, 507013, 507014, 507015, 507018, 507034, 507035, 507036, 507046, 507048, 507049, 507050,
    507053, 507054,
)  # fmt: skip
NO_CONTEXT = (
    "The context is empty. Check whether acl.rt.set_context or acl.rt.set_device is called."
)


class MisuseError(AssertionError):
    """Behaviour that real ACL leaves undefined: use after release, races, wrong order."""


@dataclass
class Context:
    device: int


@dataclass
class Stream:
    context: int
    pending: list = field(default_factory=list)
    broken: int = 0  # the code of the fault after which the chip does nothing more


@dataclass(eq=False)
class Memory:
    device: int | None  # None: host
    data: np.ndarray
    address: int

    def covers(self, address, count):
        return self.address <= address and address + count <= self.address + self.data.nbytes

    def view(self, address, count):
        start = address - self.address
        return self.data[start : start + count]


class State:
    def __init__(self):
        self.lock = threading.RLock()
        self.local = threading.local()
        self.ledger = {}  # handle -> resource; what is left in it has leaked
        self.process = os.getpid()
        self.initialised = self.finalised = False
        self.device_count = int(os.environ.get("ACL_FAKE_DEVICES", "1"))
        self.run_mode = int(os.environ.get("ACL_FAKE_RUN_MODE", "1"))  # 1: host
        self.soc = os.environ.get("ACL_FAKE_SOC", "Ascend310P3")
        self.is_part = "ACL_FAKE_VNPU" in os.environ  # the device is a part of a chip
        self.memory_limit = int(os.environ.get("ACL_FAKE_MEMORY", str(20 << 30)))
        # auto: by the OM's precision mode and chip; fp32; fp16; saturating: fp16 without inf;
        # none: zeros; nan: not a number;
        # hang: never end, after making the file ACL_FAKE_HANGING
        self.arithmetic = os.environ.get("ACL_FAKE_ARITHMETIC", "auto")
        self.trace = []  # (name, thread) of every call
        self.faults = []
        self.refused = set()  # handles whose release was made to fail: they may stay
        if "ACL_FAKE_FAULT" in os.environ:
            name, nth, code = os.environ["ACL_FAKE_FAULT"].split(":")
            self.faults.append(Fault(name, int(nth), int(code)))
        self.last_error = ""
        self._next = 0x1000
        self._next_address = 0x12_0000_0000
        self.set_devices = {}  # (thread, device) -> how often set

    def handle(self, resource):
        self._next += 0x10
        self.ledger[self._next] = resource
        return self._next

    def take(self, handle, kind):
        """The resource of a live handle; anything else is a use after release."""
        require_int(handle)
        found = self.ledger.get(handle)
        if not isinstance(found, kind):
            raise MisuseError(f"{handle:#x} is no live {kind.__name__}, but {found!r}")
        return found

    def context(self):
        """The calling thread's context handle, or None."""
        handle = getattr(self.local, "context", None)
        if handle is not None and handle not in self.ledger:
            raise MisuseError("the thread's context was destroyed by another thread")
        return handle

    def device(self):
        return self.ledger[self.context()].device

    def device_address(self, size):
        address = self._next_address
        self._next_address += (size + 32 + 4095) // 4096 * 4096 + 4096  # a gap after each
        return address

    def memory_at(self, address, count):
        """The block of an address; None for host memory that is not ACL's."""
        for one in self.ledger.values():
            if isinstance(one, Memory) and one.address <= address < one.address + one.data.nbytes:
                if not one.covers(address, count):
                    raise MisuseError(f"{count} bytes at {address:#x} reach beyond their block")
                return one
        if 0x12_0000_0000 <= address < self._next_address:
            raise MisuseError(f"{address:#x} is device memory that was freed, or never allocated")
        return None

    def refuse_race(self, block, what):
        """Memory that the chip still works on must be left alone."""
        for one in self.ledger.values():
            if isinstance(one, Stream) and any(block in task.blocks for task in one.pending):
                raise MisuseError(f"{what} of memory that a running model or copy uses")

    def device_bytes(self, device):
        return sum(
            one.data.nbytes
            for one in self.ledger.values()
            if isinstance(one, Memory) and one.device == device
        )

    def alive(self, condition):
        """Resources that meet a condition, but for those that could not be released."""
        return [one for handle, one in self.ledger.items()
                if handle not in self.refused and condition(handle, one)]  # fmt: skip

    def leftovers(self):
        return sorted(type(one).__name__ for one in self.ledger.values())


@dataclass
class Fault:
    """Fail the nth call, of a function or of all that can fail."""

    name: str | None
    nth: int
    code: int
    seen: int = 0


state = State()


def require_int(*values):
    for value in values:
        if type(value) is not int:
            raise TypeError(f"expected an int, got {type(value).__name__}")


def api(failure="code", *, context=True, init=True):
    """Wrap a function: count it, check thread and process, fail it where planned.

    Args:
        failure: what a failing call returns: "code", "pair" (None, code), "handle" (0), or
            "never" for functions that cannot fail.
    """

    def decorate(function):
        package = function.__module__.rpartition(".")[2]
        name = function.__name__ if package == "acl" else f"{package}.{function.__name__}"

        def failed(code, text):
            state.last_error = text
            return {"code": code, "pair": (None, code), "handle": 0}[failure]

        @functools.wraps(function)
        def call(*arguments):
            with state.lock:
                if os.getpid() != state.process:
                    raise MisuseError("ACL used in a forked process")
                state.trace.append((name, threading.current_thread().name))
                if init and not state.initialised and failure == "never":
                    raise MisuseError(f"{name} before acl.init")
                if failure != "never":
                    fault = planned_fault(name)
                    if fault is not None:
                        if name in RELEASES:
                            state.refused.add(arguments[0])
                        return failed(fault.code, "EL9999: planned by the test")
                    if init and not state.initialised:
                        return failed(UNINITIALIZE, "")
                    if context and state.context() is None:
                        return failed(CONTEXT_NULL, NO_CONTEXT)
                return function(*arguments)

        call.failure = failure
        return call

    return decorate


def planned_fault(name):
    """The fault that hits this call, if any."""
    hit = None
    for fault in state.faults:
        if fault.name in (None, name):
            fault.seen += 1
            if fault.seen == fault.nth:
                hit = fault
    return hit


def aligned_host(size):
    """Host memory on a 64-byte boundary, filled with rubbish, as malloc gives it."""
    whole = np.full(size + 64, 0xA5, np.uint8)
    skip = -whole.ctypes.data % 64
    return whole[skip : skip + size]


def host_view(address, count):
    return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address))
