"""What adnet-run's options promise: names, formats, quality, lists, comparisons, dry runs."""

import json

import numpy as np
import pytest
from conftest import assert_clean_error
from PIL import Image

from adnet.benchmarks.studies.memory import save_identity
from adnet.images.formats.kinds import FORMATS, format_of
from adnet.images.levels import WHITE, to_levels
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.runtime import settings
from adnet.runtime.cli import main

KINDS = ["png", "jpg", "tiff", "webp", "bmp", "gif"]
ENDINGS = {"png": ".png", "jpg": ".jpg", "tiff": ".tif", "webp": ".webp", "bmp": ".bmp",
           "gif": ".gif"}  # fmt: skip


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """Models that change nothing: what is tested here is what goes on around them."""
    pytest.importorskip("onnx")
    return save_identity(tmp_path_factory.mktemp("identity") / "identity.onnx", 1)


@pytest.fixture
def run(cli_here, identity, tmp_path):
    def run(*arguments, model=identity, cwd=tmp_path):
        chosen = [] if model is None else ["--model", model]
        return cli_here(main, "adnet-run", *arguments, *chosen, cwd=cwd)

    return run


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def report(result):
    assert result.returncode in (0, 1), result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("wanted", KINDS)
@pytest.mark.parametrize("given", KINDS)
def test_every_format_to_every_format(run, tmp_path, make_image, given, wanted):
    source = make_image(tmp_path / "in" / f"a{ENDINGS[given]}", "RGB", size=(40, 32))
    result = run("in", "-o", "out", "--format", wanted, "--suffix", "_x", "--json")
    (one,) = report(result)["images"]
    assert tree(tmp_path / "out") == [f"a_x{ENDINGS[wanted]}"]
    written = tmp_path / "out" / f"a_x{ENDINGS[wanted]}"
    assert (tmp_path / one["output"], one["status"]) == (written, "written")
    assert tmp_path / one["input"] == source
    assert format_of(written.read_bytes()) == FORMATS[ENDINGS[wanted]]


def test_an_ending_of_the_same_format_stays(run, tmp_path, make_image):
    for name in ("a.JPEG", "b.jfif", "c.jpg", "d.png"):
        make_image(tmp_path / "in" / name, size=(20, 20)) if name != "b.jfif" else Image.new(
            "L", (20, 20)
        ).save(tmp_path / "in" / name, "JPEG")
    assert run("in", "-o", "out", "--format", "jpg").returncode == 0
    assert tree(tmp_path / "out") == ["a.JPEG", "b.jfif", "c.jpg", "d.jpg"]


