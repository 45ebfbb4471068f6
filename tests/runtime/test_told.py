"""What adnet-run says where its options have no effect, and how it writes odd names."""

import json

import pytest
from conftest import assert_clean_error
from PIL import Image
from test_run_options import ENDINGS, KINDS, identity, run, tree  # noqa: F401  (fixtures)

from adnet import denoise_folder
from adnet.images.levels import to_levels
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render


@pytest.mark.parametrize("kind", KINDS)
def test_quality_where_there_is_none_is_told(run, tmp_path, make_image, kind):  # noqa: F811
    make_image(tmp_path / f"a{ENDINGS[kind]}", "RGB", size=(40, 32))
    told = run(f"a{ENDINGS[kind]}", "-o", "out", "--quality", "60").stdout
    assert ("--quality is of JPEG and lossy WebP" in told) == (kind not in ("jpg", "webp"))
    assert "--quality" not in run("a" + ENDINGS[kind], "-o", "out2").stdout


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_folder_in_the_place_of_a_result(run, tmp_path, make_image, overwrite):  # noqa: F811
    for name in ("in/a.png", "in/b.tif"):
        make_image(tmp_path / name, size=(40, 32))
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    result = run("in", "-o", "out", *overwrite)
    assert result.returncode == 1
    assert "1 denoised, 0 skipped (output exists), 1 failed" in result.stdout
    assert "out/a.png: a folder of that name is in the way" in result.stderr
    preview = run("in", "-o", "out", "--dry-run", *overwrite)
    assert preview.returncode == 1
    assert "would fail: in/a.png: out/a.png: a folder of that name" in preview.stdout


def test_a_dry_run_that_would_fail_says_so(run, tmp_path, make_image):  # noqa: F811
    make_image(tmp_path / "in" / "a.png", size=(40, 32))
    assert run("in", "-o", "out", "--dry-run").returncode == 0
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    told = run("in", "-o", "out", "--dry-run")
    assert told.returncode == 1
    assert "would fail: in/b.png" in told.stdout
    looked = run("in", "-o", "out", "--dry-run", "--json")
    assert looked.returncode == 1
    assert [one["will"] for one in json.loads(looked.stdout)] == ["denoise", "fail"]
    assert_clean_error(run("-", "-o", "-", "--dry-run"), 2, "--dry-run is for files")


@pytest.mark.parametrize("mark", ["\x1b[2J", "\n", "\r", "\t", "\x9b31m", "\x07"])
def test_control_characters_of_names(run, tmp_path, make_image, mark):  # noqa: F811
    escaped = (
        "\\n" if mark == "\n" else "\\t" if mark == "\t" else f"\\x{ord(mark[0]):02x}" + mark[1:]
    )
    make_image(tmp_path / "in" / "a.png", size=(40, 32))
    (tmp_path / "in" / f"b{mark}c.png").write_bytes(b"no image")
    for more in ([], ["--dry-run"]):
        result = run("in", "-o", "out", *more)
        lines = (result.stdout + result.stderr).splitlines()
        (line,) = (line for line in lines if "fail: " in line or "failed: " in line)
        assert f"in/b{escaped}c.png" in line
    told = json.loads(run("in", "-o", "out", "--json").stdout)
    assert told["failed"][0]["input"] == f"in/b{mark}c.png"


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lists_of_other_systems(run, tmp_path, make_image, start, end):  # noqa: F811
    for name in ("a.png", "b.png"):
        make_image(tmp_path / name, size=(40, 32))
    (tmp_path / "list.txt").write_bytes(start + b"a.png" + end + b"b.png" + end)
    assert run("--files-from", "list.txt", "-o", "out").returncode == 0
    assert tree(tmp_path / "out") == ["a.png", "b.png"]


def test_results_that_exist_say_how_to_make_them_again(run, tmp_path, make_image):  # noqa: F811
    for name in ("in/a.png", "in/b.png"):
        make_image(tmp_path / name, size=(40, 32))
    assert "overwrite" not in run("in", "-o", "out").stdout
    told = run("in", "-o", "out", "--compare", "look").stdout
    assert "2 skipped (output exists; --overwrite makes them again)" in told
    assert "no picture was drawn of 2 images whose results exist; --overwrite" in told


@pytest.mark.parametrize(
    ("sigma", "model", "is_far"),
    [
        (25, "gray-25", False), (50, "gray-25", True), (50, "gray-blind", False),
        (25, "gray-50", True), (50, None, False),
    ],
)  # fmt: skip
def test_a_named_model_far_from_the_estimate(tmp_path, sigma, model, is_far):
    noisy = to_levels(add_published_noise(render(128, 128, 1, 0), sigma))
    Image.fromarray(noisy).save(tmp_path / "a.png")
    done = denoise_folder(tmp_path / "a.png", tmp_path / "out", model=model, sigma="auto")
    told = [text for _, text in done.notes]
    assert len(told) == is_far
    if is_far:
        assert f"{model} is for sigma {model[-2:]}. Without --model" in told[0]


def test_lists_parted_by_nul(run, tmp_path, make_image):  # noqa: F811
    for name in ("in/a\nb.png", "in/c.png"):
        make_image(tmp_path / name, size=(40, 32))
    (tmp_path / "list").write_bytes(b"in/a\nb.png\0in/c.png\0")
    assert run("--files-from", "list", "-o", "out").returncode == 0
    assert tree(tmp_path / "out") == ["a\nb.png", "c.png"]


@pytest.mark.parametrize("name", ["r.txt", "r.JSON", "r.raw", "r.mp3", "r.onnx", "r.xlsx"])
def test_an_output_named_like_any_file(run, tmp_path, make_image, name):  # noqa: F811
    make_image(tmp_path / "a.png", size=(40, 32))
    assert_clean_error(run("a.png", "-o", name), 2, f"mkdir {name}")
    assert tree(tmp_path) == ["a.png"]
    (tmp_path / name).mkdir()
    assert run("a.png", "-o", name).returncode == 0
    assert tree(tmp_path / name) == ["a.png"]


def test_small_and_long_things_by_their_size(run, tmp_path, make_image):  # noqa: F811
    make_image(tmp_path / "a.png", size=(640, 480))
    told = run("a.png", "-o", "out", "--max-pixels", "300000").stderr
    assert "640x480 is 307200 pixels, more than the limit of 300000 pixels" in told
    assert_clean_error(run("a.png", "-o", "out", "--max-memory", "2"), 2, "--max-memory 2 is too")
    (tmp_path / "a.png").rename(tmp_path / f"{'n' * 248}.png")
    result = run(f"{'n' * 248}.png", "-o", "out", "--suffix", "_denoised")
    assert result.returncode == 1
    assert "File name too long" in result.stderr
    assert "unexpected" not in result.stderr


def test_a_side_of_chunks_alone_is_refused(run, tmp_path, make_image):  # noqa: F811
    make_image(tmp_path / "a.tif", size=(40, 32))
    assert_clean_error(run("a.tif", "-o", "out", "--chunk", "64"), 2, "--chunk goes with --by-chu")
    assert tree(tmp_path) == ["a.tif"]
