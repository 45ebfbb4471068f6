"""OM files for tests, made as ATC would make them."""

import json
import sys
from pathlib import Path

import numpy as np
from adnet.export.aipp import aipp_text
from adnet.export.atc_config import AtcConfig
from adnet.export.om import prepare_onnx, sidecar
from fakes.om_writer import om_bytes

from adnet.noise import add_published_noise
from adnet.synthetic import render

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
        path.with_name(path.name + ".json").write_text(json.dumps(sidecar(card, config, onnx)))
    return path


def install_atc(folder: Path) -> Path:
    """Put the stand-in for ATC into a folder, run by the interpreter that has onnx."""
    folder.mkdir()
    program = folder / "atc"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKES / "atc"}" "$@"\n')
    program.chmod(0o755)
    return program
