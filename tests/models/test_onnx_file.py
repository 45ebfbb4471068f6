"""An ONNX file of ours is a checkpoint, too: the trained network comes back out of it."""

import base64

import numpy as np
import onnx
import pytest
import torch
from conftest import assert_clean_error
from networks import trained_like

from adnet.errors import ModelError
from adnet.export.cli import main as export_main
from adnet.export.torch_to_onnx import OnnxShape, export_onnx
from adnet.models.card import ModelCard
from adnet.models.checkpoint import load_checkpoint
from adnet.models.onnx_network import load_onnx_checkpoint


@pytest.fixture(params=[1, 3])
def exported(request, tmp_path):
    network = trained_like(request.param)
    with torch.no_grad():
        network.get_submodule("conv1_4.1").weight[3] = 0.0  # a channel that was switched off
        network.get_submodule("conv1_6.1").weight[5] *= -1
    card = ModelCard(request.param, (0.0, 55.0), name="x", weights_sha256="abc")
    export_onnx(network, card, tmp_path / "m.onnx", OnnxShape())
    return tmp_path / "m.onnx", network, card


def test_the_trained_network_comes_back(exported):
    path, network, card = exported
    loaded = load_checkpoint(path)
    assert loaded.card == card
    assert not loaded.network.training
    expected, found = network.state_dict(), loaded.network.state_dict()
    for name, value in expected.items():
        if name == "conv1_4.0.weight":  # what a norm of zero multiplied is lost, and means nothing
            assert not found[name][3].any()
            value[3] = 0
        if not name.endswith("num_batches_tracked"):
            assert torch.allclose(found[name], value, rtol=1e-5, atol=1e-7), name
    image = torch.rand(1, card.channels, 40, 50)
    with torch.inference_mode():
        assert torch.allclose(loaded.network(image), network(image), atol=1e-5)
        # In training, too, where the batch's own statistics count.
        assert torch.allclose(loaded.network.train()(image), network.train()(image), atol=1e-4)


def changed(path, texts):
    model = onnx.load(str(path))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("norms", "message"),
    [
        (None, "older adnet-export"),
        ("not base64!", "damaged"),
        (base64.b64encode(b"\0" * 400).decode(), "damaged"),
        (base64.b64encode(np.full(15 * 4 * 64, 2, "<f4").tobytes()).decode(), "was changed"),
        (base64.b64encode(np.full(15 * 4 * 64, np.nan, "<f4").tobytes()).decode(), "was changed"),
    ],
)
def test_batch_norms_that_cannot_be_right(exported, norms, message):
    path, _, card = exported
    texts = card.to_metadata(norms=norms)
    with pytest.raises(ModelError, match=message):
        load_onnx_checkpoint(changed(path, texts))


def test_shipped_names_are_exported_anew(cli_here, tmp_path):
    out = tmp_path / "fixed.onnx"
    result = cli_here(export_main, "adnet-export", "onnx", "gray-blind", "-o", out, "--batch", "1",
                      "--size", "48,64")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "parity proven" in result.stdout
    first = onnx.load(str(out)).graph.input[0].type.tensor_type.shape.dim
    assert [one.dim_value for one in first] == [1, 1, 48, 64]
    wrong = cli_here(export_main, "adnet-export", "onnx", "gray-blimd", "-o", out)
    assert_clean_error(wrong, 2, "Did you mean gray-blind")
