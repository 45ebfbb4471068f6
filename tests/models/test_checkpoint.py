import contextlib
import dataclasses
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from networks import trained_like

from adnet.errors import CheckpointError, ModelError
from adnet.models import checkpoint
from adnet.models.card import ModelCard
from adnet.models.checkpoint import load_checkpoint, reverse_planes, save_checkpoint, weights_digest


@pytest.fixture
def gray_state():
    return trained_like(1).state_dict()


def with_prefix(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def save(path, content):
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")},
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {}, "epoch": 3},
        lambda state: {"params": state, "params_ema": state},
        lambda state: {"params": {"lr": 1e-3}, "weights": state},
        lambda state: {"net": state, "acc": 1.0},
        lambda state: {"network": state},
        lambda state: {"model": {"state_dict": {"params": state}}},
        lambda state: with_prefix(state, "_orig_mod."),
        lambda state: with_prefix(state, "module.module."),
        lambda state: with_prefix(state, "_orig_mod.module."),
        lambda state: {"model": with_prefix(state, "module._orig_mod.")},
        lambda state: {"state_dict": with_prefix(state, "model."), "hyper_parameters": {"lr": 1}},
        lambda state: {"state_dict": with_prefix(state, "model.net.")},
        lambda state: {name: one.double() if one.is_floating_point() else one
                       for name, one in state.items()},
        lambda state: {name: torch.nn.Parameter(one, one.is_floating_point())
                       for name, one in state.items()},
    ],
    ids=["plain", "module prefix", "nested", "without counters", "model_state_dict", "params_ema",
         "other params", "net", "network", "three deep", "compiled", "twice module",
         "compiled DDP", "DDP of compiled", "Lightning", "Lightning, deep", "float64",
         "parameters"],
)  # fmt: skip
def test_layouts_that_are_in_the_field(tmp_path, gray_state, wrap):
    loaded = load_checkpoint(save(tmp_path / "a.pth", wrap(gray_state)))
    assert loaded.card.channels == 1
    assert loaded.card.sigma_range is None
    assert not loaded.network.training
    assert loaded.card.weights_sha256 == weights_digest(trained_like(1))


def test_averaged_weights_are_preferred(tmp_path, gray_state):
    averaged = {name: one * 2 for name, one in gray_state.items()}
    content = {"params": gray_state, "params_ema": averaged}
    loaded = load_checkpoint(save(tmp_path / "a.pth", content))
    name = "conv1_2.0.weight"
    assert torch.equal(loaded.network.state_dict()[name], averaged[name])


def test_a_dict_that_holds_itself_ends(tmp_path):
    content = {"epoch": 3}
    content["model"] = content
    with pytest.raises(CheckpointError, match="expected a dict of named weights"):
        load_checkpoint(save(tmp_path / "a.pth", content))


@pytest.mark.parametrize("change", [
    lambda one: (one * 100).to(torch.int8), lambda one: one.to(torch.int64),
    lambda one: one > 0, lambda one: one.to(torch.complex64),
    lambda one: one.double() + 1e300, lambda one: one.to("meta"), lambda one: one.to_sparse(),
    lambda one: one / 0, lambda one: torch.quantize_per_tensor(one, 0.1, 0, torch.qint8),
], ids=["int8", "int64", "bool", "complex", "1e300", "meta", "sparse", "inf", "qint8"])  # fmt: skip
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("name", ["conv1_1.0.weight", "conv1_3.1.running_mean", "conv3.bias"])
def test_what_is_no_weight_is_refused(tmp_path, gray_state, change, name):
    gray_state[name] = change(gray_state[name])
    with pytest.raises(CheckpointError, match=rf"{name} |not a PyTorch checkpoint"):
        load_checkpoint(save(tmp_path / "a.pth", gray_state))


def test_a_variance_below_zero_is_refused(tmp_path, gray_state):
    gray_state["conv1_3.1.running_var"][5] = -1e-3
    with pytest.raises(CheckpointError, match=r"conv1_3.1.running_var holds -0.001"):
        load_checkpoint(save(tmp_path / "a.pth", gray_state))


@pytest.mark.parametrize(("card", "network"), [(1, 3), (3, 1)])
def test_a_card_of_another_network_is_refused(tmp_path, card, network):
    save_checkpoint(tmp_path / "a.pth", trained_like(network).state_dict(), ModelCard(card))
    with pytest.raises(CheckpointError, match=f"card says {card} channels, the network has"):
        load_checkpoint(tmp_path / "a.pth")


def test_own_format_round_trip(tmp_path):
    network = trained_like(3)
    card = ModelCard(3, (0.0, 75.0), name="colour", training={"steps": 7})
    save_checkpoint(tmp_path / "a.pth", network.state_dict(), card, {"step": 7})
    loaded = load_checkpoint(tmp_path / "a.pth")
    expected = dataclasses.replace(card, weights_sha256=weights_digest(network))
    assert loaded.card == expected
    assert loaded.training == {"step": 7}
    assert os.listdir(tmp_path) == ["a.pth"]


def test_plain_colour_weights_are_taken_as_bgr(tmp_path):
    bgr = trained_like(3)
    rgb = load_checkpoint(save(tmp_path / "a.pth", bgr.state_dict())).network
    image = torch.rand(2, 3, 24, 31)
    with torch.inference_mode():
        expected = bgr(image.flip(1)).flip(1)
        assert torch.allclose(rgb(image), expected, atol=1e-5)
        assert not torch.allclose(bgr(image), expected, atol=1e-3)
    as_is = load_checkpoint(tmp_path / "a.pth", planes="RGB").network
    assert weights_digest(as_is) == weights_digest(bgr)


