import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import EXAMPLES, assert_clean_error
from PIL import Image

from adnet.errors import UsageError
from adnet.images.levels import from_levels
from adnet.images.metrics import psnr
from adnet.runtime.cli import main
from adnet.runtime.jobs import plan_jobs


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_examples_come_out_clean(cli, tmp_path):
    result = cli("adnet-run", EXAMPLES / "noisy", "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "3 denoised, 0 skipped (output exists), 0 failed" in result.stdout
    assert tree(tmp_path) == ["out/hills.png", "out/page.png", "out/shapes.png"]
    for path in (EXAMPLES / "noisy").iterdir():
        clean, noisy, out = (
            from_levels(np.asarray(Image.open(folder / path.name)))
            for folder in (EXAMPLES / "clean", EXAMPLES / "noisy", tmp_path / "out")
        )
        assert psnr(clean, out) > psnr(clean, noisy) + 4, path.name


def test_tree_is_mirrored_and_a_second_run_skips(cli, tmp_path, make_image):
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "x/b.jpg", "x/y/c.tif", "x/y/d.bmp", "e.webp"):
        make_image(source / name, "RGB" if name.endswith("webp") else "L")
    (source / "notes.txt").write_text("left alone")
    first = cli("adnet-run", source, "-o", out, "--json")
    report = json.loads(first.stdout)
    assert len(report["written"]) == 5
    assert report["failed"] == []
    assert (
        report["notes"] == ["1 colour images were denoised by the gray model, plane by plane."]
        or report["models"][1:]
    )
    assert tree(out) == ["a.png", "e.webp", "x/b.jpg", "x/y/c.tif", "x/y/d.bmp"]

    before = {name: (out / name).stat().st_mtime_ns for name in tree(out)}
    (out / "a.png").unlink()
    second = cli("adnet-run", source, "-o", out, "--json")
    report = json.loads(second.stdout)
    assert report["skipped"] == 4
    assert [Path(path).name for path in report["written"]] == ["a.png"]
    third = cli("adnet-run", source, "-o", out, "--overwrite", "--json")
    assert json.loads(third.stdout)["skipped"] == 0
    assert all((out / name).stat().st_mtime_ns > stamp for name, stamp in before.items())


def test_one_file_to_a_named_file(cli, tmp_path, make_image):
    source = make_image(tmp_path / "a.jpg", "L")
    result = cli("adnet-run", source, "-o", tmp_path / "b.png", "--tile", "64", "--batch", "2")
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "b.png") as written:
        assert written.format == "PNG"


def test_odd_names_work(cli, tmp_path, make_image):
    name = 'sp ace\'s "quoted" 图像.png'
    make_image(tmp_path / "输入 folder" / name, "RGBA")
    result = cli("adnet-run", tmp_path / "输入 folder", "-o", tmp_path / "out dir")
    assert result.returncode == 0, result.stderr
    assert tree(tmp_path / "out dir") == [name]
    with Image.open(tmp_path / "out dir" / name) as written:
        assert written.mode == "RGBA"


def test_a_name_at_the_file_systems_limit_works(cli, tmp_path, make_image):
    name = "n" * 251 + ".png"
    make_image(tmp_path / "in" / name)
    assert cli("adnet-run", tmp_path / "in", "-o", tmp_path / "out").returncode == 0
    assert tree(tmp_path / "out") == [name]


def test_bad_files_are_listed_and_the_rest_goes_on(cli, tmp_path, make_image):
    source, out = tmp_path / "in", tmp_path / "out"
    good = make_image(source / "good.png")
    (source / "empty.png").touch()
    (source / "text.png").write_text("no image")
    (source / "truncated.png").write_bytes(good.read_bytes()[:500])
    Image.new("RGBA", (8, 8)).save(source / "clear.png")
    (source / "clear.png").rename(source / "clear.jpg")
    result = cli("adnet-run", source, "-o", out)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed:")]
    assert len(failed) == 4
    for name, reason in (
        ("empty.png", "the file is empty"),
        ("text.png", "not an image"),
        ("truncated.png", "damaged"),
        ("clear.jpg", "JPEG cannot hold transparency"),
    ):
        assert any(name in line and reason in line for line in failed)
    assert tree(out) == ["good.png"]
    assert "1 denoised, 0 skipped (output exists), 4 failed" in result.stdout


