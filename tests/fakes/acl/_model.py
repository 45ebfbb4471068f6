"""A loaded OM: what it takes, and its arithmetic, by ONNX Runtime."""

import ctypes
import os
import re
import struct
from pathlib import Path
from weakref import WeakSet

import numpy as np

MAGIC = b"IMOD"
ARCHITECTURES = (  # NpuArch by name; the 2026 runtime compares these when it loads a model
    (r"Ascend310P\d", 2002), (r"Ascend310B\d", 3002), (r"Ascend910B\d.*|Ascend910_9\d+", 2201),
    (r"Ascend910(A|B|Pro[AB]|PremiumA)", 1001),
)  # fmt: skip
SATURATING = (2002, 1001)  # unconfirmed: torch_npu leaves these out of its INF/NaN mode
FLOAT, FLOAT16, UINT8 = 0, 1, 4
NCHW, NHWC, ND = 0, 1, 2
_GEAR_MARK = 0x6765_6172
HALF_MODES = (None, "fp16", "force_fp16")
_sessions = WeakSet()


def _keep_sessions():
    """The real driver has no objects that wait for threads when a forked child ends."""
    for session in list(_sessions):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


os.register_at_fork(after_in_child=_keep_sessions)


def architecture(soc):
    return next((arch for name, arch in ARCHITECTURES if re.fullmatch(name, soc)), None)


def parse(path):
    """Return (Model, code): codes as the loader gives them."""
    path = Path(path)
    if not path.is_file():
        return None, 145002
    content = path.read_bytes()
    if len(content) < 256 or content[:4] != MAGIC:
        return None, 145006
    (length,) = struct.unpack_from("<Q", content, 184)
    header_size, _ = struct.unpack_from("<II", content, 4)
    if length != len(content) - 256 or header_size != 256:
        return None, 145006
    count, _ = struct.unpack_from("<II", content, 256)
    parts, end = {}, 264 + 24 * count
    for index in range(count):
        kind, _, offset, size = struct.unpack_from("<IIQQ", content, 264 + 24 * index)
        start = 264 + 24 * count + offset
        parts[kind] = content[start : start + size]
        end = max(end, start + size)
    if end != len(content) or not {0, 1, 2} <= parts.keys():
        return None, 145006  # "do not get the complete model"
    model = Model(parts)
    if content[192]:
        model.host = tuple(_attribute(parts[0], key) if key in parts[0] else ""
                           for key in (b"host_env_os", b"host_env_cpu"))  # fmt: skip
    return model, 0


