"""adnet.denoise and adnet.denoise_folder."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

import adnet
from adnet.errors import ImageError, ShapeError, UsageError
from adnet.images.formats.colour import srgb_profile
from adnet.images.levels import WHITE, from_levels, to_levels
from adnet.images.noise import add_published_noise
from adnet.images.synthetic import render
from adnet.runtime.backend import RunOptions
from adnet.runtime.request import Request
from adnet.runtime.treatment import Treatment

SIZE = (24, 31)


def noisy_image(channels=1):
    return to_levels(add_published_noise(render(*SIZE, channels, 0), 25))


@pytest.fixture(scope="module")
def denoiser():
    with adnet.Denoiser("gray-blind") as one:
        yield one


@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", "<f4", ">f4", "<f8"])
def test_an_array(denoiser, kind):
    image = noisy_image().astype(kind)
    image = image / np.asarray(WHITE, kind) if image.dtype.kind == "f" else image
    image = image.astype(kind)
    result = adnet.denoise(image, "gray-blind")
    assert result.dtype == image.dtype
    assert np.array_equal(result, denoiser(image))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "F", "I;16", "I;16B", "I;16N"])
def test_a_pillow_image_keeps_its_mode(denoiser, mode):
    if mode.startswith("I;16"):
        pixels = noisy_image().astype(np.uint16) * 257
        raw = pixels.astype(">u2" if mode.endswith("B") else "<u2").tobytes()
        image = Image.frombytes(mode, SIZE[::-1], raw)
    else:
        image = Image.fromarray(noisy_image(3)).convert(mode)
        if mode == "F":
            image = Image.fromarray(np.asarray(image) / np.float32(WHITE))
        pixels = np.asarray(image)
    image.info["dpi"] = (300, 300)
    result = adnet.denoise(image, "gray-blind")
    assert (result.mode, result.size, result.info) == (image.mode, image.size, image.info)
    assert np.array_equal(np.asarray(result), denoiser(pixels))


OTHER_MODES = {
    "1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "LAB": "RGB",
    "La": "LA", "RGBa": "RGBA",
}  # fmt: skip


def of_mode(mode):
    image = Image.fromarray(noisy_image(3))
    if mode == "PA":
        return image.convert("P").convert("PA")
    if mode == "LAB":
        return ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    if mode in ("La", "RGBa"):
        straight = image.convert("L" if mode == "La" else "RGB")
        straight.putalpha(128)
        return straight.convert(mode)
    return image.convert(mode)


@pytest.mark.parametrize("mode", OTHER_MODES)
def test_other_modes_become_what_they_show(mode):
    image = of_mode(mode)
    same = adnet.denoise(image, "gray-blind", strength=0)
    assert same.mode == OTHER_MODES[mode]
    looks = np.asarray(same.convert("RGB"), int)
    clean = Image.fromarray(noisy_image(3)).convert("RGB")
    if mode not in ("1", "P", "PA", "La"):  # nothing was lost on the way there
        assert np.abs(looks - np.asarray(clean, int)).mean() < 4
    if OTHER_MODES[mode].endswith("A"):
        assert np.array_equal(
            np.asarray(same)[..., -1], np.asarray(image.getchannel("A" if mode == "PA" else "a"))
        )
    with pytest.raises(ImageError, match="mode I with 32 bits"):
        adnet.denoise(Image.new("I", (20, 20)))


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_a_colour_key_stays_transparent(mode):
    image = Image.fromarray(noisy_image(3)).convert(mode)
    key = image.getpixel((3, 5))
    image.info["transparency"] = key
    clear = np.asarray(image) == key
    clear = clear.all(-1) if clear.ndim == 3 else clear
    result = adnet.denoise(image, "gray-blind")
    assert result.mode == ("LA" if mode in ("1", "L") else "RGBA")
    assert "transparency" not in result.info
    assert np.array_equal(np.asarray(result)[..., -1] == 0, clear)
    deep = Image.fromarray(noisy_image().astype(np.uint16))
    deep.info["transparency"] = 5
    with pytest.raises(ImageError, match="16 bits with a transparent gray"):
        adnet.denoise(deep)


def test_the_profile_is_that_of_the_result():
    profile = srgb_profile()
    inks = Image.fromarray(noisy_image(3)).convert("CMYK")
    inks.info["icc_profile"] = profile  # of RGB: cannot be used for inks
    assert "icc_profile" not in adnet.denoise(inks, "gray-blind").info
    lab = of_mode("LAB")
    lab.info["icc_profile"] = b"of LAB"
    assert adnet.denoise(lab, "gray-blind").info["icc_profile"] == profile
    plain = Image.fromarray(noisy_image(3))
    plain.info["icc_profile"] = b"its own"
    assert adnet.denoise(plain, "gray-blind").info["icc_profile"] == b"its own"


@pytest.mark.parametrize("asked", [{"sigma": "x"}, {"strength": "0.5"}, {"sigma": [25]},
                                   {"strength": None}])  # fmt: skip
def test_words_of_another_type(asked):
    with pytest.raises(UsageError, match="must be from 0 to"):
        adnet.denoise(noisy_image(), **asked)


def test_a_path_and_a_list(denoiser, tmp_path):
    Image.fromarray(noisy_image(3)).save(tmp_path / "a.png")
    wanted = denoiser(noisy_image(3))
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(adnet.denoise(path, "gray-blind"), wanted)
    found = adnet.denoise([noisy_image(), tmp_path / "a.png"], "gray-blind")
    assert [one.shape for one in found] == [SIZE, (*SIZE, 3)]
    assert adnet.denoise([]) == []
    Image.fromarray(noisy_image()).save(
        tmp_path / "two.tif", save_all=True, append_images=[Image.fromarray(noisy_image())]
    )
    with pytest.raises(ImageError, match=r"2 frames or pages.*denoise_folder"):
        adnet.denoise(tmp_path / "two.tif")
    with pytest.raises(ImageError, match="no such file"):
        adnet.denoise(tmp_path / "none.png")


def test_words_of_the_denoiser(denoiser):
    image = noisy_image() / np.float32(WHITE)
    half = adnet.denoise(image, "gray-blind", strength=0.5, threads=1)
    assert np.allclose(half, (image + denoiser(image)) / 2, atol=1e-6)
    assert np.array_equal(adnet.denoise(image, strength=0), image)
    with pytest.raises(TypeError, match="strenght"):
        adnet.denoise(image, strenght=1)
    with pytest.raises(ImageError, match="value_range"):
        adnet.denoise(image * WHITE)
    with pytest.raises(ShapeError, match="expected uint8"):
        adnet.denoise(np.zeros((4, 4), np.int64))


def test_a_folder_with_progress(tmp_path, make_image):
    for name in ("a.png", "x/b.jpg", "x/c.tif"):
        make_image(tmp_path / "in" / name, size=(30, 24))
    (tmp_path / "in" / "bad.png").touch()
    (tmp_path / "in" / "n.txt").touch()
    steps = []
    done = adnet.denoise_folder(
        str(tmp_path / "in"), tmp_path / "out", on_progress=steps.append, strength=0.5,
        suffix="_x", format="png", model="gray-blind", threads=1,
    )  # fmt: skip
    names = ["a_x.png", "x/b_x.png", "x/c_x.png"]
    assert sorted(done.written) == [tmp_path / "out" / name for name in names]
    assert [path.name for path, _ in done.failed] == ["bad.png"]
    assert done.found.other_files == {".txt": 1}
    assert done.models[0]["name"] == "gray-blind"
    assert [step.done for step in steps if step.image] == [1, 2, 3, 4]
    assert sum(step.error is not None for step in steps) == 1
    assert steps[-1].fraction == 1
    assert {one.status for one in done.images} == {"written", "failed"}
    again = adnet.denoise_folder([tmp_path / "in"], tmp_path / "out", suffix="_x", format="png")
    assert (again.skipped, len(again.written)) == (3, 0)


def test_wrong_words_begin_nothing(tmp_path, make_image):
    make_image(tmp_path / "a.png")
    for words, error in (({"strength": 2}, UsageError), ({"foo": 1}, TypeError),
                         ({"format": "jp2"}, UsageError)):  # fmt: skip
        with pytest.raises(error):
            adnet.denoise_folder(tmp_path / "a.png", tmp_path / "out", **words)
    with pytest.raises(UsageError, match="say where the results go"):
        adnet.denoise_folder(tmp_path / "a.png")
    for given in (("-", tmp_path / "out"), (tmp_path / "a.png", "-")):
        with pytest.raises(UsageError, match="pipes are for adnet-run"):
            adnet.denoise_folder(*given)
    assert not (tmp_path / "out").exists()
    assert Request(inputs=[tmp_path], output=tmp_path).quality is None


def test_the_import_is_light():
    code = (
        "import sys, adnet; print(sorted({'numpy','PIL','onnxruntime','typer'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
    code = "import sys, adnet; adnet.denoise; print('torch' in sys.modules, 'typer' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "False"]


def test_warnings_and_streams_are_left_alone(tmp_path, make_image):
    """What a program may do to its process, a library may not."""
    make_image(tmp_path / "a.png", size=(20, 20))
    code = f"""
