"""Images kept aside and images rescaled; and that none of adnet.data needs torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from adnet.data.held_out import hold_out, rescaled, split
from adnet.errors import TrainingError

MODULES = sorted(
    f"adnet.data.{path.stem}" for path in (ROOT / "adnet" / "data").glob("[!_]*.py")
)  # fmt: skip

# What the training must not be needed for either: its own modules are out of reach, too.
WITHOUT_TORCH = "import sys\nfor name in ('torch', 'adnet.training'): sys.modules[name] = None\n"


def without_torch(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + script, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@given(count=st.integers(1, 500), held=st.integers(0, 60))
def test_as_many_as_asked_are_held_out_and_the_rest_is_trained_on(count, held):
    if held >= count:
        with pytest.raises(TrainingError, match=f"{count} images are too few to hold out {held}"):
            hold_out(count, held)
        return
    chosen = hold_out(count, held)
    assert len(chosen) == held
    assert chosen <= set(range(count))
    kept, aside = split(range(count), chosen)
    assert aside == sorted(chosen)
    assert kept == sorted(set(range(count)) - chosen)


@pytest.mark.parametrize("channels", [1, 3])
def test_rescaled_sizes(channels):
    image = np.zeros((100, 50, 3) if channels == 3 else (100, 50), np.uint8)
    planes = image.shape[2:]
    found = [one.shape for one in rescaled([image], (1.0, 0.7, 0.001))]
    assert found == [(100, 50, *planes), (70, 35, *planes), (1, 1, *planes)]


@pytest.mark.parametrize("name", MODULES)
def test_no_module_of_the_data_imports_torch_or_the_training(name):
    result = without_torch(f"import {name}")
    assert result.returncode == 0, result.stderr


def test_stores_are_prepared_without_torch(tmp_path, make_image):
    for index in range(3):
        make_image(tmp_path / "photos" / f"{index}.png", size=(70, 60), seed=index)
    result = without_torch(
        "from adnet.data.cli import main; main()", "prepare", tmp_path / "photos",
        "-o", tmp_path / "out", "--val-images", 1, "--quiet",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert {path.name for path in Path(tmp_path, "out").iterdir()} == {"train.h5", "val.h5"}
