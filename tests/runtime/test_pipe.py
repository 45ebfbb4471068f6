"""One image through stdin and stdout, as processes of their own."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLES
from PIL import Image

from adnet.benchmarks.studies.memory import save_identity
from adnet.images.formats.kinds import FORMATS, format_of
from adnet.images.image import read_image

RUN = Path(sys.executable).parent / "adnet-run"
NAMES = ["a.png", "a.jpg", "a.tif", "a.webp", "a.bmp", "a.gif"]


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    pytest.importorskip("onnx")
    return save_identity(tmp_path_factory.mktemp("identity") / "identity.onnx", 1)


@pytest.fixture
def pipe(identity, tmp_path):
    def run(*arguments, data=b"", model=identity):
        return subprocess.run(
            [RUN, *map(str, arguments), "--model", str(model)],
            input=data, capture_output=True, timeout=120, check=False, cwd=tmp_path,
        )  # fmt: skip

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_bytes_in_bytes_out_in_the_same_format(pipe, tmp_path, make_image, name):
    source = make_image(tmp_path / name, "RGB", size=(33, 25))
    result = pipe("-", "-o", "-", data=source.read_bytes())
    assert result.returncode == 0, result.stderr
    assert format_of(result.stdout) == FORMATS[source.suffix]
    (tmp_path / "b").write_bytes(result.stdout)
    assert pipe(name, "-o", "out").returncode == 0  # what comes out is what files get
    assert (tmp_path / "out" / name).read_bytes() == result.stdout
    assert pipe(name, "-o", "-").stdout == result.stdout
    assert pipe("-", "-o", f"c{source.suffix}", data=source.read_bytes()).returncode == 0
    assert (tmp_path / f"c{source.suffix}").read_bytes() == result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["png", "jpg", "tiff", "webp"])
def test_another_format(pipe, tmp_path, make_image, wanted):
    source = make_image(tmp_path / "a.bmp", "RGB", size=(33, 25))
    result = pipe("-", "-o", "-", "--format", wanted, data=source.read_bytes())
    assert format_of(result.stdout) == FORMATS[{"tiff": ".tif"}.get(wanted, f".{wanted}")]


def test_it_denoises(pipe, tmp_path):
    data = (EXAMPLES / "noisy" / "page.png").read_bytes()
    image = Image.open(io.BytesIO(data)).crop((0, 0, 64, 64))
    image.save(tmp_path / "a.png")
    result = pipe("-", "-o", "-", "--sigma", "auto", data=(tmp_path / "a.png").read_bytes(),
                  model="gray-blind")  # fmt: skip
    out = np.asarray(Image.open(io.BytesIO(result.stdout)))
    assert out.shape == (64, 64)
    assert out.std() != np.asarray(image).std()
    assert b"note: estimated noise: sigma" in result.stderr


@pytest.mark.slow
def test_frames_and_16_bits(pipe, tmp_path):
    pages = [Image.fromarray(np.full((20, 30), 1000 * one, np.uint16)) for one in (1, 2, 3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    result = pipe("-", "-o", "-", data=(tmp_path / "a.tif").read_bytes())
    (tmp_path / "b.tif").write_bytes(result.stdout)
    frames = read_image(tmp_path / "b.tif").frames
    assert [int(one.mean()) for one in frames] == [1000, 2000, 3000]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "data", "status", "part"),
    [
        (["-", "-o", "-"], b"", 1, "stdin: the file is empty"),
        (["-", "-o", "-"], b"text", 1, "stdin: not an image"),
        (["-", "-o", "-", "--json"], b"", 2, "would both write to stdout"),
        (["-", "a.png", "-o", "-"], b"", 2, "give one input"),
        (["in", "-o", "-"], b"", 2, "a folder does not fit into stdout"),
        (["-", "-o", "out"], b"", 2, "needs the name of a file"),
        (["-", "-o", "b.jp2"], b"", 2, "needs the name of a file"),
        (["-", "-o", "b.png", "--format", "jpg"], b"", 2, "does not agree"),
        (["n.txt", "-o", "-"], b"", 2, "suffix .txt is not one of"),
        (["-", "-o", "-", "--compare", "c"], b"", 2, "--compare is for files"),
        (["-", "--suffix", "_x"], b"", 2, "say where the result of stdin goes"),
        (["clear.png", "-o", "-", "--format", "jpg"], b"", 1, "JPEG cannot hold transparency"),
    ],
)
def test_mistakes_write_nothing(pipe, tmp_path, make_image, arguments, data, status, part):
    make_image(tmp_path / "a.png", size=(20, 20))
    make_image(tmp_path / "clear.png", "RGBA", size=(20, 20))
    (tmp_path / "in").mkdir()
    (tmp_path / "n.txt").touch()
    before = sorted(os.listdir(tmp_path))
    result = pipe(*arguments, data=data)
    assert (result.returncode, result.stdout) == (status, b""), result.stderr
    assert part in result.stderr.decode()
    assert result.stderr.count(b"error:") == 1
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.slow
def test_damaged_data_writes_nothing(pipe, tmp_path, make_image):
    whole = make_image(tmp_path / "a.png", size=(60, 60)).read_bytes()
    for cut in range(1, len(whole) - 12, len(whole) // 6):
        result = pipe("-", "-o", "-", data=whole[:cut])
        assert (result.returncode, result.stdout) == (1, b"")


@pytest.mark.slow
def test_json_of_what_went_to_a_file(pipe, tmp_path, make_image):
    data = make_image(tmp_path / "a.png", size=(64, 64)).read_bytes()
    result = pipe("-", "-o", "b.png", "--json", "--sigma", "auto", data=data)
    (one,) = json.loads(result.stdout)["images"]
    assert (one["input"], one["output"], one["status"]) == ("-", "b.png", "written")
    assert one["sigma"] is not None
    result = pipe("-", "-o", "b.png", data=data)
    assert b"0 denoised, 1 skipped" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", ["--sigma", "auto"]),  # hardly any noise
        ("RGB", ["--sigma", "25"]),  # which model, and why
        ("RGB", ["--model", "gray-25"]),  # colour by a gray model
        ("P", []),  # becomes RGB
    ],
)
def test_a_pipe_says_what_a_file_is_told(tmp_path, make_image, mode, options):
    whole = make_image(tmp_path / "a.png", "L" if mode == "L" else "RGB", size=(64, 64))
    Image.open(whole).convert(mode).save(whole)

    def told(*places, data=None):
        command = [RUN, *places, "--json", *options]
        result = subprocess.run(
            command, cwd=tmp_path, input=data, capture_output=True, timeout=120, check=True
        )
        found = json.loads(result.stdout)
        (one,) = found["images"]
        return found["notes"], {name: one[name] for name in ("reason", "model", "sigma", "notes")}

    piped = told("-", "-o", "b.png", data=(tmp_path / "a.png").read_bytes())
    assert piped == told("a.png", "-o", "out")
    assert piped[0] or piped[1]["notes"]  # there is something to say


@pytest.mark.slow
def test_a_reader_that_goes_away(identity, tmp_path, make_image):
    make_image(tmp_path / "a.bmp", "RGB", size=(400, 400))
    line = (
        f"{RUN} - -o - --model {identity} < a.bmp | head -c 10 > /dev/null; echo ${{PIPESTATUS[0]}}"
    )
    result = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert result.stdout.split() == ["1"]
    assert result.stderr.startswith("error: stdout: the reader went away")
    assert "Traceback" not in result.stderr
    full = subprocess.run(
        ["bash", "-c", f"{RUN} a.bmp -o - --model {identity} > /dev/full; echo $?"],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert full.stdout.split() == ["1"]
    assert "No space left" in full.stderr
    for words in ("a.bmp -o -", "- -o - < a.bmp"):
        closed = subprocess.run(
            ["bash", "-c", f"{RUN} {words} --model {identity} >&-"],
            capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert closed.returncode == 1
        assert closed.stderr.startswith("error: stdout: is closed")


@pytest.mark.slow
def test_a_list_from_stdin(pipe, tmp_path, make_image):
    for name in ("a.png", "b.png"):
        make_image(tmp_path / name, size=(20, 20))
    result = pipe("--files-from", "-", "-o", "out", data=b"a.png\nb.png\n")
    assert result.returncode == 0, result.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "b.png"]