@pytest.fixture
def scene(tmp_path, make_image):
    """A folder with all kinds of input; the working directory of the programs."""
    make_image(tmp_path / "in" / "a.png")
    make_image(tmp_path / "in2" / "a.png", seed=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "photo.heic").touch()
    Image.new("L", (50, 50)).save(tmp_path / "no_suffix", "PNG")
    (tmp_path / "photo.nef").touch()
    (tmp_path / "file.txt").write_text("text")
    (tmp_path / "text.onnx").write_text("not a model")
    foreign = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Relu", ["x"], ["y"])],
            "foreign",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 7])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 7])],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 13)],
        ir_version=8,
    )
    onnx.save(foreign, tmp_path / "foreign.onnx")
    onnx.helper.set_model_props(foreign, {"adnet_card": '{"channels": 1}'})
    onnx.save(foreign, tmp_path / "wrong_input.onnx")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["none.png", "-o", "out"], ["none.png", "no such file or folder"]),
        (["empty", "-o", "out"], ["no image in this folder"]),
        (["file.txt", "-o", "out"], ["suffix .txt is not one of"]),
        (["in", "-o", "in/out"], ["lies inside the input folder"]),
        (["in", "-o", "in"], ["lies inside the input folder"]),
        (["in/a.png", "-o", "in/a.png"], ["would replace an input file"]),
        (["in/a.png", "in2/a.png", "-o", "out"], ["in/a.png and in2/a.png would both"]),
        (["in", "in2", "-o", "out"], ["would both be written to out/a.png"]),
        (["in", "-o", "file.txt"], ["file.txt", "cannot be written"]),
        (["in", "-o", "/proc/out"], ["/proc/out", "cannot be written"]),
        (["in/a.png", "-o", "out.jp2"], ["out.jp2: .jp2 files are not written, only .png"]),
        (["photo.heic", "-o", "out"], ["photo.heic: HEIC is not supported. Convert"]),
        (["photo.nef", "-o", "out"], ["photo.nef: camera raw is not supported. Develop it"]),
        (["no_suffix", "-o", "out"], ["no_suffix: the suffix (none) is not one of"]),
        (["in", "-o", "two.png"], ["two.png: is named like one file", "mkdir two.png"]),
        (["in", "-o", "-"], ["in: a folder does not fit into stdout"]),
        (["in", "-o", "out", "--model", "gray-blid"], ["Did you mean gray-blind"]),
        (["in", "-o", "out", "--model", "none.onnx"], ["does not exist"]),
        (["in", "-o", "out", "--model", "text.onnx"], ["Is it an ONNX file?"]),
        (["in", "-o", "out", "--model", "foreign.onnx"], ["no model card", "x [1, 7]"]),
        (["in", "-o", "out", "--model", "wrong_input.onnx"], ["expected one image"]),
        (["in", "-o", "out", "--backend", "tpu"], ["unknown backend 'tpu'", "onnx"]),
        (["in", "-o", "out", "--tile", "10"], ["tile must be a whole number of at least 41"]),
        (["in", "-o", "out", "--batch", "0"], ["batch must be a whole number of at least 1"]),
    ],
)
def test_wrong_requests_stop_before_any_work(cli_here, scene, arguments, parts):
    before = tree(scene)
    assert_clean_error(cli_here(main, "adnet-run", *arguments, cwd=scene), 2, *parts)
    assert tree(scene) == before


def test_missing_arguments(cli, tmp_path):
    for arguments, part in ((["x.png"], "--output"), (["-o", "out"], "INPUTS")):
        result = cli("adnet-run", *arguments, cwd=tmp_path)
        assert result.returncode == 2
        assert part in result.stderr
        assert "Traceback" not in result.stderr


