"""Results of adnet-bench as files: written and read whole, older ones too, damaged ones refused."""

import copy
import json
import warnings

import pytest
from bench_helpers import SAMPLES, empty_result, speed_record
from conftest import assert_clean_error

from adnet.benchmarks.cli import main
from adnet.benchmarks.results import CandidateRecord
from adnet.benchmarks.results_json import VERSION, from_json, read_result, to_json, write_result
from adnet.benchmarks.sections import markdown
from adnet.errors import UsageError

KEPT = ["bench-0.1.0.json", "scaling-0.1.0.json"]
"""Written by adnet 0.1.0, schema version 2."""


@pytest.mark.parametrize("name", KEPT)
def test_files_of_0_1_0_are_still_read(name, cli_here):
    """Every figure is where it was, under its name of today."""
    old, result = json.loads((SAMPLES / name).read_text("utf-8")), read_result(SAMPLES / name)
    for before, after in zip(old["subjects"], result.candidates, strict=True):
        assert (after.name, after.model) == (before["subject"], before["model"])
        assert (after.is_peer, after.is_simulated) == (before["is_peer"], before["is_simulated"])
        assert (after.load_s, after.peak_memory_mb) == (before["load_s"], before["peak_memory_mb"])
        assert after.facts.items() <= before.items()
        told = {"backend", "device", "precision", "threads", "pyacl"} & set(before)
        assert told <= set(after.facts)
        assert after.facts.keys().isdisjoint({"subject", "model", "weights_sha256"})
    for before, after in zip(old["speed"], result.speed, strict=True):
        assert (after.candidate, after.batch) == (before["subject"], before["batch"])
        assert list(after.size) == before["size"]
        assert list(after.seconds) == before["seconds"]
        assert after.images_per_s.low == before["images_per_s"]["low"]
        assert (after.times_as_fast is None) == (before["times_as_fast"] is None)
        if after.times_as_fast:
            assert after.times_as_fast.base == before["times_as_fast"]["as"]
            assert after.times_as_fast.high == before["times_as_fast"]["high"]
    for before, after in zip(old["quality"], result.quality, strict=True):
        assert (after.candidate, after.psnr) == (before["subject"], before["psnr"])
        assert after.per_image == before["per_image"]
    for before, after in zip(old["examples"], result.examples, strict=True):
        assert (after.candidate, after.denoised) == (before["subject"], before["denoised"])
    for before, after in zip(old["scaling"], result.scaling, strict=True):
        assert (after.axis, after.x) == (before["axis"], before["x"])
        assert after.mpix_per_s.value == before["mpix_per_s"]["value"]
    assert {name: one.images for name, one in result.end_to_end.items()} == {
        name: one["images"] for name, one in old["end_to_end"].items()
    }
    assert result.left_out == old["left_out"]
    assert result.complete
    for candidate in result.candidates:
        assert f"| {candidate.name}" in markdown(result)
    compared = cli_here(main, "adnet-bench", "compare", SAMPLES / name, SAMPLES / name)
    assert compared.returncode == 0, compared.stderr


@pytest.mark.parametrize("name", KEPT)
def test_what_is_written_is_read_back(name, tmp_path):
    result = read_result(SAMPLES / name)
    write_result(result, tmp_path / "new.json")
    assert json.loads((tmp_path / "new.json").read_text("utf-8"))["version"] == VERSION
    assert read_result(tmp_path / "new.json") == result
    assert "subject" not in (tmp_path / "new.json").read_text("utf-8")


def test_keys_that_are_not_known_are_ignored():
    data = to_json(read_result(SAMPLES / KEPT[0]))
    more = copy.deepcopy(data)
    for part in (more, more["environment"], more["candidates"][0], more["speed"][0],
                 more["speed"][0]["latency_ms"]):  # fmt: skip
        part["a later key"] = {"of": "any kind"}
    assert from_json(more) == from_json(data)


