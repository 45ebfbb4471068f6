import json
import os

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from conftest import assert_clean_error
from networks import trained_like

from adnet.errors import ParityError, UsageError
from adnet.export import to_onnx as pipeline
from adnet.export.to_onnx import checkpoint_to_onnx
from adnet.export.torch_to_onnx import OnnxShape, export_onnx
from adnet.models.card import ModelCard
from adnet.models.checkpoint import save_checkpoint
from adnet.models.structure import check_structure


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {}
    for channels in (1, 3):
        card = ModelCard(channels, (0.0, 55.0), name=f"test-{channels}")
        paths[channels] = folder / f"{channels}.pth"
        save_checkpoint(paths[channels], trained_like(channels).state_dict(), card)
    return paths


@pytest.fixture(scope="module")
def gray_onnx(checkpoints, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "gray.onnx"
    checkpoint_to_onnx(checkpoints[1], path, OnnxShape())
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_default_export(checkpoints, tmp_path, channels):
    result = checkpoint_to_onnx(checkpoints[channels], tmp_path / "a.onnx", OnnxShape())
    model = onnx.load(result.path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("image", "denoised")
    facts = {one.key: one.value for one in model.metadata_props}
    assert set(facts) == {"adnet_card", "adnet_batch_norms"}
    card = ModelCard.from_metadata(facts, "a.onnx")
    assert (card.name, card.channels) == (f"test-{channels}", channels)
    assert len({case.shape for case in result.parity}) == 6
    assert max(case.max_abs_error for case in result.parity) < 1e-5
    assert os.listdir(tmp_path) == ["a.onnx"]


@pytest.mark.parametrize("opset", [9, 11, 17, 20])
def test_other_opsets(checkpoints, tmp_path, opset):
    checkpoint_to_onnx(checkpoints[1], tmp_path / "a.onnx", OnnxShape(), opset=opset)
    assert onnx.load(tmp_path / "a.onnx").opset_import[0].version == opset


def test_opset_out_of_range(checkpoints, tmp_path):
    with pytest.raises(UsageError, match="9 to 20, got 21"):
        checkpoint_to_onnx(checkpoints[1], tmp_path / "a.onnx", OnnxShape(), opset=21)


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        (OnnxShape(2, (40, 50)), [2, 1, 40, 50]),
        (OnnxShape(None, (40, 50)), ["batch", 1, 40, 50]),
        (OnnxShape(3, None), [3, 1, "height", "width"]),
        (OnnxShape(), ["batch", 1, "height", "width"]),
    ],
)
def test_fixed_and_dynamic_axes(checkpoints, tmp_path, shape, dims):
    checkpoint_to_onnx(checkpoints[1], tmp_path / "a.onnx", shape)
    session = ort.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == dims
    assert session.get_outputs()[0].shape == dims


def test_not_simplified_is_still_proven(checkpoints, tmp_path):
    result = checkpoint_to_onnx(checkpoints[1], tmp_path / "a.onnx", OnnxShape(), simplify=False)
    assert result.parity


def test_fresh_network_shares_weights_and_still_exports(tmp_path):
    torch.manual_seed(0)
    network = pipeline.load_checkpoint.__globals__["ADNet"](1).eval()
    for simplify in (True, False):
        save_checkpoint(tmp_path / "a.pth", network.state_dict(), ModelCard(1))
        checkpoint_to_onnx(
            tmp_path / "a.pth", tmp_path / "a.onnx", OnnxShape(1, (24, 24)), simplify=simplify
        )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((None, None, None), OnnxShape()),
        ((None, None, "all"), OnnxShape()),
        ((None, (8, 9), "none"), OnnxShape(1, (8, 9))),
        ((4, (8, 9), None), OnnxShape(4, (8, 9))),
        ((None, (8, 9), "batch"), OnnxShape(None, (8, 9))),
        ((None, None, "size"), OnnxShape(1, None)),
    ],
)
def test_choice_of_axes(arguments, expected):
    assert OnnxShape.choose(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, None, "all"), "--batch fixes it"),
        ((None, (8, 9), "size"), "--size fixes it"),
        ((None, None, "none"), "give it with --size"),
        ((0, None, None), "at least 1"),
        ((None, (0, 9), None), "at least 1"),
    ],
)
def test_contradicting_axes_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        OnnxShape.choose(*arguments)


