"""Too little memory is told as such, whoever says it, with what helps; it is no bug of adnet's."""

import numpy as np
import pytest
import smear
from conftest import assert_clean_error

from adnet import Denoiser
from adnet.errors import NotEnoughMemory
from adnet.out_of_memory import explain_memory_error, is_out_of_memory


class OutOfMemoryError(RuntimeError):
    """Of the same name as torch's."""


CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 3.12 GiB is free. Of the allocated memory 70 GiB is allocated by PyTorch."
)
REPORTS = [
    MemoryError(),
    MemoryError("Unable to allocate 149. GiB for an array with shape (2, 9) and data type int64"),
    OutOfMemoryError(CUDA),
    RuntimeError("NPU out of memory. Tried to allocate 2.00 GiB (NPU 0; 60.97 GiB total capacity"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 8000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you "
        "tried to allocate 400 bytes."
    ),
    RuntimeError("Storage size calculation overflowed with sizes=[1000000000000000000, 50, 50]"),
    TypeError('randint(): error "Overflow when unpacking long long'),
    RuntimeError("std::bad_alloc"),
    RuntimeError(
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running "
        "Conv node. Name:'/conv1_2/Conv' Status Message: Failed to allocate memory for requested "
        "buffer of size 4294967296"
    ),
    RuntimeError("BFCArena: Available memory of 1000 is smaller than requested bytes of 2000"),
    ValueError("array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum"),
    ValueError("Maximum allowed dimension exceeded"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("bad value"),
    KeyError("out of memory"), RuntimeError(""), RuntimeError("the allocation of ports failed"),
]  # fmt: skip


@pytest.mark.parametrize("error", REPORTS, ids=str)
def test_whoever_reports_it(error):
    told = explain_memory_error(error, "--tile or --batch")
    assert told.startswith("not enough memory")
    assert told.endswith(
        "A smaller --tile or --batch takes less; or use a machine or device that has more free."
    )
    assert "enforce" not in told
    assert " ()" not in told
    assert "\n" not in told
    assert len(told) < 300


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_stay_what_they_are(error):
    assert not is_out_of_memory(error)
    assert explain_memory_error(error, "--tile") is None


def test_the_size_is_told():
    told = explain_memory_error(OutOfMemoryError(CUDA), "")
    assert told == (
        "not enough memory (CUDA out of memory. Tried to allocate 20.00 GiB). Use a machine or "
        "device that has more free."
    )


@pytest.mark.parametrize("error", REPORTS, ids=str)
def test_a_backend_raises_an_error_of_ours(monkeypatch, tmp_path, error):
    model = smear.install(monkeypatch, tmp_path)[0]

    def fail(*_):
        raise error

    monkeypatch.setattr(smear.SmearBackend, "_infer", fail)
    with Denoiser(model) as denoiser:
        with pytest.raises(NotEnoughMemory, match=r"smear backend: not enough memory.*--tile"):
            denoiser(np.zeros((20, 30), np.uint8))
        monkeypatch.undo()
        assert denoiser(np.zeros((20, 30), np.uint8)).shape == (20, 30)  # the next may fit


@pytest.mark.parametrize("error", OTHERS[:2], ids=repr)
def test_other_errors_of_a_backend_are_not_hidden(monkeypatch, tmp_path, error):
    model = smear.install(monkeypatch, tmp_path)[0]

    def fail(*_):
        raise error

    monkeypatch.setattr(smear.SmearBackend, "_infer", fail)
    with Denoiser(model) as denoiser, pytest.raises(type(error), match=str(error)):
        denoiser(np.zeros((20, 30), np.uint8))


def test_one_image_too_many_does_not_stop_a_folder(monkeypatch, tmp_path, cli_here, make_image):
    from adnet.runtime.cli import main

    model = smear.install(monkeypatch, tmp_path)[0]
    (tmp_path / "in").mkdir()
    make_image(tmp_path / "in" / "large.png", size=(90, 120))
    make_image(tmp_path / "in" / "small.png", size=(30, 40))
    infer = smear.SmearBackend._infer

    def fail(self, batch):
        if batch.size > 5000:
            raise OutOfMemoryError(CUDA)
        return infer(self, batch)

    monkeypatch.setattr(smear.SmearBackend, "_infer", fail)
    out = tmp_path / "out"
    result = cli_here(main, "adnet-run", tmp_path / "in", "-o", out, "--model", model)
    assert_clean_error(result, 1, "large.png", "not enough memory (CUDA out of memory", "--tile")
    assert [one.name for one in out.iterdir()] == ["small.png"]


@pytest.mark.parametrize("size", ["100000,100000", "3000000,3000000"])
def test_a_benchmark_of_what_fits_nowhere(cli_here, size):
    from adnet.benchmarks.cli import main

    result = cli_here(main, "adnet-bench", "--size", size, "--rounds", 1)
    assert_clean_error(result, 1, "not enough memory", "--batch or --size")


def test_a_benchmark_of_a_batch_that_fits_nowhere(cli_here):
    from adnet.benchmarks.cli import main

    result = cli_here(main, "adnet-bench", "--size", "64,64", "--rounds", 1, "--batch", 10**11)
    assert_clean_error(result, 1, "not enough memory", "--batch or --size")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"message": f"OutOfMemoryError: {CUDA}", "extraInfo": {"py_callstack": "Trace\nback"}},
         "not enough memory (OutOfMemoryError: CUDA out of memory. Tried"),
        ({"message": "ValueError: bad\nC++ frames", "extraInfo": {}}, "ValueError: bad"),
        ("Signal 9 (SIGKILL) received by PID 12", "Signal 9 (SIGKILL) received by PID 12"),
        ("", "no message."), ({}, "no message."),
    ],
)  # fmt: skip
def test_what_a_worker_died_of(message, told):
    from adnet.training.launch import _reason

    assert _reason(message).startswith(told)
    assert "\n" not in _reason(message)


@pytest.mark.torch
@pytest.mark.slow
def test_workers_that_are_out_of_memory(cli, tmp_path, make_image):
    for seed in range(3):
        make_image(tmp_path / "images" / f"{seed}.png", size=(64, 64), seed=seed)
    result = cli(
        "adnet-train", tmp_path / "images", "-o", tmp_path / "run", "--steps", 1, "--val-images", 1,
        "--device", "cpu", "--procs", 2, "--batch", 10**12,
    )  # fmt: skip
    assert_clean_error(result, 1, "died 4 times", "not enough memory", "--batch or --patch")
    assert "py_callstack" not in result.stderr


@pytest.mark.torch
@pytest.mark.parametrize("batch", [10**12, 10**17, 10**24])
def test_training_with_a_batch_that_fits_nowhere(cli_here, tmp_path, make_image, batch):
    from adnet.training.cli import main

    for seed in range(3):
        make_image(tmp_path / "images" / f"{seed}.png", size=(64, 64), seed=seed)
    result = cli_here(
        main, "adnet-train", tmp_path / "images", "-o", tmp_path / "run", "--steps", 1,
        "--val-images", 1, "--device", "cpu", "--batch", batch,
    )  # fmt: skip
    assert_clean_error(result, 1, "not enough memory", "--batch or --patch")
