"""adnet-export never writes over what it reads, and says so before it works."""

import os
import shutil

import pytest
from conftest import assert_clean_error

from adnet.errors import UsageError
from adnet.export.cli import main
from adnet.export.outputs import require_file, require_folder
from adnet.models.shipped import resolve_model

LINKS = {"the file itself": None, "a link": os.symlink, "a hard link": os.link}
COMMANDS = {
    "onnx": ("m.onnx", ["onnx"]),
    "onnx fp16": ("m.onnx", ["onnx", "--precision", "fp16"]),
    "onnx int8": ("m.onnx", ["onnx", "--precision", "int8"]),
    "om": ("m.om", ["om", "--soc", "Ascend310P3"]),
    "om's sidecar": ("m.om.json", ["om", "--soc", "Ascend310P3"]),
}


@pytest.fixture
def no_work(monkeypatch):
    """Whatever reads the model or converts it fails."""

    def work(*_arguments, **_options):
        raise AssertionError("it worked before it looked")

    monkeypatch.setattr("adnet.export.to_om.read_onnx", work)
    monkeypatch.setattr("adnet.export.to_om.run_atc", work)
    monkeypatch.setattr("adnet.export.triton.repository.open_backend", work)
    monkeypatch.setattr("adnet.export.web.folder.open_backend", work)
    try:
        monkeypatch.setattr("adnet.export.to_onnx.load_checkpoint", work)
    except ImportError:  # without torch
        pytest.skip("needs torch")


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_is_the_input_is_refused(cli_here, tmp_path, no_work, command, link):
    name, words = COMMANDS[command]
    given = tmp_path / (name if LINKS[link] is None else "given.onnx")
    shutil.copyfile(resolve_model("gray-blind"), given)
    if LINKS[link] is not None:
        LINKS[link](given, tmp_path / name)
    before = given.read_bytes()
    output = tmp_path / name.removesuffix(".json")
    result = cli_here(main, "adnet-export", words[0], given, "-o", output, *words[1:])
    assert_clean_error(result, 2, "is what is read", "Choose another output")
    assert given.read_bytes() == before


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_is_a_folder_is_refused(cli_here, tmp_path, no_work, command):
    name, words = COMMANDS[command]
    (tmp_path / name).mkdir()
    output = tmp_path / name.removesuffix(".json")
    result = cli_here(main, "adnet-export", words[0], "gray-blind", "-o", output, *words[1:])
    assert_clean_error(result, 2, f"{name}: is a folder; name the file")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("words", [
    ["triton", "gray-blind", "-o", "OUT"], ["web", "gray-blind", "-o", "OUT"],
    ["om", "gray-blind", "-o", "m.om", "--soc", "Ascend310P3", "--emit", "OUT"],
    ["om", "gray-blind", "-o", "m.om", "--soc", "Ascend310P3", "--emit", "OUT", "--precision",
     "int8"],
])  # fmt: skip
@pytest.mark.parametrize("what", ["file", "in a file", "full", "link to nothing"])
def test_a_folder_that_cannot_be_made_is_refused(cli_here, tmp_path, no_work, words, what):
    output = tmp_path / "out"
    if what == "link to nothing":
        output.symlink_to(tmp_path / "nothing")
    elif what == "full":
        output.mkdir()
        (output / "mine").write_text("mine")
    else:
        output.write_text("mine")
    told = output / "below" if what == "in a file" else output
    result = cli_here(
        main, "adnet-export", *[told if word == "OUT" else word for word in words], cwd=tmp_path
    )
    assert_clean_error(result, 2, str(output))
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("what", ["model", "ort_web"])
def test_a_page_is_not_replaced_by_one_made_of_it(cli_here, tmp_path, no_work, what):
    page = tmp_path / "page"
    (page / "models").mkdir(parents=True)
    for name in ("manifest.json", "worker.js", "models/m.onnx", "ort"):
        (page / name).write_text("")
    (tmp_path / "link.onnx").symlink_to(page / "models" / "m.onnx")
    words = [tmp_path / "link.onnx"] if what == "model" else ["gray-blind", "--ort-web",
                                                             page / "ort"]  # fmt: skip
    result = cli_here(main, "adnet-export", "web", *words, "-o", page, "--overwrite")
    assert_clean_error(result, 2, "is to be replaced")
    assert (page / "models" / "m.onnx").exists()


def test_what_can_be_written(tmp_path):
    (tmp_path / "there.om").write_text("the one from before")
    (tmp_path / "input").write_text("")
    for name in ("there.om", "new.om"):
        require_file(tmp_path / name, ".om", tmp_path / "input", tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "new", "new/below"):
        require_folder(tmp_path / folder)
    with pytest.raises(UsageError, match="no such folder"):
        require_file(tmp_path / "nowhere" / "m.om", ".om")
    with pytest.raises(UsageError, match=r"must be named \.om"):
        require_file(tmp_path / "m.onnx", ".om")
