"""A simulated torch_npu: the device `npu` in PyTorch, computed by the CPU.

Importing it registers the device, as the real package does. Tensors on it are opaque to NumPy and
do not mix with the CPU's; operators come one by one through PyTorch's dispatcher. Not simulated:
HCCL, streams, memory, the chip's arithmetic. As on the device, only contiguous_format and
preserve_format can be asked for, and what comes from the CPU arrives contiguous (the real package
words the refusals of `contiguous` and `empty` a little differently).

What the real one refuses, and this one with it (test_torch_npu.py):

    loading without CANN's libraries, or beside a CUDA build of torch that sees a GPU
    channels_last, however it is asked for
    work in a thread that has not set its device (107002; LlamaFactory#2385)
    a device that is not there (107001)
    work in a forked child
    the chips 310 and 310B: "Unsupported SOC version" (Ascend/pytorch#57)
    bfloat16 on chips whose matrix unit lacks it (unconfirmed how); autocast only warns there
    a generator of the CPU to fill a tensor on the device
    what fused optimisers do not know: see `optim`
    NumPy arrays of tensors on the device; operators on tensors of two devices
    torch.compile with inductor, which needs Triton-Ascend; `torchair` is not part of this package

Stricter than the real one: the first thread must be the one that imports it, or set its device.
Not simulated: set_option, autoload, its check of versions, a generator of the device with tensors
of the CPU.

Variables of its own:

    TORCH_NPU_FAKE_DEVICES    how many devices there are (1)
    TORCH_NPU_FAKE_SOC        what chip they are (Ascend910B3)
    TORCH_NPU_FAKE_NO_CANN    fail as the real package does when CANN's libraries are not found
"""

import os
import re
import threading

if "TORCH_NPU_FAKE_NO_CANN" in os.environ:
    raise ImportError("libhccl.so: cannot open shared object file: No such file or directory")

import torch

if torch.cuda.is_available():
    raise RuntimeError(
        "Two accelerators cannot be used at the same time in PyTorch: npu and cuda. Please check "
        "the torch version, it should be the CPU build."
    )

import torch.utils.backend_registration as registration
from torch.utils._pytree import tree_leaves, tree_map

SIMULATED = True  # what describes a device says so

DEVICES = int(os.environ.get("TORCH_NPU_FAKE_DEVICES", "1"))
SOC = os.environ.get("TORCH_NPU_FAKE_SOC", "Ascend910B3")
HAS_BF16 = not re.fullmatch(r"Ascend310(P\d)?|Ascend910(A|B|ProA|ProB|PremiumA)", SOC)
_process = os.getpid()
_device_of = threading.local()
_device_of.index = 0
_values = {}  # storage -> (storage, kept alive; CPU tensor)
_REFUSED = (torch.channels_last, torch.channels_last_3d)
_QUESTIONS = (torch.Tensor.is_contiguous,)


class _Settings:
    def __init__(self, allow_hf32):
        self.allow_hf32 = allow_hf32


class _Npu(registration._DummyBackendModule):
    """torch.npu"""

    conv, matmul = _Settings(allow_hf32=True), _Settings(allow_hf32=False)  # its defaults
    jit_compile = True

    def is_available(self):
        return DEVICES > 0

    def device_count(self):
        return DEVICES

    def set_compile_mode(self, jit_compile):
        self.jit_compile = jit_compile

    def synchronize(self, device=None):
        pass

    def get_device_name(self, device=None):
        _check_index(torch.device(device).index if device is not None else 0)
        return SOC

    def set_device(self, device):
        _refuse_chip()
        index = device if isinstance(device, int) else torch.device(device).index
        _check_index(index)
        _device_of.index = index or 0

    def current_device(self):
        _refuse_thread()
        return _device_of.index

    def get_amp_supported_dtype(self):
        return [torch.float16, torch.bfloat16] if HAS_BF16 else [torch.float16]


