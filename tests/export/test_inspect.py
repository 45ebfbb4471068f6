import json
import os
import shutil

import pytest
import torch
from conftest import ROOT, assert_clean_error
from fakes.om_writer import om_bytes

from adnet.errors import ModelError
from adnet.export.inspect_model import describe, inspect_file

WEIGHTS = ROOT / "adnet" / "weights"


def test_a_checkpoint(checkpoint):
    facts = inspect_file(checkpoint)
    assert facts["kind"] == "checkpoint"
    assert (facts["channels"], facts["sigma"]) == (1, "sigma 0-55 (blind)")
    assert 500_000 < facts["parameters"] < 530_000
    assert facts["gflop_321x481"] == pytest.approx(159.7, abs=0.1)
    assert not facts["holds_training_state"]


def test_an_onnx_file(tmp_path):
    # The content decides, not the name.
    path = shutil.copy(WEIGHTS / "gray-blind.onnx", tmp_path / "odd.name")
    facts = inspect_file(tmp_path / "odd.name")
    assert facts["kind"] == "onnx"
    assert facts["opsets"] == {"ai.onnx": 13}
    assert facts["inputs"] == {"image": ["batch", 1, "height", "width"]}
    assert facts["structure"].startswith("ADNet")
    assert facts["size_bytes"] == os.path.getsize(path)
    assert len(facts["weights_sha256"]) == 64
    assert "ADNet: 17 convolutions" in describe(facts)


def test_element_types_of_variants(tmp_path):
    from adnet.export.variants import with_8_bit_io

    with_8_bit_io(WEIGHTS / "gray-blind.onnx", tmp_path / "u8.onnx")
    for path, inside, weights in (
        (WEIGHTS / "gray-blind.onnx", "float32", "float32"),
        (WEIGHTS / "gray-25-int8.onnx", "float32", "float32, int8"),
        (tmp_path / "u8.onnx", "uint8", "float32"),
    ):
        types = inspect_file(path)["element_types"]
        assert types["image"] == inside
        assert types["weights"] == weights


def test_another_network_is_told_apart(tmp_path):
    from onnx import TensorProto, helper, save

    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", info[:1], info[1:])
    save(helper.make_model(graph), tmp_path / "relu.onnx")
    facts = inspect_file(tmp_path / "relu.onnx")
    assert facts["structure"].startswith("not ADNet")
    assert "channels" not in facts


def test_an_om_file(tmp_path):
    attributes = {"soc_version": "Ascend310P3", "atc_cmdline": "atc --model=m.onnx"}
    (tmp_path / "m.om").write_bytes(om_bytes("adnet", attributes, b"x" * 50))
    (tmp_path / "m.om.json").write_text("{}")
    facts = inspect_file(tmp_path / "m.om")
    assert (facts["kind"], facts["soc_version"], facts["host"]) == ("om", "Ascend310P3", "any")
    assert facts["atc_cmdline"] == "atc --model=m.onnx"
    assert facts["partitions"]["weights"] == 50
    assert facts["sidecar"] == "m.om.json"


@pytest.mark.parametrize("kind", ["gray-blind.pth", "gray-blind.onnx", "m.om"])
def test_truncated_files_get_a_clear_answer(tmp_path, checkpoint, kind):
    sources = {".pth": checkpoint, ".onnx": WEIGHTS / "gray-blind.onnx"}
    source = sources.get(kind[kind.index(".") :])
    content = source.read_bytes() if source else om_bytes("n", {}, b"x" * 900)
    for share in (0.0, 0.001, 0.3, 0.97):
        (tmp_path / kind).write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ModelError, match="damaged|truncated|not an OM"):
            inspect_file(tmp_path / kind)


def test_foreign_files(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9)
    with pytest.raises(ModelError, match="neither a checkpoint, nor ONNX, nor an OM"):
        inspect_file(tmp_path / "photo.png")
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="not an ADNet checkpoint"):
        inspect_file(tmp_path / "other.pth")
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        inspect_file(tmp_path / "none")


def test_program_inspects(cli, tmp_path):
    result = cli("adnet-export", "inspect", WEIGHTS / "gray-blind.onnx", "--json")
    assert json.loads(result.stdout)["kind"] == "onnx"
    assert_clean_error(cli("adnet-export", "inspect", tmp_path), 2, "is a folder")
