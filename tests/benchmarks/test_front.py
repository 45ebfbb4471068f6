"""Speed against quality: what is at the front, in the table, and drawn."""

import pytest
from bench_helpers import empty_result
from PIL import Image

from adnet.benchmarks.cli import main
from adnet.benchmarks.front import points
from adnet.benchmarks.results import CandidateRecord, Latency, QualityRecord, SpeedRecord
from adnet.benchmarks.results_json import write_result
from adnet.benchmarks.sections import sections
from adnet.benchmarks.timing import Interval


def result_of(**figures):
    """Make a result of candidate -> (images/s, PSNR); names that begin with peer are peers."""
    result = empty_result(command="x")
    for name, (rate, psnr) in figures.items():
        peer = name.startswith("peer")
        result.candidates.append(
            CandidateRecord(name, name, "m.onnx", "", "", 1, "cpu", "fp32", peer, False)
        )
        result.speed.append(
            SpeedRecord(
                name, 1, (321, 481), 5, Latency(1, 1, 1), Interval(rate, rate, rate), None, 1.0,
                1.0, None, None, peer, (1 / rate,) * 5,
            )
        )  # fmt: skip
        result.quality.append(
            QualityRecord(
                name, "BSD68", 25.0, 1, psnr, psnr, None, None, psnr - 29.0, False, {"a": psnr},
                "ours", 0.0,
            )
        )  # fmt: skip
    return result


@pytest.mark.parametrize(
    ("figures", "front"),
    [
        ({"ours": (1, 29)}, {"ours"}),
        ({"ours": (1, 29), "peer": (2, 29)}, {"peer"}),
        ({"ours": (2, 29), "peer": (1, 29)}, {"ours"}),
        ({"ours": (1, 29), "int8": (3, 28.99), "peer": (2, 28.98)}, {"ours", "int8"}),
        ({"ours": (1, 29), "int8": (3, 28.9), "peer": (2, 28.98)}, {"ours", "int8", "peer"}),
        # Rounding is no quality: the slower one gains nothing by it.
        ({"ours": (1, 29.0001), "peer": (2, 29)}, {"peer"}),
        ({"ours": (1, 29), "peer": (1, 29)}, {"ours", "peer"}),
        ({"ours": (1, 29), "peer": (1, 28)}, {"ours"}),
    ],
)
def test_what_is_at_the_front(figures, front):
    assert {one.candidate for one in points(result_of(**figures)) if one.at_front} == front


def test_the_table_and_the_picture(cli_here, tmp_path):
    pytest.importorskip("matplotlib")
    result = result_of(ours=(1, 29), int8=(3, 28.99), peer=(2, 28.98))
    (table,) = (one for one in sections(result) if one.name == "front")
    assert [row[0] for row in table.rows] == ["int8", "peer (peer)", "ours"]
    assert [row[-1] for row in table.rows] == ["yes", "", "yes"]
    write_result(result, tmp_path / "r.json")
    for name in ("a.html", "front.png", "front.svg"):
        done = cli_here(main, "adnet-bench", "report", tmp_path / "r.json", "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
    for name in ("a.html", "front.svg"):
        text = (tmp_path / name).read_text("utf-8")
        assert "int8, 3.00 images/s, -0.010 dB" in text
        assert "the front" in text
    with Image.open(tmp_path / "front.png") as picture:
        assert picture.size[0] > 600


def test_one_candidate_has_no_front(cli_here, tmp_path):
    pytest.importorskip("matplotlib")
    result = result_of(ours=(1, 29))
    assert "front" not in [one.name for one in sections(result)]
    write_result(result, tmp_path / "r.json")
    done = cli_here(main, "adnet-bench", "report", tmp_path / "r.json", "-o", tmp_path / "f.png")
    assert done.returncode == 2
    assert "at least two candidates" in done.stderr
