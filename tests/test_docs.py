"""The pages: short, linked, and true where a test can tell."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT, tracked

from adnet.models.shipped import pretrained_models

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


def test_the_readme_is_a_front_door():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


@pytest.mark.parametrize("name", [".venv", ".venv-test"])
def test_the_two_commands_are_lines_of_their_own(name):
    lines = (ROOT / "README.md").read_text().splitlines()
    found = [line for line in lines if line.startswith(f"python3 -m venv {name} ")]
    assert len(found) == 1  # .ci/run takes the first


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if "://" in target or target.startswith("live/"):
            continue  # live/ is made with the site, whose build finds dead links too
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_every_page_is_reached_from_the_readme():
    linked = {name for page in PAGES for name in LINK.findall(page.read_text())}
    names = {Path(one.partition("#")[0]).name for one in linked}
    for page in PAGES[1:]:
        assert page.name in names


def test_nothing_installs_adnet_from_an_index():
    wrong = re.compile(r"""pip (?:install|download) (?:-\S+ )*['"]?adnet(?![-\w])|['"]adnet\[""")
    for name in tracked("*.md", "*.py", "docker", ".ci"):
        if name.startswith("tests/"):
            continue
        for line in (ROOT / name).read_text().splitlines():
            assert "--no-index" in line or not wrong.search(line), f"{name}: {line}"


def test_figures_of_the_shipped_models_are_those_of_their_records():
    told = {one.name: one.card.training.get("test_psnr") for one in pretrained_models()}
    for page in ("README.md", "docs/numbers.md"):
        rows = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("| `")]
        seen = set()
        for row in rows:
            name = row.split("`")[1]
            if not told.get(name) or " dB" not in row:
                continue
            seen.add(name)
            (figures_of,) = told[name].values()
            levels = re.search(r"sigma ([\d /]+)", row)[1].split("/")
            figures = re.search(r"\| ([\d. /]+) dB", row)[1].split("/")
            for level, figure in zip(levels, figures, strict=True):
                assert f"{figures_of[level.strip()]:.2f}" == figure.strip(), row
        assert seen >= {"gray-25", "gray-blind", "color-blind"}


def one_line_of(page: str) -> str:
    return " ".join((ROOT / page).read_text().split())


def test_what_int8_costs_is_as_recorded():
    text, models = one_line_of("docs/numbers.md"), {one.name: one for one in pretrained_models()}
    twins = [name for name in models if name.endswith("-int8")]
    assert twins
    for name in twins:
        twin, whole = (models[one].card.training for one in (name, name.removesuffix("-int8")))
        ((sigma, own),) = twin["test_psnr"]["BSD68"].items()
        before = whole["test_psnr"]["BSD68"][sigma]
        assert f"{own:.3f} instead of {before:.3f}" in text, name
        held_out = twin["float_val_psnr"] - twin["val_psnr"]
        part = text[text.index(f"`{name}`", text.index("## int8")) :][:420]
        assert f"{before - own:.3f}" in part, name
        assert f"{held_out:.3f}" in part, name
        if name == "gray-25-int8":
            assert f"in int8, which loses {before - own:.3f} dB" in one_line_of("README.md")


@pytest.mark.parametrize("name", ["gray-25", "gray-blind", "color-blind"])
def test_the_curves_that_are_told_are_those_of_the_records(name):
    (model,) = (one for one in pretrained_models() if one.name == name)
    curve = ", ".join(f"{psnr:.2f}" for _, psnr in model.card.training["curve"])
    assert curve in one_line_of("docs/training.md")


def test_the_table_of_rooms_is_the_tree():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    listed = re.findall(r"^\| `([\w/.]+)/` \|", text, re.MULTILINE)
    rooms = {str(Path(name).parent) for name in tracked("*.py")}
    packages = {room for room in rooms if (ROOT / room / "__init__.py").exists()}
    assert len(listed) == len(set(listed))
    assert {room for room in packages if not room.startswith("tests/")} <= set(listed)
    for room in listed:
        assert (ROOT / room).is_dir(), room
        assert tracked(room), room
    tests = {room for room in rooms if re.fullmatch(r"tests/\w+", room)} - {"tests/fakes"}
    for room in tests:
        name = room.removeprefix("tests/")
        assert name in {"export", "runtime", "benchmarks"} or f"adnet/{name}" in packages, room


def test_every_package_says_what_it_is_for():
    """And the modules that its docstring names are there."""
    for room in {str(Path(name).parent) for name in tracked("*__init__.py")}:
        if room.startswith("tests/") or room == "adnet":
            continue
        text = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))
        assert text, room
        for name in re.findall(r"`([a-z_0-9]+)/?`", text):
            places = [ROOT / room / f"{name}.py", ROOT / room / name, ROOT / room / f"../{name}.py"]
            is_extra = f"the extra `{name}`" in text.lower().replace("\n", " ")
            assert is_extra or any(place.exists() for place in places), f"{room}: {name}"


def test_what_is_said_of_color_real_is_its_record():
    (card,) = [one.card for one in pretrained_models() if one.name == "color-real"]
    measured = card.training["test_pairs"]["PolyU-test"]
    gain = measured["denoised"] - measured["noisy"]
    names = ("README.md", "docs/questions.md", "docs/run.md", "docs/numbers.md")
    pages = {one: (ROOT / one).read_text().replace("\n", " ") for one in names}
    assert f"{gain:.1f} dB gained on" in pages["README.md"]
    assert f"gains {gain:.1f} dB where" in pages["docs/questions.md"]
    assert f"it gains {gain:.2f} dB" in pages["docs/run.md"]
    assert f"On {measured['pairs']} pairs of six scenes" in pages["docs/run.md"]
    assert len(measured["scenes"]) == 6
    assert (
        f"{measured['denoised']:.2f} dB (noisy {measured['noisy']:.2f}" in pages["docs/numbers.md"]
    )


def test_every_training_set_and_model_is_named():
    """The terms of the images on the page of licences, what is shipped in the changelog."""
    licences = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for model in pretrained_models():
        assert f"`{model.name}`" in changes, model.name
        for name, terms in model.card.training["data_terms"].items():
            (row,) = (line for line in licences.splitlines() if line.startswith(f"| {name}:"))
            assert "research use" in terms, name
            assert "research use" in row, name
            assert f"`{model.name}`" in row or "every shipped model" in row, model.name
