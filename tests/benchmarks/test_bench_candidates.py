"""What adnet-bench measures: models on backends, at batches and sizes that they take."""

import shutil

import pytest
from bench_helpers import empty_result
from conftest import assert_clean_error, hasten_benchmarks

from adnet.benchmarks import memory, speed
from adnet.benchmarks.candidates import CandidateSource, open_candidates
from adnet.benchmarks.cli import main
from adnet.benchmarks.results_json import read_result
from adnet.export import variants as onnx_variants
from adnet.models.checkpoint import load_checkpoint, save_checkpoint
from adnet.models.shipped import WEIGHTS
from adnet.runtime.backend import RunOptions


@pytest.fixture
def measured_cells(monkeypatch):
    """Measure cells: measured_cells(candidates, batches, sizes, rounds) gives the result."""

    hasten_benchmarks(monkeypatch)

    def measure(candidates, batches, sizes, rounds=2):
        result = empty_result()
        result.candidates = [one.record() for one in candidates]
        speed.measure_speed(result, candidates, batches, sizes, rounds, 25)
        return result

    return measure


def test_peak_is_what_a_matrix_product_reaches(measured_cells):
    with open_candidates(["onnx"], ["gray-blind"], RunOptions()) as candidates:
        result = measured_cells(candidates.opened, [1], [(24, 32)])
    machine, (entry,) = result.machine, result.speed
    # The slowest machine that is busy with other work.
    assert machine.gflop_per_s > 0.1
    assert machine.copy_gb_per_s > 0.01
    assert entry.share_of_peak == pytest.approx(entry.gflop_per_s / machine.gflop_per_s)
    # The roof is that of all cores in float32.
    with open_candidates(["onnx"], ["gray-blind"], RunOptions(threads=1)) as candidates:
        (entry,) = measured_cells(candidates.opened, [1], [(24, 32)]).speed
    assert entry.share_of_peak is None


def test_device_only_leaves_the_warm_up_out(measured_cells):
    with open_candidates(["onnx"], ["gray-blind"], RunOptions()) as candidates:
        (candidate,) = candidates.opened
        infer, calls = candidate.backend.infer, []

        def told(batch):
            calls.append(None)
            candidate.backend.device_seconds = 1.0 if len(calls) == 1 else 0.01
            return infer(batch)

        candidate.backend.infer = told
        (entry,) = measured_cells([candidate], [2], [(24, 32)]).speed
    assert entry.device_only_images_per_s == pytest.approx(200)


def test_a_cell_that_fails_leaves_the_others(measured_cells):
    """Whatever an engine raises, out of memory for example."""
    with open_candidates(["onnx"], ["gray-blind"], RunOptions()) as candidates:
        (candidate,) = candidates.opened
        infer = candidate.backend.infer

        def greedy(batch):
            if len(batch) == 4:
                raise RuntimeError("out of memory")
            return infer(batch)

        candidate.backend.infer = greedy
        result = measured_cells([candidate], [1, 4], [(24, 32)])
    assert [one.batch for one in result.speed] == [1]
    assert result.errors == {"onnx at 4x24x32": "out of memory"}


def test_shapes_that_a_model_does_not_take_are_told(measured_cells, checkpoint, tmp_path):
    from adnet.export.to_onnx import checkpoint_to_onnx
    from adnet.export.torch_to_onnx import OnnxShape

    checkpoint_to_onnx(checkpoint, tmp_path / "f.onnx", OnnxShape(1, (24, 32)), verify=False)
    models = [str(tmp_path / "f.onnx"), "gray-blind"]
    with open_candidates(["onnx"], models, RunOptions(), ["bare-onnxruntime"]) as candidates:
        fixed, free, peer = candidates.opened
        result = measured_cells([fixed, free, peer], [1, 2], [(24, 32)])
        nothing = measured_cells([fixed], [2], [(28, 36)])
    cells = {(one.candidate, one.batch) for one in result.speed}
    assert cells == {("onnx f.onnx", 1), ("onnx gray-blind.onnx", 1), ("onnx gray-blind.onnx", 2),
                     ("bare-onnxruntime", 1)}  # fmt: skip
    assert set(result.left_out) == {"onnx f.onnx at 2x24x32", "bare-onnxruntime at 2x24x32"}
    # Beside the first candidate where it has the same cell, beside nobody elsewhere.
    beside = {(one.candidate, one.batch): one.times_as_fast for one in result.speed}
    assert beside["onnx gray-blind.onnx", 1].base == "onnx f.onnx"
    assert beside["onnx gray-blind.onnx", 2] is None
    assert "takes none of these" in nothing.errors["onnx f.onnx, speed"]


