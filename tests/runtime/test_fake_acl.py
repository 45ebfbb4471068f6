"""The simulated pyACL is as strict as the manuals: code that breaks a rule does not pass it."""

import platform
import threading

import numpy as np
import pytest
from acl_session import D2H, H2D, Session
from fakes.om_writer import om_bytes
from om_helpers import make_om

from adnet.errors import BackendUnavailable
from adnet.export.to_om import prepare_onnx
from adnet.models.om_file import read_om
from adnet.runtime.registry import open_backend


@pytest.fixture
def static(acl, tmp_path):
    session = Session(acl, make_om(tmp_path / "m.om"))
    yield session
    session.close()


@pytest.fixture
def geared(acl, tmp_path):
    session = Session(acl, make_om(tmp_path / "m.om", batches=(1, 2)))
    yield session
    session.close()


@pytest.mark.parametrize("host", [
    ("linux", "z80"), ("minios", platform.machine()), (platform.system().lower(), "")
])  # fmt: skip
def test_a_model_bound_to_another_host_is_refused(acl, tmp_path, host):
    path = bound_to(host, tmp_path)
    assert acl.init() == acl.rt.set_device(0) == 0
    context, _ = acl.rt.create_context(0)
    assert acl.mdl.load_from_file(str(path)) == (None, 500002)
    assert "E19999" in acl.get_recent_err_msg()
    assert acl.rt.destroy_context(context) == acl.rt.reset_device(0) == 0
    with pytest.raises(BackendUnavailable, match="system and processor"):
        open_backend(path, "om")


def test_a_model_bound_to_this_host_is_loaded(acl, tmp_path):
    path = bound_to((platform.system().lower(), platform.machine()), tmp_path)
    assert read_om(path).is_host_bound
    Session(acl, path).close()


def bound_to(host, folder):
    path = make_om(folder / "m.om")
    attributes, onnx = read_om(path).attributes, prepare_onnx("gray-blind", folder)[0]
    path.write_bytes(om_bytes("adnet", attributes, onnx.read_bytes(), host=host))
    return path


def in_a_thread(call):
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def test_order_of_initialisation(acl):
    with pytest.raises(acl.MisuseError, match="before acl.init"):
        acl.mdl.get_num_inputs(1)
    assert acl.rt.set_device(0) == 100001
    assert acl.init() == 0
    assert acl.init() == 100002
    assert acl.rt.set_device(7) == 107001
    assert acl.rt.malloc(64, 0) == (None, 107002)
    assert "The context is empty" in acl.get_recent_err_msg()
    assert acl.finalize() == 0
    assert acl.finalize() == 100037
    with pytest.raises(acl.MisuseError):
        acl.init()


def test_contexts_belong_to_threads(acl, static):
    assert in_a_thread(static.run) == 107002
    assert in_a_thread(lambda: acl.rt.malloc(64, 0)) == (None, 107002)

    def elsewhere():
        assert acl.rt.set_device(0) == 0
        context = static.get(acl.rt.create_context(0))
        codes = static.run(), acl.rt.synchronize_stream(static.stream)
        with pytest.raises(acl.MisuseError, match="context that loaded it"):
            acl.mdl.unload(static.model)
        acl.rt.destroy_context(context)
        acl.rt.reset_device(0)
        return codes

    assert in_a_thread(elsewhere) == (107003, 107003)

    def same_context():
        assert acl.rt.set_context(static.context) == 0
        return static.run()

    assert in_a_thread(same_context) == 0