def edit(graph, change):
    model = onnx.load(graph)
    change(model)
    return model


def _set_dilation(model):
    node = [n for n in model.graph.node if n.op_type == "Conv"][4]
    for attribute in node.attribute:
        if attribute.name == "dilations":
            attribute.ints[:] = [1, 1]


def _swap_sub(model):
    node = model.graph.node[-1]
    node.input[:] = list(node.input)[::-1]


def _replace_tanh(model):
    next(n for n in model.graph.node if n.op_type == "Tanh").op_type = "Sigmoid"


def _add_domain(model):
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))


def _drop_attention(model):
    multiply = next(n for n in model.graph.node if n.op_type == "Mul")
    multiply.input[:] = [multiply.input[1], multiply.input[1]]


def _add_node(model):
    model.graph.node.append(onnx.helper.make_node("Abs", ["denoised"], ["other"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set_dilation, r"conv1_5: expected dilations \[2, 2\], got \[1, 1\]"),
        (_swap_sub, "reconstruction block"),
        (_replace_tanh, "expected one Tanh"),
        (_add_domain, "domain ai.onnx alone"),
        (_drop_attention, "attention block"),
        (_add_node, "1 nodes that ADNet does not have"),
    ],
)
def test_structure_check_finds_every_kind_of_damage(gray_onnx, change, message):
    check_structure(onnx.load(gray_onnx))
    with pytest.raises(ParityError, match=message):
        check_structure(edit(gray_onnx, change))


def _wrong_weights(network, card, path, shape, opset):
    with torch.no_grad():
        network = trained_like(network.channels, seed=1)
    export_onnx(network, card, path, shape, opset)


def _not_a_number(network, card, path, shape, opset):
    export_onnx(network, card, path, shape, opset)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "conv3.bias":
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(np.array([np.nan], np.float32), "conv3.bias")
            )
    onnx.save(model, path)


@pytest.mark.parametrize("broken", [_wrong_weights, _not_a_number])
def test_failed_parity_leaves_no_file(checkpoints, tmp_path, monkeypatch, broken):
    monkeypatch.setattr(pipeline, "export_onnx", broken)
    with pytest.raises(ParityError, match="differs from PyTorch"):
        checkpoint_to_onnx(checkpoints[1], tmp_path / "a.onnx", OnnxShape(), simplify=False)
    assert os.listdir(tmp_path) == []


def test_program_prints_the_proof(cli, checkpoints, tmp_path):
    target = tmp_path / "a.onnx"
    result = cli("adnet-export", "onnx", checkpoints[1], "-o", target, "--size", "40,50")
    assert result.returncode == 0, result.stderr
    assert "parity 3x1x40x50: max abs error" in result.stdout
    assert "delta PSNR" in result.stdout
    again = cli("adnet-export", "onnx", checkpoints[1], "-o", target, "--size", "9,9", "--json")
    assert json.loads(again.stdout)["parity"][0]["max_abs_error"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["missing.pth", "-o", "a.onnx"], 2, "does not exist"),
        (["text.pth", "-o", "a.onnx"], 2, "damaged"),
        (["good.pth", "-o", "a.pb"], 2, "must be named .onnx"),
        (["good.pth", "-o", "none/a.onnx"], 2, "no such folder"),
        (["good.pth", "-o", "a.onnx", "--size", "12"], 2, "expected 2 numbers"),
        (["good.pth", "-o", "a.onnx", "--dynamic", "some"], 2, "'none', 'batch', 'size', 'all'"),
    ],
)
def test_program_refuses_bad_input(cli, checkpoints, tmp_path, arguments, status, part):
    (tmp_path / "text.pth").write_text("not a checkpoint")
    (tmp_path / "good.pth").write_bytes(checkpoints[1].read_bytes())
    before = sorted(os.listdir(tmp_path))
    assert_clean_error(cli("adnet-export", "onnx", *arguments, cwd=tmp_path), status, part)
    assert sorted(os.listdir(tmp_path)) == before