def test_memory_and_time_of_a_candidate_alone(tmp_path):
    """In a process of its own; one that fails there is told by None."""
    alone = memory.load_alone(
        CandidateSource("onnx", WEIGHTS / "gray-blind.onnx", RunOptions()), (24, 32)
    )
    assert alone.load_s > 0
    assert alone.peak_memory_mb > 20
    lost = memory.load_alone(
        CandidateSource("onnx", tmp_path / "none.onnx", RunOptions()), (24, 32)
    )
    assert lost == memory.Footprint(None, None)


def changed(path, source):
    """Write a checkpoint with other weights than `source`."""
    loaded = load_checkpoint(source)
    state = loaded.network.state_dict()
    state["conv1_16.weight"] *= 0.5
    path.parent.mkdir()
    save_checkpoint(path, state, loaded.card)
    return path


def test_models_of_one_name_are_told_apart(cli_here, clean, checkpoint, tmp_path):
    """Every training run has its best.pth."""
    models = [tmp_path / "a" / "best.pth", changed(tmp_path / "b" / "best.pth", checkpoint)]
    models[0].parent.mkdir()
    shutil.copy(checkpoint, models[0])
    out = tmp_path / "out.json"
    arguments = [part for model in models for part in ("--model", model)]
    result = cli_here(main, "adnet-bench", "--backend", "torch", *arguments, "--data", clean,
                      "--rounds", "0", "--json", out, "--quiet")  # fmt: skip
    assert result.returncode == 0, result.stderr
    first, second = read_result(out).quality
    assert (first.candidate, second.candidate) == ("torch a/best.pth", "torch b/best.pth")
    assert first.psnr > second.psnr + 1
    assert first.largest_difference == 0 < second.largest_difference


def test_models_that_only_some_backends_run(cli_here, clean, checkpoint, tmp_path):
    half = tmp_path / "half.onnx"
    onnx_variants.to_half(WEIGHTS / "gray-blind.onnx", half, keep_float_io=True)
    models = ["--model", checkpoint, "--model", "gray-blind", "--model", half]
    out = tmp_path / "out.json"
    result = cli_here(main, "adnet-bench", "--backend", "torch,onnx", *models, "--data", clean,
                      "--rounds", "0", "--json", out, "--quiet")  # fmt: skip
    assert result.returncode == 0, result.stderr
    data = read_result(out)
    assert [one.name for one in data.candidates] == [
        "torch gray-blind.pth", "torch gray-blind.onnx", "onnx gray-blind.onnx", "onnx half.onnx",
    ]  # fmt: skip
    assert set(data.left_out) == {"torch half.onnx"}
    assert all(len(one.model_sha256) == 64 for one in data.candidates)
    # Differences are to float32, whatever comes first.
    assert {one.reference for one in data.quality} == {"torch gray-blind.pth"}


@pytest.mark.parametrize(
    ("models", "parts"),
    [
        (["gray-blind", "broken.onnx"], ["broken.onnx", "ONNX"]),
        (["gray-blind", "gray.pth"], ["gray.pth", "none of onnx runs such a file"]),
        (["gray-blind", "copy.onnx"], ["copy.onnx", "holds the same as"]),
    ],
)
def test_models_that_are_asked_for_in_vain(cli_here, checkpoint, tmp_path, models, parts):
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    shutil.copy(checkpoint, tmp_path / "gray.pth")
    shutil.copy(WEIGHTS / "gray-blind.onnx", tmp_path / "copy.onnx")
    arguments = [part for model in models for part in ("--model", model)]
    result = cli_here(main, "adnet-bench", *arguments, "--rounds", "1", "--quiet", cwd=tmp_path)
    assert_clean_error(result, 2, *parts)
