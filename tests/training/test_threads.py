"""adnet-train's threads soon sleep while they wait, unless the user said otherwise."""

import os
import subprocess
import sys

import pytest

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")

CALL = """
import os, sys
from adnet.training.threads import sleep_when_idle
if sys.argv[1] == "torch":
    sys.modules["torch"] = sys
sleep_when_idle()
print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
"""


def environment(**given):
    return {key: one for key, one in os.environ.items() if key not in NAMES} | given


@pytest.mark.parametrize(
    ("given", "loaded", "expected"),
    [
        ({}, "nothing", "PASSIVE 1000"),
        ({}, "torch", "None None"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "nothing", "ACTIVE None"),
        ({"GOMP_SPINCOUNT": "7"}, "nothing", "None 7"),
        ({"KMP_BLOCKTIME": "200"}, "nothing", "None None"),
    ],
)
def test_what_is_set(given, loaded, expected):
    done = subprocess.run(
        [sys.executable, "-c", CALL, loaded], env=environment(**given), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == expected


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.skipif(sys.platform != "linux", reason="asks GNU's OpenMP, which torch has on Linux")
def test_openmp_sees_it(make_image, tmp_path):
    """It does only if it is set before torch is loaded."""
    for index in range(2):
        make_image(tmp_path / "data" / f"{index}.png", size=(40, 40), seed=index)
    done = subprocess.run(
        [sys.executable, "-m", "adnet.training.cli", tmp_path / "data", "--benchmark", "1",
         "--batch", "2", "--patch", "16", "--val-images", "1", "--scales", "1"],
        env=environment(OMP_DISPLAY_ENV="verbose"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "GOMP_SPINCOUNT = '1000'" in done.stderr
