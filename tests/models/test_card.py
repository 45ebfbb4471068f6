"""One reader and one writer of the card in an ONNX file, whoever holds the metadata."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import ROOT

from adnet.errors import ModelError
from adnet.export.inspect_model import inspect_file
from adnet.export.quantize import quantize_onnx
from adnet.export.to_om import prepare_onnx
from adnet.export.variants import to_half
from adnet.models.card import ModelCard, precision_of
from adnet.models.checkpoint import load_checkpoint
from adnet.models.onnx_file import metadata_of, read_onnx, set_metadata
from adnet.models.onnx_network import load_onnx_network
from adnet.models.shipped import WEIGHTS
from adnet.runtime.backend import RunOptions
from adnet.runtime.backends.ort import OrtBackend
from adnet.runtime.backends.pytorch import TorchBackend

CARD = ModelCard(3, (0.0, 55.0), name="x", weights_sha256="abc", training={"steps": 7})
SOURCE = WEIGHTS / "gray-blind.onnx"


def runtime_metadata(path):
    return ort.InferenceSession(str(path)).get_modelmeta().custom_metadata_map


@pytest.fixture
def without_card(tmp_path):
    model = read_onnx(SOURCE)
    set_metadata(model, {})
    onnx.save(model, str(tmp_path / "m.onnx"))
    return tmp_path / "m.onnx"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("norms", [None, "text"])
def test_a_card_comes_back_from_metadata(precision, norms):
    metadata = CARD.to_metadata(precision=precision, norms=norms)
    assert ModelCard.from_metadata(metadata, "m.onnx") == CARD
    assert ModelCard.find_in(metadata, "m.onnx") == CARD
    assert precision_of(metadata) == precision
    assert metadata.get("adnet_batch_norms") == norms


def test_onnx_and_onnx_runtime_tell_the_same():
    card = ModelCard.from_metadata(metadata_of(read_onnx(SOURCE)), "m.onnx")
    assert ModelCard.from_metadata(runtime_metadata(SOURCE), "m.onnx") == card
    assert card.name == "gray-blind"


def test_cards_of_0_1_0_are_read():
    """The fewest keys that were ever written, and one that this version does not know."""
    for text, expected in (
        ('{"channels": 1}', ModelCard(1)),
        ('{"channels": 3, "sigma_range": [15, 15], "later": 1}', ModelCard(3, (15.0, 15.0))),
    ):
        assert ModelCard.from_metadata({"adnet_card": text}, "m.onnx") == expected
        assert precision_of({"adnet_card": text}) == "fp32"


def test_variants_keep_the_card_and_say_how_they_compute(tmp_path):
    to_half(SOURCE, tmp_path / "half.onnx", keep_float_io=True)
    quantize_onnx(SOURCE, tmp_path / "int8.onnx", [np.zeros((1, 1, 24, 24), np.float32)])
    expected = ModelCard.from_metadata(runtime_metadata(SOURCE), "m.onnx")
    for name, precision in (("half", "fp16"), ("int8", "int8")):
        metadata = runtime_metadata(tmp_path / f"{name}.onnx")
        assert ModelCard.from_metadata(metadata, name) == expected
        assert precision_of(metadata) == precision


READERS = {
    "torch": lambda path, _: load_onnx_network(path),
    "checkpoint": lambda path, _: load_checkpoint(path),
    "torch backend": lambda path, _: TorchBackend(path, RunOptions()),
    "ONNX Runtime": lambda path, _: OrtBackend(path, RunOptions()),
    "to OM": lambda path, folder: prepare_onnx(str(path), folder),
    "to half": lambda path, folder: to_half(path, folder / "half.onnx", keep_float_io=True),
    "to int8": lambda path, folder: quantize_onnx(
        path, folder / "int8.onnx", [np.zeros((1, 1, 24, 24), np.float32)]
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_card_gets_the_same_answer_from_all(without_card, tmp_path, reader):
    with pytest.raises(ModelError, match=r"m\.onnx: .*no model card.*adnet-export onnx"):
        READERS[reader](without_card, tmp_path)


@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_card_gets_the_same_answer_from_all(without_card, tmp_path, reader):
    texts = {
        "{": "card is damaged", "[1]": "card is damaged", "{}": "card is damaged",
        f'{{"channels": 1, "sigma_range": [0, {10**400}]}}': "card is damaged",
        '{"channels": 1, "receptive_radius": Infinity}': "card is damaged",
        '{"channels": 2}': "2 channels",
    }  # fmt: skip
    for text, message in texts.items():
        model = read_onnx(without_card)
        set_metadata(model, {"adnet_card": text})
        onnx.save(model, str(without_card))
        with pytest.raises(ModelError, match=message):
            READERS[reader](without_card, tmp_path)


def test_callers_complete_the_answer(without_card):
    with pytest.raises(ModelError, match="Or give the checkpoint itself"):
        load_onnx_network(without_card)
    with pytest.raises(ModelError, match=r"Its inputs: image \["):
        OrtBackend(without_card, RunOptions())
    assert "channels" not in inspect_file(without_card)  # it tells what there is


@pytest.mark.parametrize(
    ("sigma", "expected", "covered", "not_covered"),
    [
        ((0.0, 55.0), (0.0, 55.0), (0, 25, 55), (56, 75)),
        ((15.0, 15.0), (15.0, 15.0), (15,), (14, 25)),
        ((0.0, 0.0), (0.0, 0.0), (0,), (1,)),
        (None, (25.0, 25.0), (0, 15, 255), ()),
    ],
)
def test_noise_levels(sigma, expected, covered, not_covered):
    card = ModelCard(1, sigma)
    assert card.noise_range() == expected
    assert all(card.covers(one) for one in covered)
    assert not any(card.covers(one) for one in not_covered)


def test_the_card_has_one_reader_and_one_writer():
    found = [
        path.relative_to(ROOT).as_posix()
        for top in ("adnet", "benchmarks", "export", "runtime")
        for path in (ROOT / top).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "METADATA_KEY" in line
    ]
    assert found == ["adnet/models/card.py"] * 3  # the key itself, the reader and the writer


def test_a_card_is_json_alone():
    assert json.loads(CARD.to_metadata()["adnet_card"])["channel_order"] == "RGB"
