"""Peers compute the same as ours; one that is missing or breaks does not end the run."""

import numpy as np
import pytest
from om_helpers import make_om

from adnet.benchmarks.candidates import open_candidates
from adnet.benchmarks.cli import main
from adnet.benchmarks.peers import PEERS
from adnet.benchmarks.peers.peer import Peer, PeerModel
from adnet.benchmarks.results_json import read_result
from adnet.errors import BackendUnavailable, UsageError
from adnet.export.variants import to_half
from adnet.images.metrics import psnr
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.models.shipped import WEIGHTS
from adnet.runtime.backend import RunOptions
from adnet.runtime.registry import BackendEntry, import_backend, open_backend

LARGEST = {"ncnn": 3e-3, "mnn-fp32": 1e-3, "mnn-low": 0.05, "openvino-bf16": 0.05}
"""Winograd transforms and half precision round more; everything else is within 1e-5."""

SLOW = ("torch-compile", "torch-compile-bf16", "openvino-nncf-int8")


def kind_of(name):
    try:
        return import_backend(name, PEERS[name])
    except BackendUnavailable as err:
        pytest.skip(str(err))


def opened(kind, model):
    try:
        return kind(model, 2)
    except BackendUnavailable as err:
        if "this CPU does not" in str(err):
            pytest.skip(str(err))
        raise


@pytest.mark.parametrize("model", ["gray-blind", "color-blind"])
@pytest.mark.parametrize("name", [name for name in PEERS if name not in SLOW])
def test_a_peer_computes_the_same(name, model):
    kind = kind_of(name)
    generator = np.random.default_rng(0)
    channels = 1 if model == "gray-blind" else 3
    with (
        open_backend(WEIGHTS / f"{model}.onnx") as ours,
        opened(kind, PeerModel.read(WEIGHTS / f"{model}.onnx")) as peer,
    ):
        for shape in ((2, channels, 30, 45), (1, channels, 25, 31)):  # planes of odd length
            batch = generator.random(shape, np.float32)
            found = peer.infer(batch)
            assert found.shape == shape
            assert np.abs(found - ours.infer(batch)).max() < LARGEST.get(name, 1e-5)
        first = peer.infer(batch)
        kept = first.copy()
        peer.infer(batch[:, ::-1].copy() * 0.5)
        assert np.array_equal(first, kept)  # no buffer that the engine uses again
        facts = peer.describe()
        assert facts["threads"] == "2"
        assert facts["precision"] in (name.rpartition("-")[2], "fp32")
        assert facts["backend"] == name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "largest"), [("torch-compile", 1e-5), ("torch-compile-bf16", 0.05)]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_torch_compile_computes_the_same(name, largest):
    batch = np.random.default_rng(0).random((1, 1, 60, 85), np.float32)
    kind = kind_of(name)
    with (
        open_backend(WEIGHTS / "gray-blind.onnx") as ours,
        kind(PeerModel.read(WEIGHTS / "gray-blind.onnx"), None) as peer,
    ):
        assert np.abs(peer.infer(batch) - ours.infer(batch)).max() < largest


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # NNCF's and torch's own
def test_what_nncf_quantises_still_denoises(tmp_path):
    """By its defaults it does not: the result is the noisy image."""
    kind = kind_of("openvino-nncf-int8")
    clean = render(96, 128, 1, 3)
    noisy = add_published_noise(clean, 25)
    with kind(kind.prepare(PeerModel.read(WEIGHTS / "gray-25.onnx"), tmp_path), 2) as peer:
        denoised = peer.infer(noisy[None, None])[0, 0]
        assert peer.describe()["precision"] == "int8"
    with open_backend(WEIGHTS / "gray-25.onnx") as ours:
        expected = ours.infer(noisy[None, None])[0, 0]
    assert psnr(clean, denoised) > psnr(clean, expected) - 0.3


class Broken(Peer):
    """Loads, and fails on its second image."""

    name = "broken"
    calls = 0

    def _infer(self, batch):
        self.calls += 1
        if self.calls > 1:
            raise IndexError("its own bug")
        return batch

    def describe(self):
        return self.facts(self.threads)


@pytest.fixture
def broken(monkeypatch):
    monkeypatch.setitem(PEERS, "broken", BackendEntry(f"{__name__}:Broken", (".onnx",), "nothing"))


def test_a_broken_peer_is_named_and_the_rest_goes_on(broken, cli_here, make_image, tmp_path):
    for index in range(2):
        make_image(tmp_path / "data" / f"{index}.png", seed=index)
    out = tmp_path / "out.json"
    result = cli_here(main, "adnet-bench", "--peers", "broken", "--data", tmp_path / "data",
                      "--rounds", "0", "--quiet", "--json", out)  # fmt: skip
    assert result.returncode == 1
    data = read_result(out)
    assert "its own bug" in data.errors["broken"]
    assert [one.candidate for one in data.quality] == ["onnx"]
    assert "broken failed: broken: IndexError('its own bug')" in result.stdout


@pytest.mark.torch
def test_a_peer_is_beside_ours(broken, monkeypatch):
    monkeypatch.setattr(Broken, "_infer", lambda _self, batch: batch)
    with open_candidates(["onnx"], ["gray-blind"], RunOptions(threads=1), ["broken"]) as candidates:
        ours, peer = candidates.opened
        assert (ours.is_peer, peer.is_peer) == (False, True)
        assert peer.backend.threads == 1
        image = np.random.default_rng(0).random((50, 60), np.float32)
        assert np.array_equal(peer.denoise(image), image)
    with (
        pytest.raises(UsageError, match="their name tells. Leave out --precision"),
        open_candidates(["torch"], ["gray-blind"], RunOptions(precision="bf16"), ["broken"]),
    ):
        pass


def test_missing_peers(monkeypatch, acl, tmp_path):
    entry = BackendEntry("no_such_engine:Engine", (".onnx",), "pip install 'adnet[peers]'")
    for name in SLOW:  # "all" would compile and quantise
        monkeypatch.delitem(PEERS, name)
    monkeypatch.setitem(PEERS, "openvino-fp32", entry)
    with open_candidates(["onnx"], ["gray-blind"], RunOptions(), ["all"]) as candidates:
        assert "onnx" in [one.name for one in candidates.opened]
        assert "pip install 'adnet[peers]'" in candidates.left_out["openvino-fp32"]
    with open_candidates(["onnx"], ["gray-blind"], RunOptions(), ["openvino-fp32"]) as candidates:
        assert [one.name for one in candidates.opened] == ["onnx"]
        assert "pip install 'adnet[peers]'" in candidates.failed["openvino-fp32"]
    om = make_om(tmp_path / "m.om")
    with (
        pytest.raises(UsageError, match="needs a model as .onnx"),
        open_candidates(["om"], [str(om)], RunOptions(), ["ncnn"]),
    ):
        pass


def test_peers_take_float32_models_only(tmp_path):
    to_half(WEIGHTS / "gray-blind.onnx", tmp_path / "half.onnx", keep_float_io=True)
    with pytest.raises(UsageError, match="computes in fp16"):
        PeerModel.read(tmp_path / "half.onnx")


@pytest.mark.torch
def test_a_peer_leaves_torchs_threads_alone():
    import torch

    before = torch.get_num_threads()
    kind = import_backend("published-script", PEERS["published-script"])
    with kind(PeerModel.read(WEIGHTS / "gray-blind.onnx"), before + 1) as peer:
        peer.infer(np.zeros((1, 1, 32, 32), np.float32))
        assert peer.describe()["threads"] == str(before + 1)
    assert torch.get_num_threads() == before
