"""A simulated pyACL, strict where the manuals and sources are, for machines without Ascend.

Conventions, codes and rules follow CANN's public manuals, headers and the open-sourced graph
engine and runtime. Where they are silent this simulator takes the strict reading; such places are
marked "unconfirmed". Undefined behaviour (use after release, races, buffers too short) raises
MisuseError instead of a code. Models are what tests/fakes/atc writes: an ONNX inside an OM, run by
ONNX Runtime.

ACL_FAKE_* variables (see _state.py) and `acl.state` are this simulator's own.
"""

import atexit
import json
import os

from . import mdl, rt, util  # noqa: F401
from ._state import Memory, MisuseError, api, require_int, state  # noqa: F401


@api("code", context=False, init=False)
def init(config=None):
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
    state.finalised, state.initialised = True, False
    return 0


class DataBuffer:
    def __init__(self, address, size):
        self.buffer_address, self.size = address, size


@api("handle", context=False)
def create_data_buffer(address, size):
    require_int(address, size)
    return state.handle(DataBuffer(address, size))


@api("code", context=False)
def destroy_data_buffer(buffer):
    state.take(buffer, DataBuffer)
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
