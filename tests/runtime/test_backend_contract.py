"""One contract for every backend: the same folder, the same numbers, the same errors.

The NPU (simulated) registers itself in the whole process, so the last test runs this module again
in a process of its own, for that backend alone.
"""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import HAS_TORCH
from contract_worker import infer
from om_helpers import FAKES, make_om, run_beside_fakes

from adnet.errors import ShapeError, UsageError
from adnet.images.levels import WHITE, to_levels
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.shipped import WEIGHTS
from adnet.runtime.backend import RunOptions
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.registry import open_backend

SIZES = ((64, 48), (48, 64))
ALONE = os.environ.get("ADNET_TEST_BACKEND")


class Case:
    """A backend with a model of its own, and options."""

    def __init__(self, name, model, wrong_device, tolerance=1e-5, **options):
        self.name, self.model, self.options = name, model, options
        self.wrong_device, self.tolerance = wrong_device, tolerance

    def open(self):
        return open_backend(self.model, self.name, RunOptions(**self.options))

    def denoiser(self, tile=None, **options):
        if self.name != "om":  # which has sizes of its own
            options["tile"] = tile
        return Denoiser(self.model, backend=self.name, **self.options, **options)


IN_THIS_PROCESS = [
    "onnx", "onnx-streams", "torch", "torch-onnx", "torch-bf16", "om",
    *(pytest.param(one, marks=pytest.mark.engine)
      for one in ("openvino", "openvino-streams", "mnn", "mnn-streams")),
]  # fmt: skip


@pytest.fixture(params=[ALONE] if ALONE else IN_THIS_PROCESS)
def case(request, tmp_path):
    onnx, kind = WEIGHTS / "gray-blind.onnx", request.param
    if not HAS_TORCH and kind.startswith(("torch", "npu")):
        pytest.skip("needs torch")
    if kind.startswith("openvino"):
        pytest.importorskip("openvino", reason="needs openvino: pip install openvino")
    if kind.startswith("mnn"):
        pytest.importorskip("MNN", reason="needs MNN: pip install MNN")
    if kind == "om":
        request.getfixturevalue("acl")
        om = make_om(tmp_path / "m.om", batches=(1, 3), sizes=SIZES)
        return Case("om", om, "npu:9")
    if kind == "torch":
        checkpoint = request.getfixturevalue("checkpoint")
        return Case("torch", checkpoint, "cuda:7", device="cpu")
    return {
        "onnx": Case("onnx", onnx, "cuda"),
        "onnx-streams": Case("onnx", onnx, "npu:0", streams=2),
        "torch-onnx": Case("torch", onnx, "quantum", device="cpu"),
        "torch-bf16": Case("torch", onnx, "xpu", 0.06, device="cpu", precision="bf16"),
        "openvino": Case("openvino", onnx, "gpu:7", 2e-5),
        "openvino-streams": Case("openvino", onnx, "npu", 2e-5, device="cpu", streams=2, threads=1),
        "mnn": Case("mnn", onnx, "gpu", 1e-3),
        "mnn-streams": Case("mnn", onnx, "cuda:1", 1e-3, device="cpu", streams=2, threads=1),
        "npu": Case("npu", onnx, "npu:9"),
    }[kind]


def noisy_batch(count, size, seed=0):
    images = [add_published_noise(render(*size, seed=seed + i), 40) for i in range(count)]
    return np.ascontiguousarray(np.stack(images)[:, None], np.float32)


@pytest.fixture(scope="module")
def expected():
    """What ONNX Runtime computes: expected(batch)."""
    with open_backend(WEIGHTS / "gray-blind.onnx", "onnx") as backend:
        yield backend.infer


def test_values_shapes_and_types(case, expected):
    with case.open() as backend:
        assert backend.name == case.name
        for count, size in [(1, SIZES[0]), (3, SIZES[1]), (3, SIZES[0]), (1, SIZES[1])]:
            batch = noisy_batch(count, size)
            assert batch.min() < 0  # noise overshoots and is not clipped
            before = batch.copy()
            result = backend.infer(batch)
            assert np.array_equal(batch, before)
            assert (result.dtype, result.shape) == (np.float32, batch.shape)
            assert result.flags.c_contiguous
            assert not np.shares_memory(result, batch)
            assert np.abs(result - expected(batch)).max() < case.tolerance
            again = backend.infer(batch * np.float32(0.5))
            assert np.abs(result - expected(batch)).max() < case.tolerance  # not overwritten
            assert not np.array_equal(again, result)


