"""What a model file is, its content says; whoever gets another kind says so."""

import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from fakes.om_writer import om_bytes

from adnet.errors import AdnetError, ModelError, UsageError
from adnet.export.ascend.verify_om import verify_om
from adnet.export.inspect_model import inspect_file
from adnet.export.to_om import prepare_onnx
from adnet.models.checkpoint import load_checkpoint
from adnet.models.files import kind_of_file
from adnet.models.om_file import read_om
from adnet.models.onnx_file import read_onnx
from adnet.models.shipped import WEIGHTS
from adnet.runtime.backend import RunOptions
from adnet.runtime.backends.ort import OrtBackend
from adnet.runtime.backends.pytorch import TorchBackend

ONNX = WEIGHTS / "gray-blind.onnx"


@pytest.fixture
def samples(tmp_path, checkpoint):
    """One file of each kind under a name that tells nothing."""
    folder = tmp_path / "samples"
    folder.mkdir()
    shutil.copy(checkpoint, folder / "checkpoint")
    shutil.copy(ONNX, folder / "onnx")
    (folder / "om").write_bytes(om_bytes("adnet", {"soc_version": "Ascend310P3"}, b"x" * 500))
    return folder


@pytest.mark.parametrize("kind", ["checkpoint", "onnx", "om"])
@pytest.mark.parametrize("suffix", ["", ".pth", ".onnx", ".om", ".png"])
def test_the_content_decides_not_the_name(samples, kind, suffix):
    path = samples / kind
    named = path.rename(path.with_name(f"m{suffix}"))
    assert kind_of_file(named) == kind
    assert inspect_file(named)["kind"] == kind


@pytest.mark.parametrize("kind", ["checkpoint", "onnx", "om"])
def test_truncated_files_are_still_told_apart(samples, kind):
    content = (samples / kind).read_bytes()
    for length in (200, 400, len(content) // 2, len(content) - 1):
        (samples / kind).write_bytes(content[:length])
        assert kind_of_file(samples / kind) == kind


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_checkpoints_of_every_make(tmp_path, protocol):
    path = tmp_path / "a"
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)
    assert kind_of_file(path) == "checkpoint"
    torch.save({"a": torch.ones(1)}, path, pickle_protocol=protocol)
    assert kind_of_file(path) == "checkpoint"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "b", "w") as other:
        for name in reversed(archive.namelist()):  # packed again by something else
            other.writestr(name, archive.read(name))
    assert kind_of_file(tmp_path / "b") == "checkpoint"


def test_an_onnx_file_in_any_order_of_fields(tmp_path):
    content = ONNX.read_bytes()
    path = tmp_path / "m"
    assert content[:2] == bytes((0x08, content[1]))
    path.write_bytes(content[2:] + content[:2])  # protobuf leaves the order open
    assert kind_of_file(path) == "onnx"
    assert read_onnx(path).ir_version == content[1]


def test_other_files_are_none_of_them(tmp_path):
    path = tmp_path / "a"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "text")
    others = [path.read_bytes(), b"", b"I", b"IMO", b"PK\x03\x04", b"\x80", b"\x08", b"\x08\x07"]
    others += [b"not a checkpoint", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b"{}", b":" * 99]
    others += [b"\xff" * 50, bytes(50), b"\x0a\x03abc", b"GIF89a", b"BM" + bytes(90)]
    for content in others:
        path.write_bytes(content)
        assert kind_of_file(path) is None, content[:8]
        with pytest.raises(ModelError, match="neither a checkpoint, nor ONNX, nor an OM"):
            inspect_file(path)


def test_what_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ModelError, match="cannot be read"):
            kind_of_file(path)


LOADERS = {
    "read_onnx": ("onnx", read_onnx),
    "ONNX Runtime": ("onnx", lambda path: OrtBackend(path, RunOptions())),
    "read_om": ("om", read_om),
    "load_checkpoint": ("checkpoint", load_checkpoint),
    "torch backend": ("checkpoint", lambda path: TorchBackend(path, RunOptions())),
    "to OM": ("onnx", lambda path: prepare_onnx(str(path), path.parent)),
}
TAKES_BOTH = {"load_checkpoint", "torch backend", "to OM"}
"""Checkpoints and ONNX alike, whatever their names are."""
TITLES = {"checkpoint": "a PyTorch checkpoint", "onnx": "an ONNX model", "om": "an OM"}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pth", ".onnx", ".om", ""])
@pytest.mark.parametrize("kind", ["checkpoint", "onnx", "om"])
@pytest.mark.parametrize("loader", LOADERS)
def test_each_loader_says_what_it_was_given(samples, loader, kind, suffix):
    path = (samples / kind).rename(samples / f"m{suffix}")
    expected, load = LOADERS[loader]
    if kind == expected or (loader in TAKES_BOTH and kind != "om"):
        load(path)
        return
    with pytest.raises(ModelError, match=rf"is {TITLES[kind]}.*; expected {TITLES[expected]}"):
        load(path)


@pytest.mark.parametrize(("kind", "suffix"), [("checkpoint", ".pth"), ("om", ".om")])
def test_a_wrong_name_is_pointed_out(samples, kind, suffix):
    with pytest.raises(ModelError, match=rf"name it \*\{suffix}\."):
        read_onnx((samples / kind).rename(samples / "m.onnx"))
    with pytest.raises(ModelError) as caught:
        read_onnx((samples / "m.onnx").rename(samples / f"m{suffix}"))
    assert "name it" not in str(caught.value)


@pytest.mark.parametrize("kind", ["checkpoint", "om"])
def test_what_an_om_is_compared_with(samples, kind):
    with pytest.raises(UsageError, match=f"expected an ONNX file, got {TITLES[kind]}"):
        verify_om(samples / "om", samples / kind)


DAMAGES = {
    "empty": lambda _: b"",
    "text": lambda _: b"hello, this is no model",
    "half": lambda content: content[: len(content) // 2],
    "short by one": lambda content: content[:-1],
    "without graph": lambda content: content[:2],
    "overwritten": lambda content: content[:5000] + b"\xff" * 5000 + content[10000:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_onnx_file(tmp_path, damage):
    path = tmp_path / "m.onnx"
    path.write_bytes(DAMAGES[damage](ONNX.read_bytes()))
    if damage == "overwritten":  # protobuf takes any bytes for weights; it must not crash
        try:
            read_onnx(path)
        except AdnetError:
            return
    else:
        with pytest.raises(ModelError, match="not an ONNX file, or a"):
            read_onnx(path)


def test_weights_of_its_own_file_that_is_missing(tmp_path):
    import onnx

    path = tmp_path / "m.onnx"
    onnx.save(read_onnx(ONNX), str(path), save_as_external_data=True, location="w.bin",
              size_threshold=0)  # fmt: skip
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match=r"m\.onnx: not an ONNX file, or a damaged one"):
        read_onnx(path)


def test_an_onnx_file_is_read_without_torch(tmp_path):
    """`adnet-export om gray-blind` works where torch is not installed."""
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from adnet.export.to_om import prepare_onnx\n"
        "from adnet.export.inspect_model import inspect_file\n"
        "path, card, name = prepare_onnx('gray-blind', Path('.'))\n"
        "print(card.name, name, inspect_file(path)['kind'])\n"
        "from adnet.export.cli import main\n"
        "sys.argv = ['adnet-export', 'om', 'gray-blind', '-o', 'a.om', '--soc', 'Ascend310P3',\n"
        "            '--emit', 'kit']\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True,
                            text=True, check=False)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("gray-blind image onnx")
    assert (tmp_path / "kit" / "a.om.json").is_file()
