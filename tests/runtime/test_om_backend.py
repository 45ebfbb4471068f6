"""The OM backend on a simulated pyACL (tests/fakes/acl); no Ascend hardware was ever used."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from om_helpers import batch_of, make_om, noisy_image

from adnet.errors import BackendUnavailable, ModelError, ShapeError, UsageError
from adnet.images.levels import to_levels
from adnet.runtime.backend import RunOptions
from adnet.runtime.backends.om import OmBackend
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.registry import open_backend

TWO_SIZES = ((64, 48), (48, 64))


@pytest.fixture(scope="module")
def reference():
    with Denoiser("gray-blind", tile=4096) as whole:
        yield whole


def on_onnx(batch, model="gray-blind"):
    from adnet.models.shipped import resolve_model

    with open_backend(resolve_model(model)) as backend:
        return backend.infer(batch)


def gear_of(acl, name):
    return [entry for entry, _ in acl.state.trace if entry == f"mdl.{name}"]


@pytest.mark.parametrize(
    ("options", "shapes", "call"),
    [
        ({}, [(1, 64, 48)], None),
        ({"batches": (1, 4)}, [(1, 64, 48), (4, 64, 48)], "set_dynamic_batch_size"),
        ({"sizes": TWO_SIZES}, [(1, 64, 48), (1, 48, 64)], "set_dynamic_hw_size"),
        ({"sizes": TWO_SIZES, "batches": (2, 3)},
         [(2, 64, 48), (3, 64, 48), (2, 48, 64), (3, 48, 64)], "set_input_dynamic_dims"),
    ],
)  # fmt: skip
def test_every_kind_of_gears_computes_the_same(acl, tmp_path, options, shapes, call):
    with OmBackend(make_om(tmp_path / "m.om", **options), RunOptions()) as backend:
        assert sorted(backend.spec.shapes) == sorted(shapes)
        for shape in [*shapes, *reversed(shapes)]:
            batch = batch_of(shape[0], *shape[1:])
            result = backend.infer(batch)
            assert result.dtype == np.float32
            assert np.abs(result - on_onnx(batch)).max() < 1e-6
        if call is not None:
            # A gear stays set in its dataset, so it is set again only where it differs.
            assert 2 <= len(gear_of(acl, call)) <= 2 * len(shapes)


def test_a_colour_model(acl, tmp_path):
    with OmBackend(make_om(tmp_path / "m.om", "color-blind"), RunOptions()) as backend:
        batch = batch_of(1, 64, 48, 3)
        assert np.abs(backend.infer(batch) - on_onnx(batch, "color-blind")).max() < 1e-6


def test_half_precision_input_and_arithmetic(acl, tmp_path):
    batch = batch_of(1, 64, 48)
    exact = on_onnx(batch)
    errors = {}
    for name, options in {
        "input": {"io": "fp16"},
        "arithmetic": {"precision_mode": None},
    }.items():
        with OmBackend(make_om(tmp_path / f"{name}.om", **options), RunOptions()) as backend:
            assert backend.spec.dtype == ("float16" if name == "input" else "float32")
            errors[name] = np.abs(backend.infer(batch) - exact).max()
    assert 1e-5 < errors["input"] < 2e-3
    assert 1e-4 < errors["arithmetic"] < 2e-2


@pytest.mark.parametrize("model", ["gray-blind", "color-blind"])
@pytest.mark.parametrize("sizes", [((64, 48),), TWO_SIZES])
def test_8_bit_input_through_aipp(acl, tmp_path, model, sizes):
    channels = 1 if model == "gray-blind" else 3
    om = make_om(tmp_path / "m.om", model, io="uint8", sizes=sizes)
    with OmBackend(om, RunOptions()) as backend:
        assert backend.spec.dtype == "uint8"
        for height, width in sizes:
            batch = batch_of(1, height, width, channels)
            levels = to_levels(batch)
            # AIPP's 1/255 and its products are float16: white comes out as 0.99998.
            scaled = (levels.astype(np.float16) * np.float16(1 / 255)).astype(np.float32)
            assert np.abs(backend.infer(batch) - on_onnx(scaled, model)).max() < 1e-6


def test_buffers_are_allocated_once(acl, tmp_path):
    om = make_om(tmp_path / "m.om", batches=(1, 2), sizes=TWO_SIZES)
    with OmBackend(om, RunOptions()) as backend:
        backend.infer(batch_of(1, 64, 48))
        makers = [name for name, _ in acl.state.trace if "malloc" in name or "create" in name]
        for count, size in [(2, (48, 64)), (1, (64, 48)), (2, (64, 48))] * 3:
            backend.infer(batch_of(count, *size))
        after = [name for name, _ in acl.state.trace if "malloc" in name or "create" in name]
    assert after == makers
    # Two sets: image, gear and output on the device, image and output on the host.
    assert makers.count("rt.malloc") == 6
    assert makers.count("rt.malloc_host") == 4


def test_copies_overlap_execution(acl, tmp_path):
    with OmBackend(make_om(tmp_path / "m.om"), RunOptions()) as backend:
        batches = [batch_of(1, 64, 48) * (1 - i / 20) for i in range(9)]
        with ThreadPoolExecutor(backend.lanes) as pool:
            results = list(pool.map(backend.infer, batches))
        for batch, result in zip(batches, results, strict=True):
            assert np.abs(result - on_onnx(batch)).max() < 1e-6
    steps = [name.partition(".")[2] for name, _ in acl.state.trace
             if name in ("rt.memcpy", "mdl.execute_async", "rt.synchronize_stream")]  # fmt: skip
    started = [i for i, step in enumerate(steps) if step == "execute_async"]
    during = [steps[i + 1 : i + 3] for i in started]
    # While one batch runs, the one before is read and the next is written.
    assert ["memcpy", "memcpy"] in during


def test_one_backend_serves_many_threads(acl, tmp_path):
    acl.state.device_count = 2
    om = make_om(tmp_path / "m.om", batches=(1, 2))
    batch = batch_of(2, 64, 48)
    expected = on_onnx(batch)
    with OmBackend(om, RunOptions(device="npu:0,npu:1")) as backend:
        assert backend.device == "npu:0,npu:1"
        assert backend.lanes == 6
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(backend.infer, [batch, batch[:1]] * 10))
    for result in results:
        assert np.abs(result - expected[: len(result)]).max() < 1e-6
    users = {thread for name, thread in acl.state.trace if name == "mdl.execute_async"}
    assert users == {"npu:0", "npu:1"}


@pytest.mark.slow
def test_images_of_any_size(acl, tmp_path, reference):
    om = make_om(tmp_path / "m.om", batches=(1, 4), sizes=TWO_SIZES)
    with Denoiser(om) as denoise:
        for size in [(64, 48), (48, 64), (64, 64), (100, 48), (150, 130)]:
            noisy = noisy_image(*size)
            assert np.abs(denoise(noisy) - reference(noisy)).max() < 1e-6, size
        with pytest.raises(ShapeError, match="60x60 fits none of the model's sizes 64x48, 48x64"):
            denoise(noisy_image(60, 60))
    with Denoiser(om, pad="reflect") as denoise:
        for size in [(60, 60), (1, 1), (30, 200)]:
            noisy = noisy_image(*size)
            result = denoise(noisy)
            assert result.shape == noisy.shape
            inner = tuple(slice(0, max(0, length - 20)) for length in size)
            assert np.abs(result - reference(noisy))[inner].max(initial=0) < 1e-6
            assert np.abs(result - reference(noisy)).max() < 0.3
    with pytest.raises(UsageError, match="pad must be 'reflect'"):
        Denoiser(om, pad="zero")


def test_a_model_without_its_sidecar(acl, tmp_path):
    with OmBackend(make_om(tmp_path / "m.om", beside=False), RunOptions()) as backend:
        assert backend.card.sigma_range is None
        assert backend.card.channels == 1
        assert backend.describe()["soc"] == "Ascend310P3"
        assert backend.describe()["simulated"] == "yes"
    with OmBackend(make_om(tmp_path / "n.om"), RunOptions()) as backend:
        assert backend.card.name == "gray-blind"


def test_a_device_that_is_real_is_not_called_simulated(acl, tmp_path, monkeypatch):
    """By what the module says, wherever it lies."""
    monkeypatch.delattr(acl, "SIMULATED")
    with OmBackend(make_om(tmp_path / "m.om"), RunOptions()) as backend:
        assert "fakes" in backend.describe()["pyacl"]
        assert "simulated" not in backend.describe()


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "damaged"), ("{}", "damaged"), ('{"card": {"channels": 3}}', "do not belong together")],
)
def test_a_wrong_sidecar_is_refused(acl, tmp_path, content, message):
    om = make_om(tmp_path / "m.om")
    (tmp_path / "m.om.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        OmBackend(om, RunOptions())


def test_devices_that_are_not_there(acl, tmp_path):
    om = make_om(tmp_path / "m.om")
    for device, message in [
        ("npu:1", "npu:1 is not there; available: npu:0"),
        ("npu:0,npu:7", "npu:7 is not there"),
        ("cuda", "Ascend devices only"),
        ("cpu", "Ascend devices only"),
        ("npu:-1", "Ascend devices only"),
    ]:
        with pytest.raises(BackendUnavailable, match=message):
            OmBackend(om, RunOptions(device=device))
    with pytest.raises(UsageError, match="names one twice"):
        OmBackend(om, RunOptions(device="npu,npu:0"))
    with pytest.raises(UsageError, match="has no --threads"):
        OmBackend(om, RunOptions(threads=2))


def test_without_cann(tmp_path, monkeypatch):
    from adnet.runtime.backends import acl as ours

    monkeypatch.setattr(ours, "import_module", _raise_import_error)
    with pytest.raises(BackendUnavailable, match="set_env.sh"):
        OmBackend(make_om(tmp_path / "m.om"), RunOptions())


def _raise_import_error(name):
    raise ImportError("No module named 'acl'")


def test_torch_npu_in_the_same_process(acl, tmp_path):
    assert acl.init() == 0  # as torch_npu does
    with OmBackend(make_om(tmp_path / "m.om"), RunOptions()) as backend:
        backend.infer(batch_of(1, 64, 48))
    assert not acl.state.finalised  # that is left to whom it belongs


def test_a_forked_process_is_refused(acl, tmp_path, monkeypatch):
    from adnet.runtime.backends import acl as ours

    monkeypatch.setattr(ours, "_initialised_in", 1)
    with pytest.raises(UsageError, match="'spawn'"):
        OmBackend(make_om(tmp_path / "m.om"), RunOptions())


def test_a_model_for_another_chip(acl, tmp_path):
    om = make_om(tmp_path / "m.om", soc="Ascend910B4")
    with pytest.raises(BackendUnavailable, match="built for Ascend910B4, this device is Ascend310"):
        OmBackend(om, RunOptions())


def test_damaged_and_foreign_files(acl, tmp_path):
    om = make_om(tmp_path / "m.om")
    content = om.read_bytes()
    om.write_bytes(content[:-10])
    with pytest.raises(ModelError, match="truncated or damaged"):
        OmBackend(om, RunOptions())
    om.write_bytes(content[:193] + b"\1" + content[194:])
    with pytest.raises(ModelError, match="range of shapes"):
        OmBackend(om, RunOptions())
    with pytest.raises(ModelError, match="cannot be read"):
        OmBackend(tmp_path / "none.om", RunOptions())


def test_use_after_close_and_closing_twice(acl, tmp_path):
    backend = OmBackend(make_om(tmp_path / "m.om"), RunOptions())
    backend.close()
    backend.close()
    with pytest.raises(UsageError, match="after close"):
        backend.infer(batch_of(1, 64, 48))


def test_two_instances_at_once_and_in_any_order(acl, tmp_path):
    first = OmBackend(make_om(tmp_path / "a.om"), RunOptions())
    second = OmBackend(make_om(tmp_path / "b.om", sizes=((48, 64),)), RunOptions())
    first.infer(batch_of(1, 64, 48))
    second.infer(batch_of(1, 48, 64))
    first.close()
    second.infer(batch_of(1, 48, 64))
    second.close()
    with OmBackend(tmp_path / "a.om", RunOptions()) as again:
        again.infer(batch_of(1, 64, 48))


def test_sizes_too_small_for_tiles(acl, tmp_path):
    om = make_om(tmp_path / "m.om", sizes=((32, 32),))
    with Denoiser(om, pad="reflect") as denoise:
        assert denoise(noisy_image(32, 32)).shape == (32, 32)
        assert denoise(noisy_image(20, 30)).shape == (20, 30)
        with pytest.raises(ShapeError, match="made for smaller or any sizes") as error:
            denoise(noisy_image(50, 50))
        assert "--pad" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"precision_mode": None}, "ATC's default"), ({"precision_mode": "origin"}, "origin"),
     ({"precision_mode": "force_fp32"}, "force_fp32")],
)  # fmt: skip
def test_precision_is_told_by_the_command_line_in_the_om(acl, tmp_path, options, expected):
    with OmBackend(make_om(tmp_path / "m.om", beside=False, **options), RunOptions()) as backend:
        assert backend.describe()["precision"].startswith(expected)