def _check_index(index):
    if (index or 0) >= DEVICES:
        raise RuntimeError(f"Invalid device ID npu:{index}; there are {DEVICES} (107001)")


def _refuse_chip():
    if re.fullmatch(r"Ascend310(B\d)?", SOC):
        raise RuntimeError(f"Unsupported SOC version: {SOC}")


def _refuse_thread():
    _refuse_chip()
    if os.getpid() != _process:
        raise RuntimeError(
            "Cannot re-initialize NPU in forked subprocess. To use NPU with multiprocessing, you "
            "must use the 'spawn' start method"
        )
    # The threads of autograd's engine are no threads of Python's; they set their device themselves.
    if type(threading.current_thread()) is threading._DummyThread:
        return
    if not hasattr(_device_of, "index"):
        raise RuntimeError(
            "107002: The context is empty. Check whether acl.rt.set_context or acl.rt.set_device "
            "is called."
        )


class _Generator(torch.Generator):
    """Random numbers of a device: the CPU's, which on a device are others."""

    def __new__(cls, device="cpu"):
        place = torch.device(device)
        if place.type == "npu":
            _refuse_thread()
            _check_index(place.index)
            place = torch.device("npu", place.index or 0)
        made = super().__new__(cls, "cpu" if place.type == "npu" else place)
        made.place = place
        return made

    def __init__(self, device="cpu"):
        pass  # torch's takes its argument when it is made

    @property
    def device(self):
        return self.place


def _refuse_generators(*given):
    for one in tree_leaves(given):
        if isinstance(one, _KINDS_OF_GENERATOR) and one.device.type != "npu":
            raise RuntimeError(
                f"Expected a 'npu' device type for generator but found '{one.device.type}'"
            )


_KINDS_OF_GENERATOR = torch.Generator


class _Hook(registration._DummyPrivateUse1Hook):
    def is_available(self):
        return DEVICES > 0

    def is_built(self):
        return True

    def has_primary_context(self, index):
        return index < DEVICES


class _Guard(registration._DummyDeviceGuard):
    def device_count(self):
        return DEVICES


class NpuTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        # Here, not in the dispatcher: what has one channel is returned before it gets there.
        if function not in _QUESTIONS:
            _refuse_formats(arguments, options)
        _refuse_generators(arguments, options)
        return _plain(super().__torch_function__(function, types, arguments, options or {}))

    @staticmethod
    def of(value):
        result = torch._C._acc.create_empty_tensor(value.shape, value.dtype)
        result.__class__ = NpuTensor
        storage = result.untyped_storage()
        _values[storage._cdata] = storage, value
        return result

    def numpy(self, *arguments, **options):
        if self.device.type == "cpu":
            return torch.Tensor.numpy(self.as_subclass(torch.Tensor), *arguments, **options)
        raise TypeError("can't convert npu:0 device type tensor to numpy. Use Tensor.cpu() first.")


def _plain(result):
    """What has come to the CPU is a tensor as any other; only the device's have a class of ours."""
    if not isinstance(result, (torch.Tensor, tuple, list)):
        return result
    with torch._C.DisableTorchFunctionSubclass():
        return tree_map(
            lambda one: (
                one.as_subclass(torch.Tensor)
                if isinstance(one, NpuTensor) and one.device.type == "cpu"
                else one
            ),
            result,
        )


def _refuse_formats(*given):
    if any(one is refused for one in tree_leaves(given) for refused in _REFUSED):
        raise RuntimeError("Only contiguous_format or preserve_format is supported.")


def _is_ours(one):
    # Not by its class: autograd hands some over as plain tensors.
    return isinstance(one, torch.Tensor) and one.device.type == "npu"


def _value(one):
    with torch._C.DisableTorchFunctionSubclass():
        return _values[one.untyped_storage()._cdata][1]


def _inside(one):
    if _is_ours(one):
        return _value(one)
    if isinstance(one, torch.device) and one.type == "npu":
        _check_index(one.index)
        return torch.device("cpu")
    return one