import json, os, sys, warnings, adnet
before = (warnings.showwarning, list(warnings.filters), sys.stderr, os.fstat(2).st_ino)
adnet.denoise_folder({str(tmp_path / "a.png")!r}, {str(tmp_path / "out")!r})
after = (warnings.showwarning, list(warnings.filters), sys.stderr, os.fstat(2).st_ino)
print(json.dumps(before[0] is after[0] and before[2:] == after[2:]))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout)
    assert Path(tmp_path / "out" / "a.png").exists()


@pytest.mark.parametrize(
    "thing",
    [b"a.png", 3, None, object(), (x for x in "a"), {"a": 1}],
    ids=lambda x: type(x).__name__,
)
def test_what_is_no_image_is_named(denoiser, thing):
    with pytest.raises(TypeError, match="expected an array, a Pillow image, a path"):
        adnet.denoise(thing, "gray-blind")
    with pytest.raises(ShapeError, match=f"got {type(thing).__name__}"):
        denoiser(thing)


def test_words_that_are_no_options(tmp_path):
    with pytest.raises(TypeError, match="no option 'strenght'. Did you mean strength"):
        adnet.denoise(noisy_image(), strenght=0.5)
    with pytest.raises(TypeError, match="no option 'overwrte'. Did you mean overwrite"):
        adnet.denoise_folder(tmp_path, tmp_path / "out", overwrte=True)
    for call in (
        lambda: adnet.denoise_folder("s3://bucket/a.png", tmp_path / "out"),
        lambda: adnet.denoise_folder(tmp_path, "s3://bucket/out"),
        lambda: adnet.denoise("s3://bucket/a.png"),
        lambda: adnet.denoise([noisy_image(), "memory://a.png"]),
    ):
        with pytest.raises(UsageError, match="addresses are for the program"):
            call()


