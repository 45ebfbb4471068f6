"""A simulated torch_npu: the device `npu` in PyTorch, computed by the CPU.

Importing it registers the device, as the real package does. Tensors on it are opaque to NumPy and
do not mix with the CPU's; operators come one by one through PyTorch's dispatcher. Not simulated:
HCCL, streams, memory, the chip's arithmetic. As on the device, only contiguous_format and
preserve_format can be asked for, and what comes from the CPU arrives contiguous (the real package
words the refusals of `contiguous` and `empty` a little differently). Variables of its own:

    TORCH_NPU_FAKE_DEVICES    how many devices there are (1)
    TORCH_NPU_FAKE_NO_CANN    fail as the real package does when CANN's libraries are not found
"""

import os

if "TORCH_NPU_FAKE_NO_CANN" in os.environ:
    raise ImportError("libhccl.so: cannot open shared object file: No such file or directory")

import torch
import torch.utils.backend_registration as registration
from torch.utils._pytree import tree_leaves, tree_map

DEVICES = int(os.environ.get("TORCH_NPU_FAKE_DEVICES", "1"))
_values = {}  # storage -> (storage, kept alive; CPU tensor)
_REFUSED = (torch.channels_last, torch.channels_last_3d)
_QUESTIONS = (torch.Tensor.is_contiguous,)


class _Settings:
    allow_hf32 = True  # the default of convolutions on an Atlas A2


class _Npu(registration._DummyBackendModule):
    """torch.npu"""

    conv, matmul = _Settings(), _Settings()
    jit_compile = True

    def is_available(self):
        return DEVICES > 0

    def device_count(self):
        return DEVICES

    def set_compile_mode(self, jit_compile):
        self.jit_compile = jit_compile

    def synchronize(self, device=None):
        pass

    def get_amp_supported_dtype(self):
        return [torch.float16, torch.bfloat16]


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
        return super().__torch_function__(function, types, arguments, options or {})

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
        if (one.index or 0) >= DEVICES:
            raise RuntimeError(f"Invalid device ID npu:{one.index}; there are {DEVICES}")
        return torch.device("cpu")
    return one


def _run(operator, *arguments, **options):
    _refuse_formats(arguments, options)
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


npu = _Npu()
registration._setup_privateuseone_for_python_backend("npu", npu, _Hook(), _Guard())
_library = torch.library.Library("_", "IMPL")
_library.fallback(_run, "PrivateUse1")
_operators = torch.library.Library("aten", "IMPL")
_operators.impl("mse_loss", _mse_loss, "PrivateUse1")
_operators.impl("convolution_overrideable", _convolution, "PrivateUse1")
_operators.impl("convolution_backward_overrideable", _convolution_backward, "PrivateUse1")