def _run(operator, *arguments, **options):
    _refuse_formats(arguments, options)
    _refuse_thread()
    if not HAS_BF16 and any(
        one is torch.bfloat16 or (isinstance(one, torch.Tensor) and one.dtype is torch.bfloat16)
        for one in tree_leaves((arguments, options))
    ):
        raise RuntimeError(f"{operator}: bfloat16 is not supported on {SOC}")
    if operator is torch.ops.aten.empty_strided.default:  # a copy of what is on the CPU
        operator, arguments = torch.ops.aten.empty.memory_format, arguments[:1]
    if (
        any(
            type(one) in (torch.Tensor, torch.nn.Parameter)
            and one.device.type == "cpu"
            and one.dim()
            for one in tree_leaves(arguments)
        )
        and operator is not torch.ops.aten._copy_from.default
    ):
        raise RuntimeError("Expected all tensors to be on the same device, npu:0 and cpu")
    given = [one for one in tree_leaves((arguments, options)) if _is_ours(one)]
    inner, named = tree_map(_inside, (arguments, options))
    if operator is torch.ops.aten._copy_from.default:
        inner[1].copy_(inner[0])
        return arguments[1]
    result = operator(*inner, **named)

    def outside(one):
        if not isinstance(one, torch.Tensor):
            return one
        same = [tensor for tensor in given if _value(tensor) is one]
        return same[0] if same else NpuTensor.of(one)

    return tree_map(outside, result)


def _mse_loss(*arguments):  # PyTorch's own way resizes, which shapes do not follow here
    return _run(torch.ops.aten.mse_loss.default, *arguments)


def _convolution(*arguments):
    return _run(torch.ops.aten.convolution.default, *arguments)


def _convolution_backward(gradient, image, weight, stride, padding, dilation, *rest):
    transposed, output_padding, groups, wanted = rest
    return _run(
        torch.ops.aten.convolution_backward.default, gradient, image, weight, [weight.shape[0]],
        stride, padding, dilation, transposed, output_padding, groups, wanted,
    )  # fmt: skip


def _autocast(operator, dtype):
    """An operator under autocast: its floating-point tensors become `dtype` (None: that asked for).

    The lists are those of CUDA, which torch_npu's autocast_mode.cpp repeats; here, what ADNet uses.
    """

    def kernel(*arguments, **options):
        wanted = dtype or torch.get_autocast_dtype("npu")
        given = tree_map(
            lambda one: one.to(wanted) if _is_ours(one) and one.is_floating_point() else one,
            (arguments, options),
        )
        with torch.autocast("npu", enabled=False):
            return operator(*given[0], **given[1])

    return kernel


_torch_compile = torch.compile


def _compile(model=None, *, backend="inductor", **options):
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else ()
    if backend == "inductor" and any(_is_ours(one) for one in parameters):
        raise RuntimeError("inductor has no code generator for npu: Triton-Ascend is not installed")
    return _torch_compile(model, backend=backend, **options)


torch.compile = _compile
torch.Generator = _Generator
npu = _Npu()
registration._setup_privateuseone_for_python_backend("npu", npu, _Hook(), _Guard())
_library = torch.library.Library("_", "IMPL")
_library.fallback(_run, "PrivateUse1")
_operators = torch.library.Library("aten", "IMPL")
_operators.impl("mse_loss", _mse_loss, "PrivateUse1")
_operators.impl("convolution_overrideable", _convolution, "PrivateUse1")
_operators.impl("convolution_backward_overrideable", _convolution_backward, "PrivateUse1")
_library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
for _name, _dtype in (
    ("conv2d", None), ("matmul", None), ("mm", None), ("bmm", None), ("addmm", None),
    ("linear", None), ("mse_loss", torch.float32),
):  # fmt: skip
    _operator = getattr(torch.ops.aten, _name).default
    _operators.impl(_name, _autocast(_operator, _dtype), "AutocastPrivateUse1")