@pytest.mark.parametrize(
    ("word", "meant"),
    [("sufix", "suffix"), ("formt", "format"), ("strenght", "strength"), ("thread", "threads"),
     ("devise", "device")],
)  # fmt: skip
def test_words_like_options_are_named_wherever_they_belong(tmp_path, word, meant):
    with pytest.raises(TypeError, match=f"no option '{word}'. Did you mean.*{meant}") as caught:
        adnet.denoise_folder(tmp_path, tmp_path / "out", **{word: 1})
    for inner in ("naming", "treatment", "inputs"):
        assert inner not in str(caught.value)
    if meant not in ("suffix", "format"):
        with pytest.raises(TypeError, match=f"no option '{word}'. Did you mean.*{meant}"):
            adnet.Denoiser("gray-blind", **{word: 1})


@pytest.mark.parametrize("words", [{"device": 5}, {"precision": 16}, {"provider": b"CPU"}])
def test_options_of_the_wrong_type_are_named(words):
    (word,) = words
    with pytest.raises(UsageError, match=f"{word} must be a text"):
        adnet.denoise(noisy_image(), "gray-blind", **words)


@pytest.mark.parametrize("place", ["", "a\0b"])
def test_paths_that_name_nothing(tmp_path, monkeypatch, place):
    """An empty one would mean the folder that one is in."""
    monkeypatch.chdir(tmp_path)
    for call in (
        lambda: adnet.denoise(place),
        lambda: adnet.denoise_folder(place, "out"),
        lambda: adnet.denoise_folder(["a.png", place], "out"),
        lambda: adnet.denoise_folder("a.png", place),
    ):
        with pytest.raises(UsageError, match="expected a path"):
            call()
    for wrong in (b"in", 3, ["in", None]):
        with pytest.raises(TypeError, match="expected a path as str or Path"):
            adnet.denoise_folder(wrong, "out")
    with pytest.raises(UsageError, match="suffix: expected a text, got 5"):
        adnet.denoise_folder(tmp_path, "out", suffix=5)
    assert not list(tmp_path.iterdir())