def test_memory(acl, static):
    assert acl.rt.malloc(0, 0) == (None, 100000)
    assert acl.rt.malloc(64, 9) == (None, 100000)
    address = static.get(acl.rt.malloc(64, 0))
    other = static.get(acl.rt.malloc(64, 0))
    host = np.zeros(64, np.uint8)
    source = host.ctypes.data
    assert acl.rt.memcpy(source, 64, address, 64, D2H) == 0
    assert host.any()  # memory is not zeroed
    assert acl.rt.memcpy(address, 64, source, 65, H2D) == 100000
    assert acl.rt.memcpy(address, 64, source, 64, 7) == 100000
    assert acl.rt.memcpy(address, 64, source, 0, H2D) == 0
    for target, origin, kind in [(address, source, D2H), (source, address, H2D)]:
        with pytest.raises(acl.MisuseError, match="wrong kind"):
            acl.rt.memcpy(target, 64, origin, 64, kind)
    with pytest.raises(acl.MisuseError, match="beyond their block"):
        acl.rt.memcpy(address + 32, 64, source, 64, H2D)
    with pytest.raises(acl.MisuseError, match="free_host of device memory"):
        acl.rt.free_host(address)
    with pytest.raises(TypeError):
        acl.rt.memcpy(address, 64, np.int64(source), 64, H2D)
    # Asynchronous copies want pinned memory on 64-byte boundaries.
    pinned = static.get(acl.rt.malloc_host(128))
    whole = np.zeros(256, np.uint8)
    plain = whole.ctypes.data + -whole.ctypes.data % 64
    assert acl.rt.memcpy_async(address, 64, plain, 64, H2D, static.stream) == 100000
    assert acl.rt.memcpy_async(address, 64, pinned + 8, 32, H2D, static.stream) == 107008
    assert acl.rt.memcpy_async(pinned, 64, pinned + 64, 64, 0, static.stream) == 100000
    assert acl.rt.memcpy_async(address, 64, pinned, 64, H2D, static.stream) == 0
    for release, what in ((acl.rt.free, address), (acl.rt.free_host, pinned)):
        with pytest.raises(acl.MisuseError, match="running model or copy"):
            release(what)
    with pytest.raises(acl.MisuseError, match="running model or copy"):
        acl.rt.memcpy(source, 64, address, 64, D2H)
    with pytest.raises(acl.MisuseError, match="nobody waited"):
        acl.rt.destroy_stream(static.stream)
    assert acl.rt.synchronize_stream(static.stream) == 0
    assert acl.rt.free(address) == 0
    assert acl.rt.free(other) == 0
    assert acl.rt.free_host(pinned) == 0
    with pytest.raises(acl.MisuseError, match="freed"):
        acl.rt.memcpy(address, 64, source, 64, H2D)
    with pytest.raises(acl.MisuseError, match="no live Memory"):
        acl.rt.free(address)


def test_results_are_there_only_after_waiting(acl, static):
    batch = np.full((1, 1, 64, 48), 0.5, np.float32)
    assert static.write(batch) == 0
    assert acl.mdl.execute_async(static.model, static.inputs, static.outputs, static.stream) == 0
    with pytest.raises(acl.MisuseError, match="running model"):
        static.read(batch.shape)
    with pytest.raises(acl.MisuseError, match="running model"):
        static.write(batch)
    with pytest.raises(acl.MisuseError, match="twice at once"):
        static.run()
    with pytest.raises(acl.MisuseError, match="destroy_data_buffer of memory"):
        acl.destroy_data_buffer(static.input_parts[0][2])
    second = static.get(acl.rt.create_stream())
    with pytest.raises(acl.MisuseError, match="two streams"):
        acl.mdl.execute_async(static.model, static.inputs, static.outputs, second)
    with pytest.raises(acl.MisuseError, match="nobody waited"):
        acl.rt.destroy_stream(static.stream)
    assert acl.rt.destroy_stream(second) == 0
    assert acl.rt.synchronize_stream(static.stream) == 0
    assert np.isfinite(static.read(batch.shape)).all()


def test_datasets_must_fit_the_model(acl, static, tmp_path):
    size = static.input_parts[0][1]
    short, short_parts = static.dataset([size - 65])
    bearable, bearable_parts = static.dataset([size - 64])
    assert acl.mdl.execute(static.model, short, static.outputs) == 145000
    assert f"{size} bytes required by the model" in acl.get_recent_err_msg()
    assert acl.mdl.execute(static.model, bearable, short) == 145000
    two, two_parts = static.dataset([size, size])
    assert acl.mdl.execute(static.model, two, static.outputs) == 145000
    assert acl.mdl.execute(static.model, bearable, static.outputs) == 0
    # What counts is the size that a buffer was made with, not that of the memory behind it.
    address, _, _ = bearable_parts[0]
    claim = acl.create_data_buffer(address, 64)
    small = acl.mdl.create_dataset()
    static.get(acl.mdl.add_dataset_buffer(small, claim))
    assert acl.mdl.execute(static.model, small, static.outputs) == 145000
    assert "The provided 64 bytes" in acl.get_recent_err_msg()
    assert acl.create_data_buffer(address, 0) == 0
    assert acl.destroy_data_buffer(claim) == 0
    assert acl.mdl.destroy_dataset(small) == 0
    with pytest.raises(acl.MisuseError, match="in the memory of its input"):
        acl.mdl.execute(static.model, static.inputs, static.inputs)
    host = static.get(acl.rt.malloc_host(size))
    claim = acl.create_data_buffer(host, size)
    wrong = acl.mdl.create_dataset()
    static.get(acl.mdl.add_dataset_buffer(wrong, claim))
    with pytest.raises(acl.MisuseError, match="host memory"):
        acl.mdl.execute(static.model, wrong, static.outputs)
    assert (acl.destroy_data_buffer(claim), acl.mdl.destroy_dataset(wrong)) == (0, 0)
    assert acl.rt.free_host(host) == 0
    for handle, parts in ((short, short_parts), (bearable, bearable_parts), (two, two_parts)):
        for address, _, buffer in parts:
            acl.destroy_data_buffer(buffer)
            acl.rt.free(address)
        acl.mdl.destroy_dataset(handle)


