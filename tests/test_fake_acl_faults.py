"""The simulated pyACL: indices, types, faults of the chip, foreign memory, parts of a chip."""

import numpy as np
import pytest
from acl_session import H2D, Session
from om_helpers import make_om


@pytest.fixture
def static(acl, tmp_path):
    session = Session(acl, make_om(tmp_path / "m.om"))
    yield session
    session.close()


def test_no_index_beyond_what_the_model_has(acl, static):
    ask = acl.mdl
    for name in (
        "get_input_name_by_index", "get_input_size_by_index", "get_input_data_type",
        "get_input_format", "get_input_dims", "get_output_name_by_index",
        "get_output_size_by_index", "get_output_data_type", "get_output_dims",
    ):  # fmt: skip
        getattr(ask, name)(static.desc, 0)
        for index in (1, -1):
            with pytest.raises(acl.MisuseError, match=f"no input or output {index}"):
                getattr(ask, name)(static.desc, index)
        with pytest.raises(TypeError):
            getattr(ask, name)(static.desc, "0")


def test_calls_take_positions_and_plain_types(acl, static):
    with pytest.raises(TypeError):
        acl.rt.malloc(size=64, policy=0)
    with pytest.raises(TypeError):
        acl.rt.malloc(64)
    with pytest.raises(TypeError):
        acl.mdl.load_from_file(b"m.om")
    with pytest.raises(TypeError):
        acl.init(5)


@pytest.mark.parametrize("code", [507010, 507015, 507035, 507053])
def test_after_a_fault_of_the_chip_its_stream_does_nothing_more(acl, static, code):
    import acl._state

    launch = acl.mdl.execute_async
    given = static.model, static.inputs, static.outputs, static.stream
    assert launch(*given) == 0
    acl.state.faults[:] = [acl._state.Fault("run", 1, code)]
    assert acl.rt.synchronize_stream(static.stream) == code
    acl.state.faults.clear()
    assert launch(*given) == code
    assert acl.rt.synchronize_stream(static.stream) == code
    pinned = static.get(acl.rt.malloc_host(64))
    address = static.input_parts[0][0]
    assert acl.rt.memcpy_async(address, 64, pinned, 64, H2D, static.stream) == code
    assert acl.rt.free_host(pinned) == 0


def test_an_execution_that_failed_alone_leaves_the_stream_usable(acl, static):
    import acl._state

    given = static.model, static.inputs, static.outputs, static.stream
    for fails in (True, False):
        assert acl.mdl.execute_async(*given) == 0
        acl.state.faults[:] = [acl._state.Fault("run", 1, 507011)] if fails else []
        assert acl.rt.synchronize_stream(static.stream) == (507011 if fails else 0)


def test_memory_belongs_to_its_device(acl, static):
    acl.state.device_count = 2
    assert acl.rt.set_device(1) == 0
    second = static.get(acl.rt.create_context(1))
    foreign = static.get(acl.rt.malloc(static.input_parts[0][1], 0))
    host = np.zeros(64, np.uint8)
    with pytest.raises(acl.MisuseError, match="memory of another device"):
        acl.rt.memcpy(static.input_parts[0][0], 64, host.ctypes.data, 64, H2D)
    assert acl.rt.set_context(static.context) == 0
    buffer = acl.create_data_buffer(foreign, static.input_parts[0][1])
    inputs = acl.mdl.create_dataset()
    static.get(acl.mdl.add_dataset_buffer(inputs, buffer))
    with pytest.raises(acl.MisuseError, match="memory of another device"):
        acl.mdl.execute(static.model, inputs, static.outputs)
    assert (acl.destroy_data_buffer(buffer), acl.mdl.destroy_dataset(inputs)) == (0, 0)
    assert acl.rt.free(foreign) == 0
    assert acl.rt.destroy_context(second) == 0
    assert acl.rt.reset_device(1) == 0


def test_a_part_of_a_chip_runs_models_made_for_parts(acl, static, tmp_path):
    acl.state.is_part = True
    whole = make_om(tmp_path / "whole.om")
    assert acl.mdl.load_from_file(str(whole)) == (None, 507009)
    part = make_om(tmp_path / "part.om", extra=("--virtual_type=1",))
    assert acl.mdl.unload(static.get(acl.mdl.load_from_file(str(part)))) == 0


def test_a_device_that_is_still_set_keeps_acl_from_ending(acl):
    assert acl.init() == 0
    assert acl.rt.set_device(0) == 0
    with pytest.raises(acl.MisuseError, match="before reset_device"):
        acl.finalize()
    assert acl.rt.reset_device(0) == 0
