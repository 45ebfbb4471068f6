"""acl.rt: devices, contexts, streams, memory, copies."""

import threading
from dataclasses import dataclass

import numpy as np

from ._state import (
    FAULTS,
    INVALID_DEVICE_ID,
    INVALID_PARAM,
    OUT_OF_MEMORY,
    STREAM_CONTEXT,
    UNALIGNED,
    Context,
    Memory,
    MisuseError,
    Stream,
    aligned_host,
    api,
    host_view,
    require_int,
    state,
)

H2H, H2D, D2H, D2D = range(4)


@api("pair", context=False)
def get_device_count():
    return state.device_count, 0


@api("pair", context=False)
def get_run_mode():
    return state.run_mode, 0


@api("code", context=False)
def set_device(device):
    require_int(device)
    if not 0 <= device < state.device_count:
        return INVALID_DEVICE_ID
    key = threading.get_ident(), device
    state.set_devices[key] = state.set_devices.get(key, 0) + 1
    return 0


@api("code", context=False)
def reset_device(device):
    require_int(device)
    key = threading.get_ident(), device
    if not state.set_devices.get(key):
        raise MisuseError(f"reset_device({device}) without set_device in this thread")
    state.set_devices[key] -= 1
    if not any(count for (_, one), count in state.set_devices.items() if one == device):
        left = state.alive(lambda _, one: getattr(one, "device", None) == device)
        if left:
            raise MisuseError(f"reset_device({device}) with {left} alive")
    return 0


@api("pair", context=False)
def create_context(device):
    require_int(device)
    if not any(count for (_, one), count in state.set_devices.items() if one == device):
        return None, INVALID_DEVICE_ID  # unconfirmed: real ACL opens the device itself
    state.local.context = state.handle(Context(device))
    return state.local.context, 0


@api("code", context=False)
def set_context(context):
    state.take(context, Context)
    state.local.context = context
    return 0


@api("code", context=False)
def destroy_context(context):
    state.take(context, Context)
    left = state.alive(lambda _, one: getattr(one, "context", None) == context)
    if left:
        raise MisuseError(f"destroy_context with {left} alive")
    del state.ledger[context]
    if getattr(state.local, "context", None) == context:
        state.local.context = None
    return 0


@api("pair")
def create_stream():
    return state.handle(Stream(state.context())), 0


@api("code")
def destroy_stream(stream):
    if state.take(stream, Stream).pending:
        raise MisuseError("destroy_stream with work that nobody waited for")
    del state.ledger[stream]
    return 0


@api("code")
def synchronize_stream(stream):
    found = state.take(stream, Stream)
    if found.context != state.context():
        return STREAM_CONTEXT
    pending, found.pending[:] = list(found.pending), []
    codes = []
    for task in pending:
        codes.append(found.broken or task.run())
        if codes[-1] in FAULTS:
            found.broken = codes[-1]
    return found.broken or next((code for code in codes if code), 0)


@api("pair")
def malloc(size, policy):
    require_int(size, policy)
    if size <= 0 or policy not in (0, 1, 2):
        return None, INVALID_PARAM
    device = state.device()
    if state.device_bytes(device) + size > state.memory_limit:
        return None, OUT_OF_MEMORY
    address = state.device_address(size)
    state.ledger[address] = Memory(device, np.full(size, 0xA5, np.uint8), address)
    return address, 0


@api("code")
def free(address):
    found = state.take(address, Memory)
    if found.device is None:
        raise MisuseError("free of host memory")
    state.refuse_race(found, "free")
    if state.alive(lambda _, one: found.address == getattr(one, "buffer_address", None)):
        raise MisuseError("free of memory that a data buffer points to")
    del state.ledger[address]
    return 0


@api("pair")
def malloc_host(size):
    require_int(size)
    if size <= 0:
        return None, INVALID_PARAM
    data = aligned_host(size)
    state.ledger[data.ctypes.data] = Memory(None, data, data.ctypes.data)
    return data.ctypes.data, 0


@api("code")
def free_host(address):
    found = state.take(address, Memory)
    if found.device is not None:
        raise MisuseError("free_host of device memory")
    state.refuse_race(found, "free_host")
    state.ledger.pop(address).data[:] = 0xDD  # whoever still reads it sees rubbish
    return 0


@api("code")
def memcpy(target, room, source, count, kind):
    require_int(target, room, source, count, kind)
    return _copy(target, room, source, count, kind)


@api("code")
def memcpy_async(target, room, source, count, kind, stream):
    require_int(target, room, source, count, kind)
    found = state.take(stream, Stream)
    if found.context != state.context():
        return STREAM_CONTEXT
    if target % 64 or source % 64:
        return UNALIGNED
    host = source if kind == H2D else target
    if kind == H2H or (kind in (H2D, D2H) and state.memory_at(host, count) is None):
        return INVALID_PARAM  # host memory that malloc_host did not give
    if found.broken:
        return found.broken
    return _copy(target, room, source, count, kind, found)


@dataclass
class Copy:
    """A copy in a stream; carried out as late as possible, when the stream is waited for."""

    source: np.ndarray
    target: np.ndarray
    blocks: list

    def run(self):
        self.target[:] = self.source
        return 0


def _copy(target, room, source, count, kind, stream=None):
    if count > room or kind not in (H2H, H2D, D2H, D2D):
        return INVALID_PARAM
    if count == 0:
        return 0
    ends, blocks = [], []
    # On a board where the program runs beside the chip, all memory counts as the device's.
    wanted = {H2H: (False, False), H2D: (False, True), D2H: (True, False), D2D: (True, True)}
    if state.run_mode == 0 and kind != D2D:
        return INVALID_PARAM  # unconfirmed
    for address, on_device in zip((source, target), wanted[kind], strict=True):
        block = state.memory_at(address, count)
        is_device = block is not None and block.device is not None
        if state.run_mode == 1 and is_device != on_device:
            raise MisuseError(f"memcpy of kind {kind} with the wrong kind of memory")
        if is_device and block.device != state.device():
            raise MisuseError("memcpy to the memory of another device")
        if block is not None:
            state.refuse_race(block, "memcpy")
        ends.append(host_view(address, count) if block is None else block.view(address, count))
        blocks.append(block)
    copy = Copy(*ends, blocks)
    if stream is None:
        return copy.run()
    copy.target[:] = 0xFF  # rubbish, until the stream is waited for
    stream.pending.append(copy)
    return 0