def test_a_file_of_a_range_unsaid_is_named(tmp_path):
    path = tmp_path / "range.tif"
    Image.fromarray(np.linspace(0, 255, 40 * 48, dtype=np.float32).reshape(40, 48)).save(path)
    for given in (path, [path]):
        with pytest.raises(ImageError, match="range.tif.*values reach from"):
            adnet.denoise(given)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_told(denoiser):
    with pytest.raises(ShapeError, match="numpy.asarray"):
        denoiser(np.asmatrix(np.zeros((40, 48), np.uint8)))


@pytest.mark.torch
def test_a_tensor_that_learns():
    import torch

    image = noisy_image()
    tensor = torch.from_numpy(from_levels(image)).requires_grad_()
    assert np.array_equal(adnet.denoise(tensor), adnet.denoise(tensor.detach()))


@pytest.mark.parametrize(
    "word",
    ["suffix", "format", "quality", "overwrite", "compare", "reference", "strip_metadata",
     "max_memory", "max_pixels", "inputs", "output", "naming"],
)  # fmt: skip
def test_words_of_files_are_for_folders_alone(word):
    with pytest.raises(TypeError, match=f"no option '{word}'"):
        adnet.denoise(noisy_image(), "gray-blind", **{word: None})


def test_a_word_wins_over_the_treatment_or_options_that_hold_it():
    image = noisy_image()
    treatment, options = Treatment(strength=0.5), RunOptions(threads=1)
    half = adnet.denoise(image, "gray-blind", treatment=treatment, options=options)
    words = {"strength": 0.5, "threads": 1}
    assert np.array_equal(half, adnet.denoise(image, "gray-blind", **words))
    none = adnet.denoise(image, "gray-blind", treatment=treatment, strength=0)
    assert np.array_equal(none, image)


@pytest.mark.parametrize(
    "words",
    [
        {"tile": "512"}, {"tile": 99.5}, {"batch": 1.5}, {"threads": "2"}, {"streams": True},
        {"value_range": "0,1"}, {"value_range": 5}, {"value_range": (0, 1, 2)},
        {"sigma": "25"}, {"strength": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_options_of_other_types(words):
    with pytest.raises(UsageError):
        adnet.denoise(noisy_image(), "gray-blind", **words)


def test_options_of_other_types_of_folders(tmp_path):
    Image.fromarray(noisy_image()).save(tmp_path / "a.png")
    for words in ({"quality": "9"}, {"max_pixels": 1.5}, {"max_pixels": None}):
        with pytest.raises(UsageError):
            adnet.denoise_folder(tmp_path / "a.png", tmp_path / "out", **words)
    done = adnet.denoise_folder(tmp_path / "a.png", tmp_path / "out", max_memory=1 << 30)
    assert len(done.written) == 1


def test_the_fast_twin():
    image = noisy_image()
    assert np.array_equal(
        adnet.denoise(image, "gray-25", fast=True), adnet.denoise(image, "gray-25-int8")
    )
    with pytest.raises(UsageError, match="sigma cannot choose one"):
        adnet.denoise(image, fast=True, sigma=25)


def test_masked_pixels(denoiser):
    image = noisy_image()
    whole = np.ma.masked_array(image, np.zeros_like(image, bool))
    assert np.array_equal(denoiser(whole), denoiser(image))
    hidden = np.ma.masked_array(image, image > 200)
    for call in (denoiser, lambda x: adnet.denoise(x, "gray-blind")):
        with pytest.raises(ShapeError, match="are masked"):
            call(hidden)