def test_beside_the_inputs_and_never_of_results(run, tmp_path, make_image):
    for name in ("in/a.png", "in/x/b.jpg"):
        make_image(tmp_path / name, size=(20, 20))
    for round_ in range(2):
        result = run("in", "--suffix", "_clean", "--json")
        told = report(result)
        assert tree(tmp_path / "in") == ["a.png", "a_clean.png", "x/b.jpg", "x/b_clean.jpg"]
        assert (len(told["written"]), told["skipped"]) == ((2, 0), (0, 2))[round_]
        assert [one["status"] for one in told["images"]] == [["written", "skipped"][round_]] * 2
    assert len(told["not_taken"]["left_out"]) == 2
    assert "2 files named like results" in run("in", "--suffix", "_clean").stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["a.png"], ["--output"]),
        (["a.png", "-o", "out", "--suffix", "x/y"], ["suffix: expected"]),
        (["a.png", "-o", "out", "--suffix", ".jpg"], ["suffix: expected"]),
        (["a.png", "-o", "b.png", "--format", "jpg"], ["does not agree"]),
        (["a.png", "a.jpg", "-o", "out", "--format", "png"], ["would both be written"]),
        (
            ["a.png", "-o", "out", "--quality", "0"],
            ["quality must be a whole number from 1 to 100"],
        ),
        (["a.png", "-o", "out", "--strength", "2"], ["strength must be from 0 to 1"]),
        (["a.png", "-o", "out", "--sigma", "much"], ["expected a number or auto"]),
        (["a.png", "-o", "out", "--sigma", "-3"], ["sigma must be from 0 to 255"]),
        (["a.png", "-o", "out", "--reference", "."], ["--compare DIR"]),
        (["a.png", "-o", "out", "--compare", "c", "--reference", "no"], ["no: no such folder"]),
        (["a.png", "-o", "out", "--fast", "--sigma", "25"], ["--fast takes the twin"]),
        (["--files-from", "none.txt", "-o", "out"], ["none.txt: cannot be read"]),
        (["--files-from", "empty.txt", "-o", "out"], ["names no file"]),
        (["a.png", "--watch", "-o", "out"], ["a.png: --watch takes folders"]),
        (["text.txt", "-o", "out"], ["suffix .txt is not one of"]),
        (["text.txt", "photo.heic", "-o", "out"], ["suffix .txt is not one of"]),
        (["-", "--watch", "-o", "b.png"], ["--watch takes folders"]),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(run, tmp_path, make_image, arguments, parts):
    make_image(tmp_path / "a.png", size=(20, 20))
    make_image(tmp_path / "a.jpg", size=(20, 20))
    for name in ("text.txt", "photo.heic", "empty.txt"):
        (tmp_path / name).touch()
    before = tree(tmp_path)
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in " ".join(result.stderr.replace("│", " ").split())
    assert tree(tmp_path) == before


def test_a_model_and_a_level_that_do_not_agree(run, tmp_path, make_image):
    make_image(tmp_path / "a.png", size=(20, 20))
    result = run("a.png", "-o", "out", "--sigma", "40", model="gray-25")
    assert_clean_error(result, 2, "sigma 40 does not suit the model gray-25")
    result = run("a.png", "-o", "out", "--color-mode", "luma", model="color-blind")
    assert_clean_error(result, 2, "is for gray models")


def test_other_files_among_those_given_are_counted(run, tmp_path, make_image):
    make_image(tmp_path / "a.png", size=(20, 20))
    (tmp_path / "sub").mkdir()
    for name in ("n.txt", "m.txt", "photo.heic", "noend"):
        (tmp_path / name).touch()
    names = ["a.png", "m.txt", "n.txt", "noend", "photo.heic", "sub"]
    text = run(*names, "-o", "out1")
    assert text.returncode == 0
    assert "ignored: 2 .txt, 1 without a suffix, 1 .heic" in text.stdout
    assert "HEIC is not supported" in text.stdout
    assert "left out: sub: no image in this folder" in text.stdout
    told = report(run(*names, "-o", "out2", "--json"))
    assert told["not_taken"]["by_suffix"] == {"": 1, ".heic": 1, ".txt": 2}
    assert told["written"] == ["out2/a.png"]


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_list_of_files(run, tmp_path, make_image, end):
    names = ["a.png", "sub dir/ü.png", " x.png"]
    for name in names:
        make_image(tmp_path / name, size=(20, 20))
    line = end or "\n"
    (tmp_path / "list").write_bytes((line.join(["", *names]) + end).encode())
    assert run("--files-from", "list", "-o", "out").returncode == 0
    assert tree(tmp_path / "out") == sorted(["a.png", "ü.png", " x.png"])


def jpeg(path, **how):
    noisy = to_levels(add_published_noise(render(48, 64, 3, 0), 10))
    Image.fromarray(noisy).convert(how.pop("mode", "RGB")).save(path, "JPEG", **how)
    return path


