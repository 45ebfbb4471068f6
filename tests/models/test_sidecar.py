"""The JSON beside an OM: one rule for its name, one writer, one reader."""

import json
from pathlib import Path

import pytest
from om_helpers import make_om

from adnet.errors import ModelError
from adnet.export.inspect_model import inspect_file
from adnet.models.card import ModelCard
from adnet.models.om_file import read_sidecar, sidecar_path, write_sidecar
from adnet.runtime.backends.om_model import read_card

CARD = ModelCard(3, (0.0, 55.0), name="x", weights_sha256="abc", training={"steps": 7})

OF_0_1_0 = {
    "made_by": "adnet 0.1.0",
    "card": {
        "channels": 1, "sigma_range": [0.0, 55.0], "name": "gray-blind", "weights_sha256": "abc",
        "receptive_radius": 20, "training": {}, "channel_order": "gray",
    },
    "soc": "Ascend310P3", "gears": "batch", "batches": [1, 4], "sizes": [[321, 481]], "io": "fp32",
    "precision_mode": None, "virtual_type": False, "input_name": "image", "onnx_sha256": "def",
    "atc_version": "8.3.RC1", "command": ["atc", "--model=model.onnx"], "seconds": 12.5,
}  # fmt: skip


@pytest.mark.parametrize("name", ["m.om", "m.v2.om", "M.OM", "m"])
def test_it_comes_back(tmp_path, name):
    om = tmp_path / name
    assert read_sidecar(om) is None
    written = write_sidecar(om, CARD, {"onnx_sha256": "def", "sizes": [[321, 481]]})
    assert written == sidecar_path(om) == tmp_path / f"{name}.json"
    beside = read_sidecar(om)
    assert beside.card == CARD
    assert beside.facts["sizes"] == [[321, 481]]
    assert beside.facts["made_by"].startswith("adnet ")
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.json"]  # nothing is left behind


def test_one_of_0_1_0_is_read(tmp_path):
    om = tmp_path / "m.om"
    sidecar_path(om).write_text(json.dumps(OF_0_1_0, indent=2) + "\n")
    beside = read_sidecar(om)
    assert beside.card == ModelCard(1, (0.0, 55.0), "gray-blind", "abc", 20)
    assert beside.facts["onnx_sha256"] == "def"
    assert read_card(om, 1) == beside.card


def test_the_conversion_writes_the_same_facts(tmp_path):
    om = make_om(tmp_path / "m.om")
    by_atc_alone = {"atc_version", "command", "seconds"}
    assert set(read_sidecar(om).facts) == set(OF_0_1_0) - by_atc_alone
    assert inspect_file(om)["sidecar"] == "m.om.json"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"card": 1}', '{"card": {}}', '{"card": null}',
                '{"card": {"channels": 5}}', b"\xff\xfe{"],
)  # fmt: skip
def test_a_damaged_one_is_named(tmp_path, content):
    om = tmp_path / "m.om"
    data = content if isinstance(content, bytes) else content.encode()
    sidecar_path(om).write_bytes(data)
    for read in (read_sidecar, lambda path: read_card(path, 1)):
        with pytest.raises(ModelError, match=r"m\.om\.json: "):
            read(om)


def test_the_card_of_an_om(tmp_path):
    om = tmp_path / "m.om"
    assert read_card(om, 3) == ModelCard(3)  # made by hand
    write_sidecar(om, CARD, {})
    assert read_card(om, 3) == CARD
    with pytest.raises(ModelError, match=r"m\.om\.json: says 3 channels, but m\.om takes 1"):
        read_card(om, 1)


def test_the_name_is_made_in_one_place():
    root = Path(__file__).parents[2]
    found = [
        path.relative_to(root).as_posix()
        for top in ("adnet", "export", "runtime")
        for path in (root / top).rglob("*.py")
        if '.name}.json"' in path.read_text("utf-8") or 'om.json"' in path.read_text("utf-8")
        or '.name + ".json"' in path.read_text("utf-8")
    ]  # fmt: skip
    assert found == ["adnet/models/om_file.py"]
