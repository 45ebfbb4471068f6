import pytest
import torch

from adnet import device
from adnet.errors import BackendUnavailable


def test_devices_that_are_not_there():
    assert device.available_devices()[0] == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(BackendUnavailable, match=r"device 'cuda'.*Available here: cpu"):
            device.resolve_device("cuda")
    with pytest.raises(BackendUnavailable, match="device 'quantum'"):
        device.resolve_device("quantum")


def test_npu_without_its_package_or_without_cann(monkeypatch):
    import builtins

    original = builtins.__import__

    def without(error):
        def importer(name, *args, **kwargs):
            if name == "torch_npu":
                raise error
            return original(name, *args, **kwargs)

        return importer

    missing = ModuleNotFoundError("No module named 'torch_npu'", name="torch_npu")
    monkeypatch.setattr(builtins, "__import__", without(missing))
    with pytest.raises(BackendUnavailable, match="pip install torch==.*torch-npu=="):
        device.resolve_device("npu:0")
    no_cann = ImportError("libhccl.so: cannot open shared object file")
    monkeypatch.setattr(builtins, "__import__", without(no_cann))
    with pytest.raises(BackendUnavailable, match="set_env.sh"):
        device.resolve_device("npu:0")
