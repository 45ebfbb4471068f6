"""acl.mdl: models, descriptions, datasets, gears, execution."""

import os
import platform
import time
from dataclasses import dataclass, field

import numpy as np

from ._model import NCHW, ND, NHWC, Model, architecture, parse
from ._state import INVALID_PARAM, STREAM_CONTEXT, MisuseError, Stream, api, require_int, state

GEAR_INPUT = "ascend_mbatch_shape_data"
GEAR_BYTES = 64
TOLERANCE = 64  # bytes that an input may be short of


@dataclass
class Description:
    model: Model | None = None


@dataclass
class Dataset:
    buffers: list = field(default_factory=list)


@dataclass
class Task:
    """One run in a stream; carried out as late as possible, when the stream is waited for."""

    model: Model
    inputs: list
    output: object
    gear: tuple
    context: int

    @property
    def blocks(self):
        return [part.block for part in [*self.inputs, self.output]]

    def run(self):
        self.model.running_on = None
        fault = next((one for one in state.faults if one.name == "run"), None)
        if fault is not None:
            fault.seen += 1
            if fault.seen == fault.nth:
                return fault.code
        if state.arithmetic == "hang":
            open(os.environ["ACL_FAKE_HANGING"], "w").close()
            time.sleep(600)
        if state.arithmetic == "none":
            self.output.data[:] = 0
        elif state.arithmetic != "nan":
            image = self.inputs[0].data
            # What a tolerated input lacks is whatever lies behind it in memory.
            rubbish = np.full(max(0, self.model.image_size - image.nbytes), 0xFF, np.uint8)
            image = np.concatenate([image, rubbish]) if rubbish.size else image
            result = self.model.run(image, self.gear, state.arithmetic)
            self.output.data[: result.nbytes] = result
        return 0


@api("pair")
def load_from_file(path):
    if not isinstance(path, str):
        raise TypeError("path must be str")
    model, code = parse(path)
    if code:
        return None, code
    if architecture(model.soc) != architecture(state.soc):
        state.last_error = (
            f"EE1001: The argument is invalid. ModelCheckCompatibility failed, supported "
            f"socVersion={state.soc}, but the model socVersion={model.soc}"
        )
        return None, 500002
    here = (platform.system().lower(), platform.machine())
    if model.host is not None and model.host != here:
        state.last_error = (
            f"E19999: Inner Error! The os/cpu type of the model {model.host} does not match the "
            f"current system {here}."
        )
        return None, 500002  # unconfirmed: the code
    if state.is_part and model.flags.get("virtual_type") != "1":
        return None, 507009
    model.context, model.device = state.context(), state.device()
    return state.handle(model), 0


@api("code")
def unload(model):
    found = state.take(model, Model)
    if found.context != state.context():
        raise MisuseError("a model must be unloaded in the context that loaded it")
    if found.running_on is not None:
        raise MisuseError("unload of a running model")
    if state.alive(lambda _, one: isinstance(one, Description) and one.model is found):
        raise MisuseError("unload before destroy_desc")
    del state.ledger[model]
    return 0


@api("handle")
def create_desc():
    return state.handle(Description())


@api("code")
def destroy_desc(description):
    state.take(description, Description)
    del state.ledger[description]
    return 0


@api("code")
def get_desc(description, model):
    state.take(description, Description).model = state.take(model, Model)
    return 0


def _model(description):
    return state.take(description, Description).model


def _inputs(model):
    return [model.name] if model.kind == "static" else [model.name, GEAR_INPUT]


def _nth(values, index):
    require_int(index)
    if not 0 <= index < len(values):
        raise MisuseError(f"the model has no input or output {index}")
    return values[index]


@api("never")
def get_num_inputs(description):
    return 1 if _model(description).kind == "static" else 2


@api("never")
def get_num_outputs(description):
    _model(description)
    return 1


@api("never")
def get_input_name_by_index(description, index):
    return _nth(_inputs(_model(description)), index)


@api("never")
def get_output_name_by_index(description, index):
    _model(description)
    return _nth(["Sub_40:0:denoised"], index)


@api("pair")
def get_input_index_by_name(description, name):
    names = _inputs(_model(description))
    return (names.index(name), 0) if name in names else (None, INVALID_PARAM)


@api("never")
def get_input_size_by_index(description, index):
    model = _model(description)
    return _nth([model.image_size, GEAR_BYTES][: len(_inputs(model))], index)


@api("never")
def get_output_size_by_index(description, index):
    return _nth([_model(description).output_size], index)


@api("never")
def get_input_data_type(description, index):
    model = _model(description)
    return _nth([model.input_type, 3][: len(_inputs(model))], index)


@api("never")
def get_output_data_type(description, index):
    return _nth([_model(description).output_type], index)


@api("never")
def get_input_format(description, index):
    model = _model(description)
    image = NHWC if model.aipp else ND if model.kind == "dims" else NCHW
    return _nth([image, ND][: len(_inputs(model))], index)


@api("pair")
def get_input_dims(description, index):
    model = _model(description)
    _nth(_inputs(model), index)
    if index != 0:
        return {"name": GEAR_INPUT, "dimCount": 1, "dims": [4]}, 0
    n, c, h, w = model.shape
    dims = [n, h, w, c] if model.aipp else [n, c, h, w]
    return {"name": model.name, "dimCount": 4, "dims": dims}, 0


@api("pair")
def get_output_dims(description, index):
    model = _model(description)
    _nth([0], index)
    n, h, w = model.largest
    return {"name": "denoised", "dimCount": 4, "dims": [n, model.channels, h, w]}, 0


