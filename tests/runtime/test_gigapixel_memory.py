"""Images by chunk through adnet-run: killed (SIGKILL) and resumed, in memory set by the chunk."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from adnet.models.card import ModelCard

zarr = pytest.importorskip("zarr")
tifffile = pytest.importorskip("tifffile")
from adnet.benchmarks.studies.gigapixel_memory import run, write_image  # noqa: E402
from adnet.runtime.gigapixel.source import open_source  # noqa: E402

pytestmark = [pytest.mark.scale, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.parametrize(
    "megapixels",
    [pytest.param(40, marks=pytest.mark.slow), pytest.param(1000, marks=pytest.mark.long)],
)
def test_killed_and_resumed_below_a_gigabyte(tmp_path, monkeypatch, megapixels):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "samples" / "plugin"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    model = tmp_path / "m.inverse"
    model.write_text(ModelCard(1, name="inverse").to_json())
    side, _ = write_image(tmp_path / "in.tif", megapixels)
    source, target = tmp_path / "in.tif", tmp_path / "out.zarr"
    script = Path(sys.executable).parent / "adnet-run"
    command = [str(script), str(source), "-o", str(target), "--model", str(model)]
    partial = Path(f"{target}.partial")
    _, peak, status = run(command, partial, 10)
    assert status == -9
    assert peak < 1000
    assert not target.exists()
    done = {path: path.stat().st_mtime_ns for path in (partial / "c").rglob("*") if path.is_file()}
    assert len(done) >= 10
    _, peak, status = run(command, partial, None)
    assert status == 0
    assert peak < 1000
    assert not partial.exists()
    for path, written in done.items():
        if path.name.isdigit():  # else it was left half written by the killed run
            assert os.stat(target / path.relative_to(partial)).st_mtime_ns == written
    array, image = zarr.open(target, mode="r"), open_source(str(source))
    assert array.shape == (side, side)
    for row in range(0, side - 700, 1500):
        place = (slice(row, row + 700), slice(side - row - 700, side - row))
        np.testing.assert_array_equal(array[place], 255 - image.read(place))
    image.close()


@pytest.mark.long
def test_thirty_megapixels_through_a_shipped_model(tmp_path):
    write_image(tmp_path / "in.tif", 30)
    target = tmp_path / "out.zarr"
    script = Path(sys.executable).parent / "adnet-run"
    command = [str(script), str(tmp_path / "in.tif"), "-o", str(target), "--model", "gray-25"]
    for stop_at, expected in ((12, -9), (None, 0)):
        _, peak, status = run(command, Path(f"{target}.partial"), stop_at)
        assert status == expected
        assert peak < 1000