def test_pixel_limit(cli, tmp_path):
    Image.new("L", (3000, 3000)).save(tmp_path / "bomb.png")
    result = cli(
        "adnet-run", tmp_path / "bomb.png", "-o", tmp_path / "out", "--max-pixels", "10000"
    )
    assert_clean_error(result, 1, "guards against decompression bombs", "--max-pixels 9000000")
    assert tree(tmp_path / "out") == []


def test_header_of_a_bomb_is_refused_by_default(cli, tmp_path, make_image):
    path = make_image(tmp_path / "bomb.bmp")
    data = bytearray(path.read_bytes())
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    path.write_bytes(data)
    result = cli("adnet-run", path, "-o", tmp_path / "out")
    assert_clean_error(result, 1, "3600 megapixels", "--max-pixels 3600000000")


def test_full_disk_leaves_no_half_file(cli, tmp_path, make_image):
    make_image(tmp_path / "in" / "large.png", size=(200, 150))
    make_image(tmp_path / "in" / "small.png", size=(8, 8))

    def limit_file_size():  # a write beyond it fails like one on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    out = tmp_path / "out"
    result = cli("adnet-run", tmp_path / "in", "-o", out, preexec_fn=limit_file_size)
    assert_clean_error(result, 1, "large.png", "cannot be written: File too large")
    assert tree(out) == ["small.png"]


@pytest.mark.slow
def test_ctrl_c_leaves_whole_files_and_a_second_run_finishes(cli, tmp_path, make_image):
    for index in range(12):
        make_image(tmp_path / "in" / f"{index:02}.png", size=(360, 240), seed=index)
    out = tmp_path / "out"
    script = Path(sys.executable).parent / "adnet-run"
    process = subprocess.Popen(
        [script, tmp_path / "in", "-o", out, "--json", "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out.is_dir() and tree(out)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.count("\n") == 1
    assert "interrupted" in stderr
    done = tree(out)
    assert 0 < len(done) < 12
    report = json.loads(stdout)
    assert report["interrupted"] is True
    assert sorted(report["written"]) == [str(out / name) for name in done]
    assert report["models"]
    assert report["megapixels"] >= len(done) * 360 * 240 / 1e6
    assert all(name.endswith(".png") for name in done)
    for name in done:
        Image.open(out / name).load()
    result = cli("adnet-run", tmp_path / "in", "-o", out)
    assert f"{12 - len(done)} denoised, {len(done)} skipped" in result.stdout
    assert len(tree(out)) == 12


def test_help_and_denoising_load_no_heavy_modules(tmp_path, make_image):
    make_image(tmp_path / "a.png")
    code = """
import sys
from adnet.runtime.cli import app
def loaded():
    return sorted({"torch", "onnx", "onnxruntime", "numpy", "PIL", "rich"} & set(sys.modules))
try:
    app(["--help"])
except SystemExit as exit:
    assert exit.code == 0
print("help:", loaded())
try:
    app([sys.argv[1], "-o", sys.argv[2]])
except SystemExit as exit:
    assert exit.code == 0
print("run:", loaded())
"""
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.png", tmp_path / "out"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert "help: []" in result.stdout
    assert "run: ['PIL', 'numpy', 'onnxruntime']" in result.stdout


def test_version_and_model_list(cli):
    import adnet

    assert cli("adnet-run", "--version").stdout.strip() == f"adnet {adnet.__version__}"
    listed = cli("adnet-run", "--list-models").stdout
    assert re.search(r"gray-blind +gray +sigma 0-55 \(blind\) .* MB  BSD68 [\d.]+ / ", listed)
    models = json.loads(cli("adnet-run", "--list-models", "--json").stdout)
    assert "gray-blind" in [model["name"] for model in models]


def test_the_same_input_twice_is_one_job(tmp_path, make_image):
    path = make_image(tmp_path / "a.png")
    assert len(plan_jobs([path, path], tmp_path / "out")) == 1
    with pytest.raises(UsageError, match="no such file"):
        plan_jobs([path, tmp_path / "b.png"], tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.png"]
