"""A simulated pyACL, strict where the manuals and sources are, for machines without Ascend.

Conventions, codes and rules follow CANN's public manuals, headers and the open-sourced graph
engine and runtime. Where they are silent this simulator takes the strict reading; such places are
marked "unconfirmed". Undefined behaviour (use after release, races, buffers too short) raises
MisuseError instead of a code. Models are what tests/fakes/atc writes: an ONNX inside an OM, run by
ONNX Runtime.

What the real one refuses, and this one with it (test_fake_acl.py):

    any call before acl.init (100001), a second init (100002), a second finalize (100037)
    a thread without a context (107002), a stream or model of another context (107003)
    a device that is not there (107001), memory of 0 bytes, of an unknown policy (100000), too much
        memory (207001)
    copies of more than the target has, of an unknown kind (100000)
    asynchronous copies off 64-byte boundaries (107008), of host memory that malloc_host did not
        give, from host to host (100000)
    a dataset with too few or too many buffers, an input more than 64 bytes short, an output that is
        short (145000); what counts is the size that the data buffer was made with
    a gear of 0 (100000), one that the model does not have (145013), too small a buffer for it
        (145012), any gear for a static model (100019)
    a file that is missing (145002), truncated or not an OM (145006), for another kind of chip
        (500002), for a whole chip on a part of one (507009)
    work after a fault of the chip: every call on the stream gives the fault's code again
    arguments that are no int, no str; keywords

What is undefined there, and raises here: use after release, in a forked process, of a context that
another thread destroyed; the memory of another device; release before what depends on it, or while
the chip uses it; one model on two streams or twice at once; a result read before it was waited for;
an output that is also an input; an index that the model does not have; finalize with anything alive
or a device still set.

Stricter than the real one: the kind of a copy is compared with the memory (the runtime of 2026
ignores it); set_device alone makes no context. Not simulated: the versions of CANN and of the OM,
the limit of processes, dynamic AIPP.

ACL_FAKE_* variables (see _state.py) and `acl.state` are this simulator's own.
"""

import atexit
import json
import os

from . import mdl, rt, util  # noqa: F401
from ._state import Memory, MisuseError, api, require_int, state  # noqa: F401

SIMULATED = True  # what describes a device says so


@api("code", context=False, init=False)
def init(config=None):
    if config is not None and not isinstance(config, str):
        raise TypeError("the path of the configuration must be str")
    if state.initialised:
        return 100002
    # Unconfirmed: the manual says once per process.
    if state.finalised:
        raise MisuseError("acl.init after acl.finalize")
    state.initialised = True
    return 0


@api("never", context=False, init=False)
def get_soc_name():
    return state.soc


@api("code", context=False, init=False)
def finalize():
    if state.finalised or not state.initialised:
        return 100037
    if left := state.alive(lambda _, __: True):
        raise MisuseError(f"acl.finalize with {left} alive")
    if left := sorted({device for (_, device), count in state.set_devices.items() if count}):
        raise MisuseError(f"acl.finalize before reset_device of {left}")
    state.finalised, state.initialised = True, False
    return 0


class DataBuffer:
    def __init__(self, address, size):
        self.buffer_address, self.size = address, size


@api("handle", context=False)
def create_data_buffer(address, size):
    require_int(address, size)
    if size <= 0:
        return 0
    return state.handle(DataBuffer(address, size))


@api("code", context=False)
def destroy_data_buffer(buffer):
    found = state.take(buffer, DataBuffer)
    state.refuse_race(state.memory_at(found.buffer_address, found.size), "destroy_data_buffer")
    del state.ledger[buffer]
    return 0


@api("never")
def get_data_buffer_addr(buffer):
    return state.take(buffer, DataBuffer).buffer_address


@api("never")
def get_data_buffer_size(buffer):
    return state.take(buffer, DataBuffer).size


def get_recent_err_msg():
    text, state.last_error = state.last_error, ""
    return text


def _report():
    """For programs that ran in a process of their own: what they left behind."""
    if "ACL_FAKE_LEDGER" in os.environ:
        with open(os.environ["ACL_FAKE_LEDGER"], "w") as file:
            json.dump({"left": state.leftovers(), "finalised": state.finalised}, file)


atexit.register(_report)  # registered before the program's own, so it runs after them
