"""What is particular to the MNN backend; the rest is in the contract."""

import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.engine
pytest.importorskip("MNN", reason="needs MNN: pip install MNN")

from adnet.errors import ModelError, UsageError  # noqa: E402
from adnet.images.levels import from_levels, to_levels  # noqa: E402
from adnet.images.noise import add_published_noise  # noqa: E402
from adnet.images.synthetic import render  # noqa: E402
from adnet.models.shipped import WEIGHTS, pretrained_models  # noqa: E402
from adnet.runtime import inventory  # noqa: E402
from adnet.runtime.backend import RunOptions  # noqa: E402
from adnet.runtime.registry import open_backend  # noqa: E402

ONNX = WEIGHTS / "gray-25.onnx"
EXACT = [one for one in pretrained_models() if not one.name.endswith("-int8")]


def noisy(height, width, channels=1, count=1):
    images = [np.atleast_3d(add_published_noise(render(height, width, channels, seed=i), 25))
              for i in range(count)]  # fmt: skip
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2), np.float32)


@pytest.mark.parametrize("model", EXACT, ids=lambda one: one.name)
def test_every_shipped_model_at_many_sizes(model):
    """Sizes that fill no block of Winograd's transform, one after the other and back."""
    channels = model.card.channels
    with open_backend(model.path, "mnn") as ours, open_backend(model.path, "onnx") as other:
        for count, *size in [
            (1, 1, 1),
            (1, 1, 300),
            (2, 7, 5),
            (1, 97, 61),
            (3, 64, 48),
            (1, 7, 5),
        ]:
            batch = noisy(*size, channels, count)
            assert np.abs(ours.infer(batch) - other.infer(batch)).max() < 1e-3, size


def test_what_is_not_float32_is_refused():
    with pytest.raises(ModelError, match=r"computes in int8 .* use --backend onnx"):
        open_backend(WEIGHTS / "gray-25-int8.onnx", "mnn")
    for precision in ("fp16", "bf16", "int8"):
        with pytest.raises(UsageError, match=f"in fp32 alone, got --precision {precision}"):
            open_backend(ONNX, "mnn", RunOptions(precision=precision))
    with open_backend(ONNX, "mnn", RunOptions(precision="fp32")) as backend:
        assert backend.describe()["precision"] == "fp32"


@pytest.mark.torch
def test_a_file_of_one_size(tmp_path):
    pytest.importorskip("onnx")
    from adnet.export.to_onnx import checkpoint_to_onnx
    from adnet.export.torch_to_onnx import OnnxShape

    out = tmp_path / "fixed.onnx"
    checkpoint_to_onnx(ONNX, out, OnnxShape(2, (40, 56)), verify=False)
    with open_backend(out, "mnn") as ours, open_backend(out, "onnx") as other:
        assert ours.spec == other.spec
        batch = noisy(40, 56, count=2)
        assert np.abs(ours.infer(batch) - other.infer(batch)).max() < 1e-3


@pytest.mark.parametrize("content", [b"", b"\x08\x07not a model at all", b"\x80\x02}q\x00."])
def test_damaged_files(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx"):
        open_backend(tmp_path / "m.onnx", "mnn")


def test_no_room_to_convert(monkeypatch):
    from adnet.runtime.backends import mnn

    monkeypatch.setattr(mnn, "mnnconvert", lambda _: None)  # writes no file, as on a full disk
    with pytest.raises(ModelError, match="TMPDIR names another"):
        open_backend(ONNX, "mnn")


def test_a_pipe_holds_the_image_alone(tmp_path):
    """MNN and its converter print to standard output; the image must be all that is there."""
    from PIL import Image

    pixels = to_levels(from_levels(to_levels(render(48, 64))))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    command = [
        sys.executable,
        "-m",
        "adnet.runtime.cli",
        "-",
        "-o",
        "-",
        "--model",
        ONNX,
        "--backend",
    ]
    outputs = []
    for backend in ("mnn", "onnx"):
        with (tmp_path / "a.png").open("rb") as given:
            done = subprocess.run([*command, backend], stdin=given, capture_output=True, check=True)
        (tmp_path / f"{backend}.png").write_bytes(done.stdout)
        outputs.append(np.asarray(Image.open(tmp_path / f"{backend}.png")).astype(int))
        assert b"MNN" not in done.stderr
        assert done.stdout.endswith(b"IEND\xaeB`\x82")  # Pillow does not mind what follows
    assert np.abs(outputs[0] - outputs[1]).max() <= 1


def test_the_inventory():
    (row,) = inventory.rows_of("mnn")
    assert (row.backend, row.where, row.available) == ("mnn", "cpu", True)
    assert row.version
