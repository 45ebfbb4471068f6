"""The OM backend when something fails: nothing is lost, left behind or waited for for ever."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from om_helpers import batch_of, make_om

from adnet.errors import (
    BackendUnavailable,
    DeviceError,
    DeviceLostError,
    PrecisionError,
    UsageError,
)
from adnet.models.card import NORMS_KEY
from adnet.models.shipped import WEIGHTS
from adnet.runtime.backend import RunOptions
from adnet.runtime.backends.acl_errors import explain_code
from adnet.runtime.backends.om import OmBackend
from adnet.runtime.denoiser import Denoiser


def fault(acl, name, nth, code):
    import acl._state

    return acl._state.Fault(name, nth, code)


def hot_model(path, layer):
    """The shipped gray model with one convolution so strong that float16 overflows behind it."""
    import onnx

    model = onnx.load(WEIGHTS / "gray-blind.onnx")
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    names = convolutions[layer].input[1:]
    for tensor in model.graph.initializer:
        if tensor.name in names:
            values = onnx.numpy_helper.to_array(tensor) * np.float32(2**20)
            values = np.clip(
                values, np.float32(-60000), np.float32(60000)
            )  # weights that float16 can hold
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    norms = [one for one in model.metadata_props if one.key == NORMS_KEY]
    for one in norms:  # they are those of the weights before
        model.metadata_props.remove(one)
    onnx.save(model, path)
    return path


def test_a_failing_batch_does_not_stop_the_others(acl, tmp_path):
    with OmBackend(make_om(tmp_path / "m.om"), RunOptions()) as backend:
        batch = batch_of(1, 64, 48)
        expected = backend.infer(batch)
        for name in ("rt.memcpy", "mdl.execute_async", "rt.synchronize_stream", "run"):
            acl.state.faults[:] = [fault(acl, name, 1, 507011)]
            with pytest.raises(DeviceError, match=r"507011 \(ACL_ERROR_RT_MODEL_EXECUTE\)") as err:
                backend.infer(batch)
            assert err.value.code == 507011
            acl.state.faults.clear()
            assert np.array_equal(backend.infer(batch), expected)


def test_device_memory_runs_out(acl, tmp_path):
    acl.state.memory_limit = 30_000
    with pytest.raises(BackendUnavailable, match=r"207001 .*smaller batch"):
        OmBackend(make_om(tmp_path / "m.om"), RunOptions())


def test_a_lost_device_leaves_its_work_to_the_others(acl, tmp_path, caplog):
    acl.state.device_count = 2
    om = make_om(tmp_path / "m.om")
    batch = batch_of(1, 64, 48)
    with OmBackend(om, RunOptions(device="npu:0,npu:1")) as backend:
        expected = backend.infer(batch)
        acl.state.faults[:] = [fault(acl, "run", 2, 507010)]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(backend.infer, [batch] * 20))
        assert all(np.array_equal(result, expected) for result in results)
        assert "The other devices continue" in caplog.text
        acl.state.faults[:] = [fault(acl, "run", 1, 507010)]
        for _ in range(2):
            with pytest.raises(DeviceLostError, match="507010"):
                backend.infer(batch)


def test_a_batch_that_waits_for_its_copy_is_told_of_the_loss(acl, tmp_path):
    """The device is lost when the next batch is launched; the one before is not read yet."""
    backend = OmBackend(make_om(tmp_path / "m.om"), RunOptions())
    worker = backend._workers[0]
    acl.state.faults[:] = [fault(acl, "mdl.execute_async", 2, 507010)]
    with acl.state.lock:  # both are queued before the first is filled
        results = [worker.submit(batch_of(1, 64, 48)) for _ in range(2)]
    for result in results:
        with pytest.raises(DeviceLostError, match="507010"):
            result.result(timeout=20)
    backend.close()


def test_a_stream_that_cannot_be_waited_for_ends_the_device(acl, tmp_path):
    backend = OmBackend(make_om(tmp_path / "m.om"), RunOptions())
    acl.state.faults[:] = [fault(acl, "rt.synchronize_stream", n, 500000) for n in (1, 2)]
    batch = batch_of(1, 64, 48)
    for _ in range(2):
        with pytest.raises(DeviceLostError, match="500000"):
            backend.infer(batch)
    backend.close()
    # The chip may still write into these buffers, so the simulator refuses to free them.
    acl.state.ledger.clear()
    acl.state.set_devices.clear()


def test_three_failures_in_a_row_end_the_device(acl, tmp_path):
    with OmBackend(make_om(tmp_path / "m.om"), RunOptions()) as backend:
        batch = batch_of(1, 64, 48)
        acl.state.faults[:] = [fault(acl, "mdl.execute_async", n, 507011) for n in (1, 2, 4, 5, 6)]
        for expected in (
            DeviceError,
            DeviceError,
            None,
            DeviceError,
            DeviceError,
            DeviceLostError,
            DeviceLostError,
        ):
            if expected is None:
                backend.infer(batch)
                continue
            with pytest.raises(DeviceError) as error:
                backend.infer(batch)
            assert type(error.value) is expected


def test_a_forked_child_does_not_wait_for_ever(acl, tmp_path, monkeypatch):
    with OmBackend(make_om(tmp_path / "m.om"), RunOptions()) as backend:
        pid = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        with pytest.raises(UsageError, match="'spawn'"):
            backend.infer(batch_of(1, 64, 48))
        monkeypatch.undo()


def test_overflow_is_an_error_not_a_black_image(acl, tmp_path):
    acl.state.arithmetic = "nan"
    with (
        OmBackend(make_om(tmp_path / "m.om"), RunOptions()) as backend,
        pytest.raises(PrecisionError, match="--precision-mode origin"),
    ):
        backend.infer(batch_of(1, 64, 48))


FAULTS = [507013, 507034, 507035, 507036, 507048, 507049, 507050, 507053, 507054]


@pytest.mark.parametrize("code", [*FAULTS, 507009, 207003, 207016])
def test_codes_seen_in_the_field_are_explained(acl, tmp_path, code):
    """Each has its name and a remedy; after a fault of the chip the device is given up."""
    with OmBackend(make_om(tmp_path / "m.om"), RunOptions()) as backend:
        acl.state.faults[:] = [fault(acl, "run", 1, code)]
        with pytest.raises(DeviceError) as err:
            backend.infer(batch_of(1, 64, 48))
        acl.state.faults.clear()
        text = str(err.value)
        name, hint = explain_code(code)
        assert f"{code} ({name}). {hint}" in text
        assert name.startswith("ACL_ERROR_RT_")
        assert len(hint) > 20
        assert isinstance(err.value, DeviceLostError) == (code in FAULTS)
        if code == 507009:
            assert "--virtual-type" in text
        if code in (207003, 207016):
            assert "--precision-mode origin" in text


@pytest.mark.parametrize("arithmetic", ["fp16", "saturating"])
@pytest.mark.parametrize("layer", [0, 7, 13, 15])
def test_overflow_inside_the_network_is_seen(acl, tmp_path, arithmetic, layer):
    """With inf as with saturation, which the 310P and the first 910 may use."""
    model = hot_model(tmp_path / "hot.onnx", layer)
    acl.state.arithmetic = arithmetic
    with (
        OmBackend(make_om(tmp_path / "m.om", str(model)), RunOptions()) as backend,
        pytest.raises(PrecisionError, match="overflowed"),
    ):
        backend.infer(batch_of(1, 64, 48))


def test_a_forgotten_backend_is_closed_before_acl_is_finalised(acl, tmp_path):
    from adnet.runtime.backends import acl as ours

    backend = OmBackend(make_om(tmp_path / "m.om"), RunOptions())
    ours._finalise(ours.load_acl())
    assert acl.state.finalised
    assert acl.state.leftovers() == []
    backend.close()


@pytest.mark.parametrize("options", [{"tile": 64}, {"batch": 3}, {"tile": 10}])
def test_a_refused_choice_leaves_nothing_open(acl, tmp_path, options):
    om = make_om(tmp_path / "m.om", batches=(1, 4))
    with pytest.raises(UsageError, match="fixed sizes|batches of 1, 4, got|at least 41"):
        Denoiser(om, **options)
    assert acl.state.leftovers() == []
    denoise = Denoiser(om, batch=1)
    denoise(batch_of(1, 130, 120)[0, 0])
    denoise.close()
    with pytest.raises(UsageError, match="after close"):
        denoise(batch_of(1, 64, 48)[0, 0])


def test_whatever_call_fails_nothing_is_left(acl, tmp_path, caplog):
    """Walk the whole path of two devices; fail the first call, then the second, and so on."""
    acl.state.device_count = 2
    om = make_om(tmp_path / "m.om", batches=(1, 2))
    batch = batch_of(2, 64, 48)
    acl.state.arithmetic = "none"

    def walk():
        with (
            OmBackend(om, RunOptions(device="npu:0,npu:1")) as backend,
            ThreadPoolExecutor(3) as pool,
        ):
            list(pool.map(backend.infer, [batch, batch[:1], batch]))

    walk()
    calls = sum(getattr(function(acl, name), "failure", "never") != "never"
                for name, _ in acl.state.trace)  # fmt: skip
    assert calls > 120
    releases = set(acl._state.RELEASES)
    assert {name for name, _ in acl.state.trace} & releases == releases
    for nth in range(1, calls + 1):
        planned = fault(acl, None, nth, 500000)
        acl.state.faults[:] = [planned]
        acl.state.trace.clear()
        acl.state.refused.clear()
        caplog.clear()
        message = None
        try:
            walk()
        except (DeviceError, BackendUnavailable) as err:
            message = str(err)
        name = failed_call(acl, nth)
        acl.state.faults.clear()
        if message is None and name is not None:
            # A release: all results are there, so it is only logged.
            message = caplog.text
        if name is not None:
            assert "500000" in message or "no handle" in message, (nth, name)
        # What the driver refuses to release stays; nothing else may.
        left = acl.state.alive(lambda _, __: True)
        assert left == [], (nth, name, left)
        acl.state.ledger.clear()
        acl.state.set_devices.clear()


def function(acl, name):
    from operator import attrgetter

    return attrgetter(name)(acl)


def failed_call(acl, nth):
    fallible = [name for name, _ in acl.state.trace
                if function(acl, name).failure != "never"]  # fmt: skip
    return fallible[nth - 1] if nth <= len(fallible) else None