class Model:
    def __init__(self, parts):
        self.soc = _attribute(parts[0], b"soc_version")
        command = _attribute(parts[0], b"atc_cmdline")
        self.flags = dict(
            word[2:].split("=", 1) for word in command.split()[1:] if word.startswith("--")
        )
        name, _, numbers = self.flags["input_shape"].rpartition(":")
        self.name, self.shape = name, [int(number) for number in numbers.split(",")]
        self.aipp = _aipp(parts[2].rstrip(b"\0").decode())
        self.kind, self.gears = self._read_gears()
        self.onnx = parts[1]
        self.input_type = FLOAT16 if "input_fp16_nodes" in self.flags else FLOAT
        self.output_type = FLOAT16 if self.flags.get("output_type") == "FP16" else FLOAT
        if self.aipp:
            self.input_type = UINT8
        self.host = None  # (system, processor) that it is bound to, by its header
        self.context = self.device = None
        self.running_on = None  # the stream with work of this model
        self._session = None

    def _read_gears(self):
        n, _, h, w = self.shape
        if "dynamic_batch_size" in self.flags:
            values = [int(one) for one in self.flags["dynamic_batch_size"].split(",") if one]
            return "batch", [(one, h, w) for one in values]
        if "dynamic_image_size" in self.flags:
            pairs = self.flags["dynamic_image_size"].split(";")
            return "size", [(n, *map(int, pair.split(","))) for pair in pairs]
        if "dynamic_dims" in self.flags:
            shapes = []
            for row in self.flags["dynamic_dims"].split(";"):
                values = iter(map(int, row.split(",")))
                full = [next(values) if dim == -1 else dim for dim in self.shape]
                shapes.append((full[0], full[2], full[3]))
            return "dims", shapes
        return "static", [(n, h, w)]

    @property
    def channels(self):
        return self.shape[1]

    @property
    def largest(self):
        return max(self.gears, key=lambda gear: gear[0] * gear[1] * gear[2])

    @property
    def image_size(self):
        n, h, w = self.largest
        return n * h * w * self.channels * {FLOAT: 4, FLOAT16: 2, UINT8: 1}[self.input_type]

    @property
    def output_size(self):
        n, h, w = self.largest
        return n * h * w * self.channels * (2 if self.output_type == FLOAT16 else 4)

    def write_gear(self, memory, gear):
        memory[:16].view(np.int32)[:] = [_GEAR_MARK, *gear]

    def read_gear(self, memory):
        """The gear that was set; without one the largest runs."""
        mark, *gear = memory[:16].view(np.int32).tolist()
        return tuple(gear) if mark == _GEAR_MARK else self.largest

    def run(self, image, gear, arithmetic):
        """Return the output's bytes for the bytes of an image."""
        n, h, w = gear
        if self.aipp:
            pixels = image[: n * h * w * self.channels].reshape(n, h, w, self.channels)
            half = np.float16
            offset = half(self.aipp["mean"]) + half(self.aipp["min"])
            scaled = (pixels.astype(half) - offset) * half(self.aipp["var_reci"])
            batch = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)
        else:
            dtype = np.dtype(np.float16 if self.input_type == FLOAT16 else np.float32)
            count = n * self.channels * h * w * dtype.itemsize
            batch = image[:count].view(dtype).reshape(n, self.channels, h, w).astype(np.float32)
        if arithmetic == "auto":
            mode = self.flags.get("precision_mode_v2", self.flags.get("precision_mode"))
            half = "saturating" if architecture(self.soc) in SATURATING else "fp16"
            arithmetic = half if mode in HALF_MODES else "fp32"
        (result,) = self._open(arithmetic).run(None, {self.name: batch})
        dtype = np.float16 if self.output_type == FLOAT16 else np.float32
        return np.ascontiguousarray(result.astype(dtype)).view(np.uint8).reshape(-1)

    def _open(self, arithmetic):
        if self._session is None:
            import onnx
            import onnxruntime as ort

            model = onnx.load_from_string(self.onnx)
            for value in [*model.graph.input, *model.graph.output]:
                for index in (0, 2, 3):  # ATC puts its own sizes in place of the file's
                    value.type.tensor_type.shape.dim[index].dim_param = f"d{index}"
            if arithmetic in ("fp16", "saturating"):
                _round_to_half(model, saturating=arithmetic == "saturating")
            options = ort.SessionOptions()
            options.log_severity_level = 3
            self._session = ort.InferenceSession(model.SerializeToString(), options,
                                                 providers=["CPUExecutionProvider"])  # fmt: skip
            _sessions.add(self._session)
        return self._session


def _round_to_half(model, saturating):
    """Weights, the input and every result are rounded to float16; sums are kept in float32.

    What is too large becomes inf or, saturating, the largest number.

    That is the cube unit's f32f16f16 mode. Unconfirmed: which results a chip really keeps in
    float32 between fused layers.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            rounded = values.astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    outputs = {value.name for value in graph.output}
    nodes = []

    limits = [numpy_helper.from_array(np.float32(one), f"limit_{one}") for one in (-65504, 65504)]
    if saturating:
        graph.initializer.extend(limits)

    def rounding(source, target):
        if saturating:
            clip = [source, *(limit.name for limit in limits)]
            nodes.append(helper.make_node("Clip", clip, [target + "_clipped"]))
            source = target + "_clipped"
        nodes.append(helper.make_node("Cast", [source], [target + "_half"], to=TensorProto.FLOAT16))
        nodes.append(helper.make_node("Cast", [target + "_half"], [target], to=TensorProto.FLOAT))

    image = graph.input[0].name
    rounding(image, image + "_rounded")
    for node in list(graph.node):
        for index, name in enumerate(node.input):
            if name == image:
                node.input[index] = image + "_rounded"
        nodes.append(node)
        if node.op_type == "QuantizeLinear":  # its result has 8 bits
            continue
        for index, name in enumerate(node.output):
            raw = name + "_raw"
            node.output[index] = raw
            rounding(raw, name)
    assert outputs
    del graph.node[:]
    graph.node.extend(nodes)


def _attribute(definition, key):
    at = definition.index(b"\x0a" + bytes([len(key)]) + key) + 2 + len(key)

    def field(position):
        assert definition[position] == 0x12
        length = shift = 0
        position += 1
        while True:
            byte = definition[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return position, length

    start, length = field(field(at)[0])
    return definition[start : start + length].decode()


def _aipp(text):
    """The first channel's constants; None without AIPP. All channels have the same here."""
    if not text:
        return None
    return {
        kind: float(re.search(rf"\b{kind}_chn_0: (\S+)", text)[1])
        for kind in ("mean", "min", "var_reci")
    }