def test_it_says_what_it_runs_on(case):
    with case.open() as backend:
        facts = backend.describe()
        assert facts["backend"] == case.name
        assert facts["device"] == backend.device
        assert backend.device.startswith({"om": "npu:0", "npu": "npu:0"}.get(case.name, "cpu"))
        assert {"precision"} <= facts.keys()
        assert all(isinstance(value, str) for value in facts.values())


@pytest.mark.parametrize("size", [(64, 48), (100, 130), (48, 200)])
def test_tiles_and_partial_batches_equal_the_whole(case, size):
    noisy = add_published_noise(render(*size), 25)
    with Denoiser("gray-blind", tile=4096) as whole, case.denoiser(tile=64, batch=3) as tiled:
        assert np.abs(tiled(noisy) - whole(noisy)).max() < case.tolerance


def test_colour_and_alpha_plane_by_plane(case):
    image = to_levels(render(64, 48, 3))
    image = np.dstack([image, np.full(image.shape[:2], 7, np.uint8)])
    with Denoiser("gray-blind", tile=4096) as whole, case.denoiser() as denoise:
        result = denoise(image)
        assert np.array_equal(result[..., 3], image[..., 3])
        difference = np.abs(result.astype(int) - whole(image))
        assert difference.max() <= max(1, np.ceil(case.tolerance * WHITE))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((1, 1, 64, 48)), "expected float32 values, got float64"),
        (np.zeros((64, 48), np.float32), r"expected a non-empty batch \(N, C, H, W\)"),
        (np.zeros((0, 1, 64, 48), np.float32), r"expected a non-empty batch \(N, C, H, W\)"),
        (np.zeros((1, 3, 64, 48), np.float32), "expected 1 channels, got 3"),
        (np.zeros((1, 1, 48, 64), np.float32).transpose(0, 1, 3, 2), "expected a C-contiguous"),
    ],
)
def test_wrong_batches_get_the_same_message_everywhere(case, batch, message):
    with case.open() as backend:
        with pytest.raises(ShapeError, match=f"^{case.name} backend: {message}"):
            backend.infer(batch)
        backend.infer(noisy_batch(1, SIZES[0]))  # it goes on


def test_closing(case):
    backend = case.open()
    backend.close()
    backend.close()
    with pytest.raises(UsageError, match=f"{case.name} backend: used after close"):
        backend.infer(noisy_batch(1, SIZES[0]))


def test_two_instances_at_once(case, expected):
    batch = noisy_batch(1, SIZES[0])
    with case.open() as first:
        with case.open() as second:
            assert np.array_equal(first.infer(batch), second.infer(batch))
        assert np.abs(first.infer(batch) - expected(batch)).max() < case.tolerance


def test_many_threads(case, expected):
    batches = [noisy_batch(1, SIZES[i % 2], seed=i) for i in range(8)]
    with case.open() as backend, ThreadPoolExecutor(backend.lanes) as pool:
        results = list(pool.map(backend.infer, batches))
    for batch, result in zip(batches, results, strict=True):
        assert np.abs(result - expected(batch)).max() < case.tolerance
    images = [batch[0, 0] for batch in batches]
    with case.denoiser() as denoise, ThreadPoolExecutor(4) as pool:
        for result, batch in zip(pool.map(denoise, images), batches, strict=True):
            assert np.abs(result - expected(batch)[0, 0]).max() < case.tolerance


@pytest.mark.slow
def test_a_worker_process_started_by_spawn(case, expected, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    batch = noisy_batch(1, SIZES[0])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(infer, (str(case.model), case.name, case.options, batch))
        pool.close()
        pool.join()
    assert np.abs(result - expected(batch)).max() < case.tolerance


def test_a_device_that_is_not_there_is_refused(case):
    options = case.options | {"device": case.wrong_device}
    with pytest.raises(UsageError, match=r"[Aa]vailable") as error:
        open_backend(case.model, case.name, RunOptions(**options))
    assert case.wrong_device.partition(":")[0] in str(error.value)
    assert error.value.exit_status == 2


def test_options_of_other_backends_are_refused(case):
    foreign = {"precision": "fp16"} if case.name in ("onnx", "om") else {"provider": "cpu"}
    with pytest.raises(UsageError, match=f"{case.name} backend: has no --{next(iter(foreign))}"):
        open_backend(case.model, case.name, RunOptions(**(case.options | foreign)))


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.skipif(ALONE is not None, reason="the run in a process of its own")
def test_the_simulated_npu_keeps_the_contract():
    assert "skipped" in run_beside_fakes(__file__, ADNET_TEST_BACKEND="npu")