def coding(path):
    with Image.open(path) as image:
        image.load()
        tables = [image.quantization[one[3]] for one in image.layer]
        sampling = [one[1:3] for one in image.layer] if len(tables) > 1 else []
        return tables, sampling, "progressive" in image.info


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [5, 60, 92, 100])
def test_a_jpeg_keeps_its_tables_and_subsampling(run, tmp_path, mode, subsampling, quality):
    how = {"quality": quality, "subsampling": subsampling, "progressive": quality == 60}
    source = jpeg(tmp_path / "a.jpg", mode=mode, **how)
    assert run("a.jpg", "-o", "out").returncode == 0
    assert coding(tmp_path / "out" / "a.jpg") == coding(source)
    assert run("a.jpg", "-o", "out2", "--quality", "71").returncode == 0
    like = tmp_path / "like.jpg"
    Image.new(mode, (64, 48)).save(like, quality=71, subsampling=0)
    assert coding(tmp_path / "out2" / "a.jpg")[:2] == coding(like)[:2]


def test_what_was_no_jpeg_gets_95(run, tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    assert run("a.png", "-o", "out.jpg").returncode == 0
    like = tmp_path / "like.jpg"
    Image.new("RGB", (64, 48)).save(like, quality=95, subsampling=0)
    assert coding(tmp_path / "out.jpg")[:2] == coding(like)[:2]


def test_quality_of_webp(run, tmp_path, make_image):
    noisy = Image.fromarray(to_levels(add_published_noise(render(64, 64, 3, 0), 25)))
    noisy.save(tmp_path / "a.png")
    noisy.save(tmp_path / "lossless.webp", lossless=True)
    sizes = []
    for quality in (10, 60, 95):
        assert run("a.png", "-o", f"{quality}.webp", "--quality", str(quality)).returncode == 0
        sizes.append((tmp_path / f"{quality}.webp").stat().st_size)
    assert sizes == sorted(set(sizes))
    assert run("a.png", "-o", "default.webp").returncode == 0
    assert (tmp_path / "default.webp").read_bytes() == (tmp_path / "95.webp").read_bytes()
    assert run("lossless.webp", "-o", "out", "--quality", "10").returncode == 0
    with Image.open(tmp_path / "out" / "lossless.webp") as kept:
        assert np.array_equal(np.asarray(kept), np.asarray(noisy))


@pytest.mark.parametrize("kind", ["png", "jpg", "tiff"])
def test_a_comparison_is_drawn_and_measured(run, tmp_path, kind):
    clean = render(48, 64, 3, 0)
    name = f"x/a{ENDINGS[kind]}"
    for folder, pixels in (("in", add_published_noise(clean, 25)), ("clean", clean)):
        (tmp_path / folder / "x").mkdir(parents=True)
        Image.fromarray(to_levels(pixels)).save(tmp_path / folder / name)
    (tmp_path / "in" / "b.png").write_bytes(
        (tmp_path / "in" / name).read_bytes() if kind == "png" else b""
    )
    told = report(run("in", "-o", "out", "--compare", "cmp", "--reference", "clean", "--json"))
    ones = {one["input"]: one for one in told["images"]}
    compared = ones[f"in/{name}"]["compared"]
    picture = "cmp/x/a.png" if kind == "png" else f"cmp/{name}.png"
    assert compared["picture"] == picture
    assert compared["before"]["psnr"] == pytest.approx(compared["after"]["psnr"], abs=2)
    assert 18 < compared["before"]["psnr"] < 23
    assert 0 < compared["before"]["ssim"] < 1
    with Image.open(tmp_path / picture) as drawn:
        assert drawn.width > 3 * 64
        assert len(set(drawn.convert("L").get_flattened_data()
                       if hasattr(drawn, "get_flattened_data") else drawn.convert("L").getdata())
                   ) > 50  # fmt: skip
    assert any("against 1 reference:" in note for note in told["notes"])
    if kind == "png":
        assert ones["in/b.png"]["compared"]["note"] == "there is no reference of that name"
    else:
        assert ones["in/b.png"]["status"] == "failed"
        assert ones["in/b.png"]["compared"] is None


def test_the_json_pairs_inputs_with_what_became_of_them(run, tmp_path, make_image):
    for name in ("a.png", "b.jpg", "c.tif"):
        make_image(tmp_path / "in" / name, size=(40, 40))
    (tmp_path / "in" / "d.png").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.jpg").write_bytes(b"there")
    told = report(run("in", "-o", "out", "--sigma", "auto", "--json"))
    ones = {one["input"]: one for one in told["images"]}
    assert set(ones) == {"in/a.png", "in/b.jpg", "in/c.tif", "in/d.png"}
    for name in ("a.png", "c.tif"):
        one = ones[f"in/{name}"]
        assert (one["output"], one["status"], one["model"]) == (
            f"out/{name}",
            "written",
            "identity",
        )
        assert one["sigma"] >= 0
        assert one["seconds"] > 0
        assert any("hardly any noise" in note for note in one["notes"])
    assert ones["in/b.jpg"]["status"] == "skipped"
    assert ones["in/b.jpg"]["reason"] == "the output exists"
    assert ones["in/d.png"]["status"] == "failed"
    assert "the file is empty" in ones["in/d.png"]["reason"]
    assert any(note.startswith("estimated noise: sigma") for note in told["notes"])


def test_which_model_a_level_led_to_is_told(run, tmp_path, make_image):
    make_image(tmp_path / "a.png", size=(24, 24))
    text = run("a.png", "-o", "out", "--sigma", "25", model=None)
    assert "note: sigma 25 is near 25, so gray-25 was used." in text.stdout
    told = report(run("a.png", "-o", "out2", "--sigma", "80", "--json", model=None))
    assert told["images"][0]["model"] == "gray-blind"
    assert "which was trained for sigma 0-55" in told["notes"][0]


def test_a_dry_run_does_nothing_and_says_all(run, tmp_path, make_image):
    for name in ("a.png", "b.jpg", "c.tif"):
        make_image(tmp_path / "in" / name, size=(400, 300))
    make_image(tmp_path / "in" / "clear.png", "RGBA", size=(20, 20))
    (tmp_path / "in" / "n.txt").touch()
    (tmp_path / "out").mkdir()
    make_image(tmp_path / "out" / "b.jpg", size=(20, 20))
    before = tree(tmp_path)
    text = run("in", "-o", "out", "--dry-run")
    assert text.returncode == 0, text.stderr
    assert "would denoise: in/a.png -> out/a.png (identity, whole)" in text.stdout
    assert "would skip: in/b.jpg: the output exists" in text.stdout
    assert "ignored: 1 .txt" in text.stdout
    told = json.loads(run("in", "-o", "out2", "--dry-run", "--json", "--format", "jpg").stdout)
    fates = {one["input"]: one for one in told}
    assert fates["in/clear.png"]["will"] == "fail"
    assert "JPEG cannot hold transparency" in fates["in/clear.png"]["reason"]
    assert fates["in/c.tif"]["output"] == "out2/c.jpg"
    estimated = run("in/a.png", "-o", "out", "--dry-run", "--sigma", "auto", model=None)
    assert "(gray-blind, whole, estimated sigma 0.0)" in estimated.stdout
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_in_bands_the_same_is_estimated(run, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    noisy = rng.normal(128, 25, (5000, 2500)).clip(0, WHITE).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "a.png", compress_level=0)
    whole = run("a.png", "-o", "out", "--sigma", "auto", "--dry-run").stdout
    monkeypatch.setattr(settings, "memory_for_images", lambda *_: (52 << 20, 52 << 20))
    look = run("a.png", "-o", "out", "--sigma", "auto", "--dry-run").stdout
    arguments = ["a.png", "-o", "out", "--sigma", "auto", "--compare", "c", "--json"]
    (one,) = report(run(*arguments))["images"]
    assert "(identity, whole, estimated sigma 25." in whole
    assert look == whole.replace("whole", "bands")
    assert one["compared"] == {"note": "too large to be drawn"}
    assert one["sigma"] == pytest.approx(25, rel=0.02)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), noisy)
