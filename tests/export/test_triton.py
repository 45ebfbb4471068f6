"""adnet-export triton: what is written, without a server."""

import pytest
from conftest import assert_clean_error

from adnet.errors import ModelError, UsageError
from adnet.export.triton.config import Serving, config_text
from adnet.export.triton.repository import write_repository
from adnet.models.shipped import WEIGHTS, resolve_model
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.in_memory import denoise_file


@pytest.mark.parametrize("mode", ["image", "tiles"])
def test_the_command_writes_a_repository(cli, tmp_path, mode):
    folder = tmp_path / "models"
    done = cli("adnet-export", "triton", "gray-blind", "-o", folder, "--mode", mode)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == sorted(
        ["Dockerfile", "README.md", "kserve.yaml", *(["client.py"] if mode == "tiles" else [])]
    )
    model = folder / "adnet" / "1" / "model.onnx"
    assert model.read_bytes() == resolve_model("gray-blind").read_bytes()
    assert (folder / "adnet" / "1" / "model.py").exists() == (mode == "image")
    assert "untested" in (folder / "kserve.yaml").read_text().lower()
    assert "docker run" in (folder / "README.md").read_text()
    again = cli("adnet-export", "triton", "gray-blind", "-o", folder, "--mode", mode)
    assert_clean_error(again, 2, "is not empty")


@pytest.mark.parametrize("name", ["gray-blind", "color-blind"])
def test_tiles_have_the_planes_of_the_model(tmp_path, name):
    write_repository(name, tmp_path / "m", Serving(mode="tiles", name="other", batch=4, queue=7))
    text = (tmp_path / "m" / "other" / "config.pbtxt").read_text()
    assert f"dims: [ {1 if name == 'gray-blind' else 3}, -1, -1 ]" in text
    assert "max_batch_size: 4" in text
    assert "max_queue_size: 7" in text


@pytest.mark.parametrize("serving", [
    {"instances": 0}, {"queue": 0}, {"batch": 0}, {"threads": 0}, {"max_pixels": 0}, {"name": ""},
    {"name": "../up"}, {"name": 'a"b'}, {"name": "ä"},
    {"name": "-a"}, {"name": "--from"}, {"name": "_"}, {"name": "a\n"}, {"name": "a b"},
    {"name": "$a"},
])  # fmt: skip
def test_what_cannot_be_served_is_refused(serving):
    with pytest.raises(UsageError, match=next(iter(serving)).replace("_", "-")):
        Serving(**serving)


def test_a_model_that_is_no_onnx_file_is_refused(tmp_path):
    file = tmp_path / "model.om"
    file.write_bytes(b"IMOD" + bytes(100))
    with pytest.raises(ModelError, match="adnet-export onnx"):
        write_repository(str(file), tmp_path / "models", Serving())
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("mode", ["image", "tiles"])
def test_every_field_is_one_of_tritons(mode):
    config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    text_format = pytest.importorskip("google.protobuf.text_format")
    text = config_text(Serving(mode=mode, threads=2), 1, "model.onnx")
    config = text_format.Parse(text, config_pb2.ModelConfig())
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 16
    assert config.input[0].name == "image"


@pytest.mark.parametrize("suffix", ["", ".tif", ".PNG", ".unknown"])
def test_a_file_in_memory_is_denoised_as_on_disk(cli, tmp_path, make_image, suffix):
    source = make_image(tmp_path / "noisy.png", "RGBA")
    target = tmp_path / f"out{suffix if suffix != '.unknown' else ''}" / "noisy.png"
    if suffix in (".tif", ".PNG"):
        target = tmp_path / f"denoised{suffix}"
    model = WEIGHTS / "gray-blind.onnx"
    done = cli("adnet-run", source, "-o", target if target.suffix != ".png" else target.parent,
               "--model", model)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Denoiser(model) as denoiser:
        result = denoise_file(source.read_bytes(), denoiser, suffix=suffix)
    assert result.data == target.read_bytes()
    assert result.pixels == 60 * 45
    assert result.format == ("TIFF" if suffix == ".tif" else "PNG")


def test_the_pages_keep_a_models_name_on_its_line():
    from adnet.export.triton.pages import kserve_manifest, readme
    from adnet.models.card import ModelCard

    page = readme(Serving(), ModelCard(1, name="a\n\n    rm -rf x\n"))
    assert "Model: a\\n\\n    rm -rf x\\n, sigma" in page
    assert "name: my-model\n" in kserve_manifest(Serving(name="My_Model-"))
