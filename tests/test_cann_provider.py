"""ONNX Runtime's provider for CANN, computed by the CPU: its options, what it says of itself."""

import os

import numpy as np
import onnxruntime
import pytest

from adnet.errors import BackendUnavailable, PrecisionError
from adnet.pretrained import WEIGHTS
from adnet.runtime import acl
from adnet.runtime.backend import RunOptions
from adnet.runtime.registry import open_backend

ONNX = WEIGHTS / "gray-blind.onnx"
BATCH = np.full((1, 1, 24, 32), 0.5, np.float32)


@pytest.fixture
def cann_provider(monkeypatch):
    """CANN's provider, computed by the CPU; the list's one number multiplies what it gives."""
    factor = [1.0]
    names = ["CANNExecutionProvider", "CPUExecutionProvider"]
    original = onnxruntime.InferenceSession

    class Session:
        def __init__(self, path, _options, providers):
            ((name, settings),) = providers
            assert name == names[0]
            # What builds of all ages know; others raise "Unknown provider option".
            assert set(settings) <= {"device_id", "enable_cann_graph"}
            self._session = original(path, providers=names[1:])

        def get_providers(self):
            return names

        def run(self, outputs, feeds):
            return [one * np.float32(factor[0]) for one in self._session.run(outputs, feeds)]

        def __getattr__(self, name):
            return getattr(self._session, name)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return factor


def test_cann_s_provider_says_its_real_precision_and_is_checked(cann_provider):
    with open_backend(ONNX, "onnx", RunOptions(device="npu:0")) as backend:
        assert backend.describe()["precision"] == "CANN default (fp16)"
        assert backend.infer(BATCH).shape == BATCH.shape
        for factor in (1e3, np.nan, np.inf):
            cann_provider[0] = factor
            with pytest.raises(PrecisionError, match="CANNExecutionProvider computes in float16"):
                backend.infer(BATCH)


def test_cann_s_provider_after_acl_was_initialised_is_told(monkeypatch):
    """It takes 100002, initialised already, for a failure."""
    names = ["CANNExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)

    def refuse(*_, **__):
        raise RuntimeError("CANN error executing aclInit(nullptr): 100002")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    monkeypatch.setattr(acl, "_initialised_in", None)
    with pytest.raises(BackendUnavailable) as before:
        open_backend(ONNX, "onnx", RunOptions(device="npu:0"))
    assert "processes of their own" not in str(before.value)
    monkeypatch.setattr(acl, "_initialised_in", os.getpid())
    with pytest.raises(BackendUnavailable, match="100002.*processes of their own"):
        open_backend(ONNX, "onnx", RunOptions(device="npu:0"))