def test_gears(acl, geared):
    assert acl.mdl.get_num_inputs(geared.desc) == 2
    name = "ascend_mbatch_shape_data"
    assert acl.mdl.get_input_index_by_name(geared.desc, name) == (1, 0)
    assert acl.mdl.get_input_dims(geared.desc, 0)[0]["dims"] == [-1, 1, 64, 48]
    assert acl.mdl.get_dynamic_batch(geared.desc) == ({"batchCount": 2, "batch": [1, 2]}, 0)
    assert acl.mdl.get_input_dynamic_gear_count(geared.desc, -1) == (0, 0)
    assert acl.mdl.get_dynamic_hw(geared.desc, -1) == ({"hwCount": 0, "hw": []}, 0)
    choose = acl.mdl.set_dynamic_batch_size
    assert choose(geared.model, geared.inputs, 1, 0) == 100000
    assert choose(geared.model, geared.inputs, 1, 3) == 145013
    assert acl.mdl.set_dynamic_hw_size(geared.model, geared.inputs, 1, 64, 48) == 100000
    assert choose(geared.model, geared.inputs, 0, 1) == 100000  # not the gear's input
    for wrong in ("1", 1.0, np.int64(1), None):
        with pytest.raises(TypeError):
            choose(geared.model, geared.inputs, 1, wrong)
    for dims in ([1, 1, 64, 48], {"dims": [1, 1, 64, 48], "dimCount": 4}):
        with pytest.raises(TypeError):
            acl.mdl.set_input_dynamic_dims(geared.model, geared.inputs, 1, dims)
    small, parts = geared.dataset([geared.input_parts[0][1], 16])
    assert choose(geared.model, small, 1, 1) == 145012
    one, more_parts = geared.dataset([geared.input_parts[0][1]])
    assert choose(geared.model, one, 1, 1) == 145011
    for handle, some in ((small, parts), (one, more_parts)):
        for address, _, buffer in some:
            assert (acl.destroy_data_buffer(buffer), acl.rt.free(address)) == (0, 0)
        assert acl.mdl.destroy_dataset(handle) == 0
    # Without a choice the largest gear runs: the second image's place in memory is computed too.
    both = np.stack([np.full((1, 64, 48), value, np.float32) for value in (0.2, 0.8)])
    assert geared.write(both) == 0
    assert geared.run() == 0
    first = geared.read(both.shape)
    assert np.isfinite(first).all()
    assert choose(geared.model, geared.inputs, 1, 1) == 0
    assert geared.write(both[1:]) == 0
    assert geared.run() == 0
    second = geared.read(both.shape)
    assert np.allclose(second[0], first[1], atol=1e-6)
    assert np.array_equal(second[1], first[1])


def test_static_models_have_no_gears(acl, static):
    assert acl.mdl.get_num_inputs(static.desc) == 1
    assert acl.mdl.set_dynamic_batch_size(static.model, static.inputs, 1, 1) == 100019


def test_files_that_the_loader_refuses(acl, static, tmp_path):
    om = make_om(tmp_path / "n.om", soc="Ascend310B1")
    content = om.read_bytes()
    assert acl.mdl.load_from_file(str(om)) == (None, 500002)
    assert "supported socVersion=Ascend310P3" in acl.get_recent_err_msg()
    assert acl.mdl.load_from_file(str(tmp_path / "none.om")) == (None, 145002)
    om.write_bytes(content[:-1])
    assert acl.mdl.load_from_file(str(om)) == (None, 145006)
    for at, value in ((0, b"JMOD"), (4, b"\x80"), (256, b"\x02"), (184, b"\x01")):
        om.write_bytes(content[:at] + value + content[at + len(value) :])
        assert acl.mdl.load_from_file(str(om)) == (None, 145006), at
    make_om(om, soc="Ascend310P1")  # the same architecture
    model = static.get(acl.mdl.load_from_file(str(om)))
    assert acl.mdl.unload(model) == 0
    with pytest.raises(acl.MisuseError, match="no live Model"):
        acl.mdl.unload(model)


def test_order_of_release(acl, static):
    with pytest.raises(acl.MisuseError, match="before destroy_desc"):
        acl.mdl.unload(static.model)
    with pytest.raises(acl.MisuseError, match="before its buffers"):
        acl.mdl.destroy_dataset(static.inputs)
    with pytest.raises(acl.MisuseError, match="data buffer points"):
        acl.rt.free(static.input_parts[0][0])
    with pytest.raises(acl.MisuseError, match="finalize with"):
        acl.finalize()
    with pytest.raises(acl.MisuseError, match="alive"):
        acl.rt.destroy_context(static.context)
    with pytest.raises(acl.MisuseError, match="alive"):
        acl.rt.reset_device(0)
    assert acl.rt.set_device(0) == 0  # what the attempt took