@api("pair")
def get_dynamic_batch(description):
    model = _model(description)
    batches = [gear[0] for gear in model.gears] if model.kind == "batch" else []
    return {"batchCount": len(batches), "batch": batches}, 0


@api("pair")
def get_dynamic_hw(description, index):
    if index != -1:
        return None, INVALID_PARAM
    model = _model(description)
    sizes = [list(gear[1:]) for gear in model.gears] if model.kind == "size" else []
    return {"hwCount": len(sizes), "hw": sizes}, 0


@api("pair")
def get_input_dynamic_gear_count(description, index):
    if index != -1:
        return None, INVALID_PARAM
    model = _model(description)
    return (len(model.gears) if model.kind == "dims" else 0), 0


@api("pair")
def get_input_dynamic_dims(description, index, count):
    model = _model(description)
    if index != -1 or model.kind != "dims" or count != len(model.gears):
        return None, INVALID_PARAM
    rows = [[n, model.channels, h, w] for n, h, w in model.gears]
    return [{"name": model.name, "dimCount": 4, "dims": row} for row in rows], 0


@api("handle", context=False)
def create_dataset():
    return state.handle(Dataset())


@api("code", context=False)
def destroy_dataset(dataset):
    buffers = state.take(dataset, Dataset).buffers
    if state.alive(lambda handle, _: handle in buffers):
        raise MisuseError("destroy_dataset before its buffers")
    del state.ledger[dataset]
    return 0


@api("pair", context=False)
def add_dataset_buffer(dataset, buffer):
    from . import DataBuffer

    state.take(buffer, DataBuffer)
    state.take(dataset, Dataset).buffers.append(buffer)
    return dataset, 0


@api("code")
def set_dynamic_batch_size(model, dataset, index, batch):
    require_int(batch)
    found = state.take(model, Model)
    return _set_gear(found, dataset, index, "batch", (batch, *found.largest[1:]))


@api("code")
def set_dynamic_hw_size(model, dataset, index, height, width):
    require_int(height, width)
    found = state.take(model, Model)
    return _set_gear(found, dataset, index, "size", (found.largest[0], height, width))


@api("code")
def set_input_dynamic_dims(model, dataset, index, dims):
    if not isinstance(dims, dict) or not {"name", "dimCount", "dims"} <= dims.keys():
        raise TypeError("dims must be a dict with name, dimCount and dims")
    values = dims["dims"]
    require_int(dims["dimCount"], *values)
    found = state.take(model, Model)
    if dims["dimCount"] != len(values) or len(values) != 4 or values[1] != found.channels:
        return INVALID_PARAM
    return _set_gear(found, dataset, index, "dims", (values[0], values[2], values[3]))


def _set_gear(model, dataset, index, kind, gear):
    require_int(index)
    if model.kind == "static":
        return 100019
    if model.kind != kind or index != 1 or 0 in gear:
        return INVALID_PARAM
    if gear not in model.gears:
        return 145013
    parts = _parts(dataset)
    if len(parts) != 2:
        return 145011
    if parts[1].data.nbytes < GEAR_BYTES:
        return 145012
    state.refuse_race(parts[1].block, "change of the gear")
    model.write_gear(parts[1].data, gear)
    return 0


@dataclass
class Part:
    """A data buffer of a dataset: the bytes that it was made for, and the memory they lie in."""

    data: object
    block: object


def _parts(dataset):
    from . import DataBuffer

    parts = []
    for handle in state.take(dataset, Dataset).buffers:
        buffer = state.take(handle, DataBuffer)
        block = state.memory_at(buffer.buffer_address, buffer.size)
        if block is None or block.device is None:
            raise MisuseError("a model was given host memory")
        if block.device != state.device():
            raise MisuseError("a model was given the memory of another device")
        parts.append(Part(block.view(buffer.buffer_address, buffer.size), block))
    return parts


def _prepare(model, inputs, outputs):
    found = state.take(model, Model)
    if found.context != state.context():
        return None, STREAM_CONTEXT  # unconfirmed code; the manual demands one context
    given, made = _parts(inputs), _parts(outputs)
    if len(given) != (1 if found.kind == "static" else 2) or len(made) != 1:
        return None, 145000
    if any(part.block is made[0].block for part in given):
        raise MisuseError("the output of a model lies in the memory of its input")
    if given[0].data.nbytes + TOLERANCE < found.image_size:
        state.last_error = (
            f"E13025: Input tensor is invalid. Reason: The input memory size set by the user is "
            f"invalid.The provided {given[0].data.nbytes} bytes of buffer size plus the aligned 64 "
            f"bytes is less than the tensor size {found.image_size} bytes required by the model."
        )
        return None, 145000
    if made[0].data.nbytes < found.output_size:
        return None, 145000
    gear = found.largest if found.kind == "static" else found.read_gear(given[1].data)
    return Task(found, given, made[0], gear, state.context()), 0


@api("code")
def execute(model, inputs, outputs):
    task, code = _prepare(model, inputs, outputs)
    if code:
        return code
    if task.model.running_on is not None:
        raise MisuseError("one model runs twice at once")
    for block in task.blocks:
        state.refuse_race(block, "execute")
    return task.run()


@api("code")
def execute_async(model, inputs, outputs, stream):
    queue = state.take(stream, Stream)
    if queue.context != state.context():
        return STREAM_CONTEXT
    if queue.broken:
        return queue.broken
    task, code = _prepare(model, inputs, outputs)
    if code:
        return code
    if task.model.running_on not in (None, stream):
        raise MisuseError("one model runs on two streams at once")
    task.model.running_on = stream
    task.output.data[:] = 0xFF  # not a number, until the stream is waited for
    queue.pending.append(task)
    return 0
