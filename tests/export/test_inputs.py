"""No command of adnet-export takes an ONNX file of ours that was changed."""

import os

import numpy as np
import onnx
import pytest
from conftest import assert_clean_error
from om_helpers import install_atc
from onnx import numpy_helper

from adnet.export.cli import main
from adnet.export.variants import to_half, with_8_bit_io
from adnet.models.card import METADATA_KEY, NORMS_KEY
from adnet.models.onnx_check import check_weights
from adnet.models.onnx_file import metadata_of, read_onnx
from adnet.models.shipped import pretrained_models, resolve_model


def with_bias(layer, value):
    def change(model):
        for tensor in model.graph.initializer:
            if tensor.name == f"conv1_{layer}.0.bias":
                values = np.full(tensor.dims, value, np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return change


def with_nan(model):
    tensor = model.graph.initializer[0]
    values = np.full(tensor.dims, np.nan, np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def with_metadata(key, old, new):
    def change(model):
        texts = metadata_of(model)
        onnx.helper.set_model_props(model, texts | {key: texts[key].replace(old, new)})

    return change


CHANGES = {
    "zeroed biases": (with_bias(2, 0), "was changed"),
    "the last norm's biases": (with_bias(15, 0.5), "was changed"),
    "nan": (with_nan, "nan or inf"),
    "channels on the card": (
        with_metadata(METADATA_KEY, '"channels": 1', '"channels": 3'), "3 channels, the network",
    ),
    "fewer layers": (lambda model: model.graph.node.pop(0), "expected 17 "),
    "damaged norms": (with_metadata(NORMS_KEY, "A", "!"), "damaged"),
}  # fmt: skip
COMMANDS = {
    "onnx": ["onnx", "-o", "out.onnx"],
    "om": ["om", "-o", "out.om", "--soc", "Ascend310P3"],
    "emit": ["om", "-o", "out.om", "--soc", "Ascend310P3", "--emit", "out"],
    "triton": ["triton", "-o", "out"],
    "tiles": ["triton", "-o", "out", "--mode", "tiles"],
    "web": ["web", "-o", "out"],
}


@pytest.mark.torch
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_file_is_refused_by_every_command(cli_here, tmp_path, monkeypatch, command, what):
    program = install_atc(tmp_path / "cann")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    change, message = CHANGES[what]
    model = onnx.load(str(resolve_model("gray-blind")))
    change(model)
    onnx.save(model, str(tmp_path / "changed.onnx"))
    first, *words = COMMANDS[command]
    result = cli_here(main, "adnet-export", first, "changed.onnx", *words, cwd=tmp_path)
    assert_clean_error(result, 2, message)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("name", [one.name for one in pretrained_models()])
def test_all_that_ships_is_taken(name):
    path = resolve_model(name)
    assert check_weights(read_onnx(path), path).channels in (1, 3)


def test_variants_are_taken(tmp_path):
    source = resolve_model("color-blind")
    to_half(source, tmp_path / "half.onnx", keep_float_io=False)
    with_8_bit_io(source, tmp_path / "u8.onnx")
    for name in ("half", "u8"):
        path = tmp_path / f"{name}.onnx"
        assert check_weights(read_onnx(path), path).channels == 3