def places(data, path=()):
    """Walk to every value of a JSON document, of lists to the first."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*path, key), value
            yield from places(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data[:1]):
            yield (*path, index), value
            yield from places(value, (*path, index))


def parent(data, path):
    for key in path[:-1]:
        data = data[key]
    return data


def as_today():
    """A file of 0.1.0 as it would be written now."""
    return json.loads(json.dumps(to_json(read_result(SAMPLES / KEPT[0]))))


FREE = {(key,) for key in ("facts", "versions", "per_image", "errors", "left_out", "end_to_end")}
"""Parts whose keys are names."""


@pytest.mark.parametrize("version", [2, VERSION])
def test_every_part_that_is_missing_or_damaged_is_named(version):
    """One key or value at a time: an error that says where, never another exception."""
    data = json.loads((SAMPLES / KEPT[0]).read_text("utf-8")) if version == 2 else as_today()
    found = 0
    facts = {"provider", "input", "streams", "threads", "onnxruntime"}  # free text in version 2
    for path, value in list(places(data)):
        if path[0] in ("schema", "version") or path[-1] in facts:
            continue
        within = parent(data, path)
        changes = [[[]]]  # of no part's type
        has_default = path[-1] in ("load_s", "peak_memory_mb", "facts", "images_sha256") or (
            path[0] == "scaling" and path[-1] == "size"
        )
        if not isinstance(path[-1], int) and path[-2:-1] not in FREE and not has_default:
            changes.append(None)
        for change in changes:
            within[path[-1]] = change
            if change is None:
                del within[path[-1]]
            with pytest.raises(UsageError, match=r"damaged: \w|incomplete, lacks \w"):
                from_json(data)
            within[path[-1]] = value
            found += 1
    assert found > 120


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("{", ["not JSON"]),
        ("[]", ["not a result of adnet-bench"]),
        ("\udcff", ["not JSON"]),
        ('{"schema": "adnet-bench"}', ["schema version None", "reads 2 and 3"]),
        ('{"schema": "adnet-bench", "version": 1}', ["schema version 1", "measure again"]),
        ('{"schema": "adnet-bench", "version": 99}', ["schema version 99"]),
        ('{"schema": "adnet-bench", "version": 2}', ["incomplete, lacks environment"]),
        ('{"schema": "adnet-bench", "version": 3, "environment": []}',
         ["environment: expected an object, got []"]),
        (None, ["cannot be read"]),
    ],
)  # fmt: skip
def test_files_that_are_no_results(cli_here, tmp_path, content, parts):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    for command in (["compare", path, path], ["report", path, "-o", tmp_path / "a.html"]):
        result = cli_here(main, "adnet-bench", *command)
        assert_clean_error(result, 2, str(path), *parts)
        assert not (tmp_path / "a.html").exists()


def test_a_damaged_value_is_told_with_its_place():
    result = empty_result()
    result.speed = [speed_record("onnx", [1.0, 2.0]), speed_record("torch", [1.0, 2.0])]
    data = to_json(result)
    data["speed"][1]["seconds"] = [1.0, "fast"]
    with pytest.raises(UsageError, match=r'speed\[1\].seconds\[1\]: expected a number, got "fast"'):
        from_json(data)
    data = to_json(result)
    data["speed"][0]["size"] = [1, 2, 3]
    with pytest.raises(UsageError, match=r"speed\[0\].size: expected 2 numbers, got"):
        from_json(data)


def test_parts_do_not_change_once_measured():
    record = CandidateRecord("a", "onnx", "m", "0", "0", 1, "cpu", "fp32", False, False)
    with pytest.raises(AttributeError):
        record.load_s = 1.0
    assert record.facts == {}


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("environment", "cores"), 10**400, "environment.cores: expected a number up to 1e+15"),
        (("environment", "cores"), 0, "environment.cores: expected more than 0, got 0"),
        (("machine", "copy_gb_per_s"), 0.0, "machine.copy_gb_per_s: expected more than 0"),
        (("machine",), None, "machine: expected the roofs"),
        (("candidates",), [], "speed[0].candidate: expected the name of a candidate"),
        (("candidates", 0, "channels"), 2, "candidates[0].channels: expected 1 or 3, got 2"),
        (("speed", 0, "candidate"), "other", "expected the name of a candidate, got other"),
        (("speed", 0, "seconds"), [], "speed[0].seconds: expected at least one time"),
        (("speed", 0, "seconds", 1), float("inf"), "speed[0].seconds[1]: expected a number up to"),
        (("speed", 0, "images_per_s", "low"), 1e9, "expected a value within its interval"),
        (("speed", 0, "size", 0), -4, "speed[0].size[0]: expected more than 0, got -4"),
        (("end_to_end", "onnx", "seconds"), [], "end_to_end.onnx.seconds: expected at least"),
        (("quality", 0, "reference"), "other", "quality[0].reference: expected a candidate"),
        (("quality", 0, "per_image"), {}, "quality[0].per_image: expected at least one image"),
        (("quality", 0, "psnr"), -1e300, "quality[0].psnr: expected a number up to"),
        (("quality", 1, "per_image"), {"b": 30.0}, "expected the images of the first candidate"),
        (("examples", 0, "candidate"), "", "examples[0].candidate: expected the name"),
    ],
)
def test_what_cannot_have_been_measured_is_refused(cli_here, tmp_path, path, value, told):
    data = as_today()
    parent(data, path)[path[-1]] = value
    (tmp_path / "a.json").write_text(json.dumps(data))
    given = tmp_path / "a.json"
    for command in (["compare", given, given], ["report", given, "-o", tmp_path / "a.html"]):
        result = cli_here(main, "adnet-bench", *command)
        assert_clean_error(result, 2, f"{given}: damaged: ", told)
        assert not (tmp_path / "a.html").exists()


ODD = [None, "", "<b>", 0, -1, 10**400, float("nan"), float("inf"), 1e308, True, [], {}, [-1, -1]]


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_whatever_stands_in_a_file_it_is_drawn_or_refused(tmp_path):
    """Every value, of lists the first, by each of ODD: a page or a plain error."""
    pytest.importorskip("matplotlib")
    from adnet.benchmarks.plots import write_front
    from adnet.benchmarks.report import write_report

    data = as_today()
    drawn = 0
    for path, value in list(places(data)):
        within = parent(data, path)
        for odd in ODD:
            within[path[-1]] = odd
            try:
                result = from_json(data)
            except UsageError:
                continue
            finally:
                within[path[-1]] = value
            markdown(result)
            # What is no number in a quality is legal; its plots only warn.
            with warnings.catch_warnings():
                if path[0] == "quality":
                    warnings.simplefilter("ignore", RuntimeWarning)
                if result.speed and result.quality:
                    write_report(result, tmp_path / "a.html")
                    write_front(result, tmp_path / "a.svg")
                    drawn += 1
    assert drawn > 50
