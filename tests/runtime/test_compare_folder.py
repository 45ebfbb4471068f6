"""--compare draws pictures and replaces nothing else; what it could not draw is told."""

import json

import numpy as np
import pytest
from conftest import assert_clean_error
from PIL import Image
from test_run_options import identity, run, tree  # noqa: F401  (fixtures)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def here(tmp_path, make_image):
    for seed, name in enumerate(("in/a.png", "in/x/b.jpg", "two/a.png", "ref/a.png", "c.png")):
        make_image(tmp_path / name, "RGB", size=(40, 32), seed=seed)
    return tmp_path


def contents(folder):
    return {name: (folder / name).read_bytes() for name in tree(folder)}


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["in", "-o", "out", "--compare", "in"], "inside the input folder"),
        (["in", "-o", "out", "--compare", "in/x/new"], "denoise its own pictures"),
        (["in", "--suffix", "_c", "--compare", "in"], "inside the input folder"),
        (["in/a.png", "-o", "out", "--compare", "in"], "would replace an input"),
        (["c.png", "--suffix", "_c", "--compare", "."], "would replace an input"),
        (["in", "-o", "out", "--compare", "out"], "would replace a result"),
        (["in", "-o", "out", "--compare", "ref", "--reference", "ref"], "would replace a ref"),
        (["in", "-o", "out", "--compare", "here", "--reference", "ref"], "would replace a ref"),
        (["in/a.png", "two/a.png", "--suffix", "_c", "--compare", "cmp"], "would both be cmp"),
        (["in", "-o", "out", "--compare", "c.png"], "needs a folder, and this is a file"),
        (["in", "-o", "out", "--compare", "look.png"], "mkdir look.png"),
    ],
)
def test_what_pictures_would_replace_is_refused(run, here, arguments, part, overwrite):  # noqa: F811
    (here / "here").symlink_to(here / "ref", target_is_directory=True)
    before = contents(here)
    result = run(*arguments, *overwrite)
    assert_clean_error(result, 2, part)
    assert contents(here) == before
    assert_clean_error(run(*arguments, "--dry-run"), 2, part)


def test_pictures_of_two_endings(run, here, make_image):  # noqa: F811
    for name in ("in/b.jpg", "in/b.jpg.png"):
        make_image(here / name, "RGB", size=(40, 32))
    assert_clean_error(run("in", "-o", "out", "--compare", "cmp"), 2, "would both be cmp/b.jpg.png")


def test_beside_the_results_and_drawn_once(run, here):  # noqa: F811
    assert run("in", "-o", "out", "--compare", "out/cmp").returncode == 0
    drawn = contents(here / "out" / "cmp")
    assert sorted(drawn) == ["a.png", "x/b.jpg.png"]
    (here / "out" / "a.png").unlink()
    (here / "out" / "cmp" / "a.png").write_bytes(b"a photo that lay there")
    result = run("in", "-o", "out", "--compare", "out/cmp", "--json")
    (one,) = (one for one in json.loads(result.stdout)["images"] if one["status"] == "written")
    assert one["compared"] == {"note": "the picture exists; --overwrite draws it again"}
    assert contents(here / "out" / "cmp")["a.png"] == b"a photo that lay there"
    assert run("in", "-o", "out", "--compare", "out/cmp", "--overwrite").returncode == 0
    assert contents(here / "out" / "cmp") == drawn


def test_what_was_not_compared_is_told(run, here, make_image):  # noqa: F811
    make_image(here / "ref" / "x" / "b.jpg", "RGB", size=(20, 20))
    told = run("in", "-o", "out", "--compare", "cmp", "--reference", "ref").stdout
    assert "against 1 reference: " in told
    assert "in/x/b.jpg: the reference has another size or other colours." in told
    (here / "ref" / "a.png").unlink()
    told = run("in", "-o", "o2", "--compare", "c2", "--reference", "ref").stdout
    assert "in/a.png: there is no reference of that name." in told
    (here / "cmp" / "a.png").unlink()
    (here / "cmp" / "a.png").mkdir()
    told = run("in/a.png", "-o", "o3", "--compare", "cmp", "--overwrite").stdout
    assert "in/a.png: no picture was drawn" in told


def test_equal_images_have_no_finite_psnr(run, here):  # noqa: F811
    def refused(word):
        raise AssertionError(f"{word} is no JSON")

    Image.fromarray(np.full((32, 40, 3), 7, np.uint8)).save(here / "in" / "a.png")
    (here / "ref" / "a.png").write_bytes((here / "in" / "a.png").read_bytes())
    result = run("in/a.png", "-o", "o", "--strength", "0", "--compare", "c", "--reference", "ref",
                 "--json")  # fmt: skip
    (one,) = json.loads(result.stdout, parse_constant=refused)["images"]
    assert one["compared"]["after"] == {"psnr": None, "ssim": pytest.approx(1)}