def test_reversing_planes_twice_changes_nothing():
    network = trained_like(3)
    digest = weights_digest(network)
    reverse_planes(network)
    assert weights_digest(network) != digest
    reverse_planes(network)
    assert weights_digest(network) == digest


def test_missing_and_foreign_keys_are_named(tmp_path, gray_state):
    del gray_state["conv3.bias"], gray_state["conv1_7.0.weight"]
    gray_state["fc.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match="missing conv1_7.0.weight, conv3.bias") as info:
        load_checkpoint(save(tmp_path / "a.pth", gray_state))
    assert "not part of ADNet: fc.weight" in str(info.value)


def test_wrong_shapes_are_named(tmp_path, gray_state):
    gray_state["conv3.weight"] = torch.zeros(1, 3, 1, 1)
    with pytest.raises(CheckpointError, match=r"conv3.weight \(1, 3, 1, 1\) instead of"):
        load_checkpoint(save(tmp_path / "a.pth", gray_state))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"layer.weight": torch.zeros(3)}, "not an ADNet checkpoint"),
        ({"conv1_1.0.weight": torch.zeros(64, 2, 3, 3)}, r"shape \(64, 2, 3, 3\)"),
        ({"conv1_1.0.weight": torch.full((64, 1, 3, 3), float("nan"))}, "nan or inf"),
        ({"conv1_1.0.weight": "text"}, "expected a dict of named weights"),
        ([1, 2], "expected a dict of weights, got list"),
    ],
)
def test_other_contents_are_refused(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(save(tmp_path / "a.pth", content))


class _Hostile:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (self.victim,)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_hostile_pickle_is_refused_and_not_run(tmp_path, writer):
    victim, path = str(tmp_path / "pwned"), tmp_path / "a.pth"
    if writer == "torch":
        torch.save({"conv1_1.0.weight": _Hostile(victim)}, path)
    else:
        path.write_bytes(pickle.dumps(_Hostile(victim)))
    with pytest.raises(CheckpointError, match="refused|not a PyTorch checkpoint"):
        load_checkpoint(path)
    assert not os.path.exists(victim)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken"])
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_bytes_that_were_changed_anywhere_are_noticed(tmp_path, gray_state):
    path = tmp_path / "a.pth"
    save_checkpoint(path, gray_state, ModelCard(1))
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        places = [one.header_offset + 1000 for one in archive.infolist() if one.file_size > 4000]
    assert len(places) == 15  # the pickle, and the weights of conv1_2 .. conv1_15
    for place in places:
        path.write_bytes(whole[:place] + bytes(64) + whole[place + 64 :])
        with pytest.raises(CheckpointError, match="checksum differs"):
            load_checkpoint(path)


def test_a_checkpoint_saved_without_checksums_is_read(tmp_path, gray_state):
    torch.serialization.set_crc32_options(False)
    try:
        save(tmp_path / "a.pth", gray_state)
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_checkpoint(tmp_path / "a.pth").card.channels == 1


def test_truncated_and_missing_files(tmp_path, gray_state):
    path = save(tmp_path / "a.pth", gray_state)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "b.pth")


ODD = [None, "", [], {}, 0, -1, 1e400, 10**400, torch.zeros(2), torch.tensor(3), {"a": 1}, {1: 2}]


@pytest.mark.parametrize("place", ["version", "model", "card", "a weight"])
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_whatever_stands_in_a_part_is_refused(tmp_path, gray_state, place, odd):
    path = tmp_path / "a.pth"
    save_checkpoint(path, gray_state, ModelCard(1))
    content = torch.load(path, weights_only=True)
    part, key = (content["model"], "conv1_1.0.weight") if place == "a weight" else (content, place)
    part[key] = odd
    torch.save(content, path)
    with pytest.raises((CheckpointError, ModelError), match=re.escape(str(path))):
        load_checkpoint(path)


def test_failed_save_keeps_the_old_file(tmp_path, gray_state, monkeypatch):
    path = tmp_path / "a.pth"
    save_checkpoint(path, gray_state, ModelCard(1))
    before = path.read_bytes()

    def full_disk(content, target):
        target.write(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file: No space left")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="cannot write the checkpoint"):
        save_checkpoint(path, gray_state, ModelCard(1))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.pth"]


def test_a_full_disk_is_told_as_such(gray_state, monkeypatch):
    """Torch tells only at which position of the file it was."""
    monkeypatch.setattr(
        checkpoint, "atomic_path", lambda _: contextlib.nullcontext(Path("/dev/full"))
    )
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(Path("a.pth"), gray_state, ModelCard(1))


def test_card_round_trip_and_damage():
    card = ModelCard(1, (25.0, 25.0), name="gray-25", weights_sha256="ab", training={"steps": 1})
    assert ModelCard.from_json(card.to_json(), "here") == card
    assert card.describe_sigma() == "sigma 25"
    assert card.channel_order == "gray"
    assert ModelCard(3, (0.0, 75.0)).describe_sigma() == "sigma 0-75 (blind)"
    for text in ("", "[]", "{}", '{"channels": 2}', '{"channels": 1, "sigma_range": [1]}'):
        with pytest.raises(ModelError, match="here"):
            ModelCard.from_json(text, "here")


@pytest.mark.dataset
@pytest.mark.parametrize(("name", "channels"), [("gray_sigma15", 1), ("color_blind", 3)])
def test_published_checkpoints_load(shared, name, channels):
    loaded = load_checkpoint(shared / "weights" / "author" / f"{name}.pth")
    assert loaded.card.channels == channels
