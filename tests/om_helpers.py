"""OM files for tests, made as ATC would make them."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
from fakes.om_writer import om_bytes

from adnet.export.ascend.atc_config import AtcConfig, aipp_text
from adnet.export.to_om import conversion_facts, prepare_onnx
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.om_file import write_sidecar

FAKES = Path(__file__).parent / "fakes"
BSD68 = ((321, 481), (481, 321))
ARITHMETIC_FP32 = {"precision_mode": "origin"}


def noisy_image(height, width, channels=1, seed=0):
    return add_published_noise(render(height, width, channels, seed), 25)


def batch_of(count, height, width, channels=1):
    images = [noisy_image(height, width, channels, seed).reshape(height, width, channels)
              for seed in range(count)]  # fmt: skip
    planes = np.stack([image.transpose(2, 0, 1) for image in images])
    return np.ascontiguousarray(planes, np.float32)


def make_om(path: Path, model: str = "gray-blind", beside: bool = True, **options) -> Path:
    """Write the OM that ATC would make, and its sidecar.

    Without options: one image of 64x48, computed in float32.
    """
    onnx, card, input_name = prepare_onnx(model, path.parent)
    defaults = {"soc": "Ascend310P3", "channels": card.channels, "sizes": ((64, 48),)}
    config = AtcConfig(**(defaults | ARITHMETIC_FP32 | {"input_name": input_name} | options))
    attributes = {
        "atc_cmdline": " ".join(["atc", *config.arguments()]),
        "soc_version": config.soc,
        "atc_version": "stand-in",
    }
    aipp = aipp_text(config) if config.io == "uint8" else ""
    path.write_bytes(om_bytes("adnet", attributes, onnx.read_bytes(), aipp=aipp))
    if beside:
        write_sidecar(path, card, conversion_facts(config, onnx))
    return path


DEVLIBS = {
    "8.5": "{machine}-linux/devlib",
    "8.0": "{machine}-linux/devlib/linux/{machine}",
    "image": "devlib",
}
"""Where CANN keeps the stand-in for the driver's library, by its release."""


def install_atc(home: Path, layout: str | None = "8.5") -> Path:
    """Put the stand-in for ATC into a folder like CANN's, run by the interpreter that has onnx.

    Args:
        layout: a key of DEVLIBS; None: without devlib.

    Returns:
        The program.
    """
    home = home.resolve()
    program = home / "bin" / "atc"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKES / "atc"}" "$@"\n')
    program.chmod(0o755)
    (home / "opp").mkdir()
    (home / "set_env.sh").write_text(
        f'export ASCEND_TOOLKIT_HOME="{home}" ASCEND_OPP_PATH="{home}/opp"\n'
        f'export PATH="{home}/bin:$PATH"\n'
    )
    if layout is not None:
        devlib = home / DEVLIBS[layout].format(machine=platform.machine())
        devlib.mkdir(parents=True)
        (devlib / "libascend_hal.so").touch()
    return program


def run_beside_fakes(module: str, **environment: str) -> str:
    """Run a test module in a process of its own that finds the simulators; return its output.

    torch_npu registers its device for the whole process, so it cannot be there for other tests.
    """
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not long", module],
        env=os.environ | environment | {"PYTHONPATH": str(FAKES)},
        capture_output=True, text=True, timeout=300, check=False, cwd=FAKES.parent.parent,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    return result.stdout
