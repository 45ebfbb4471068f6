"""One int8 file gives one result: on ONNX Runtime and OpenVINO, with VNNI and without."""

import os
import subprocess
import sys

import numpy as np
import pytest

from adnet.images.metrics import psnr
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.shipped import WEIGHTS, pretrained_models
from adnet.runtime.registry import open_backend

pytestmark = pytest.mark.slow
pytest.importorskip("openvino", reason="needs openvino: pip install openvino")

INT8 = [one.name for one in pretrained_models() if one.name.endswith("-int8")]

RUN = """
import sys
import numpy as np
from pathlib import Path
from adnet.runtime.registry import open_backend
model, given, result = sys.argv[1:]
with open_backend(Path(model), "openvino") as backend:
    np.save(result, backend.infer(np.load(given)))
"""


@pytest.mark.parametrize("name", INT8)
def test_engines_and_processors_agree(name, tmp_path):
    """As far as this machine's processor can be told to be an older one.

    OpenVINO's oneDNN can: AVX2 has no VNNI. ONNX Runtime has no such switch.
    """
    model = WEIGHTS / f"{name}.onnx"
    with open_backend(model, "onnx") as backend:
        channels = backend.card.channels
        clean = render(200, 300, channels, 5)
        noisy = np.atleast_3d(add_published_noise(clean, 25)).transpose(2, 0, 1)
        batch = np.ascontiguousarray(noisy[None], np.float32)
        results = {"onnx": backend.infer(batch)}
    np.save(tmp_path / "given.npy", batch)
    for isa in ("", "AVX512_CORE", "AVX2_VNNI", "AVX2"):
        env = os.environ | ({"ONEDNN_MAX_CPU_ISA": isa} if isa else {})
        target = tmp_path / f"{isa}.npy"
        subprocess.run(
            [sys.executable, "-c", RUN, model, tmp_path / "given.npy", target], env=env, check=True
        )
        results[f"openvino {isa}"] = np.load(target)
    quality = {}
    for key, result in results.items():
        assert np.abs(result - results["onnx"]).max() < 1e-2, key
        planes = result[0].transpose(1, 2, 0).reshape(clean.shape)
        quality[key] = psnr(clean, np.clip(planes, 0, 1))
    assert max(quality.values()) - min(quality.values()) < 0.002, quality
