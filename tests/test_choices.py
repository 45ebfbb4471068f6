"""Options that are one of a few words: the help shows them, others are refused with status 2."""

from importlib import import_module
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from adnet.errors import UsageError
from adnet.export.ascend.atc_config import AtcConfig
from adnet.export.choices import Dynamic, Io, PrecisionMode, TritonMode
from adnet.models.card import Precision as ExportPrecision
from adnet.runtime.choices import ColorMode, FileFormat, Pad, Precision

CASES = {
    ("runtime", "", "--precision"): get_args(Precision),
    ("runtime", "", "--pad"): get_args(Pad),
    ("runtime", "", "--color-mode"): get_args(ColorMode),
    ("runtime", "", "--format"): get_args(FileFormat),
    ("export", "triton", "--mode"): get_args(TritonMode),
    ("benchmarks", "", "--precision"): get_args(Precision),
    ("export", "onnx", "--precision"): get_args(ExportPrecision),
    ("export", "onnx", "--io"): get_args(Io),
    ("export", "onnx", "--dynamic"): get_args(Dynamic),
    ("export", "om", "--precision"): ("fp32", "int8"),
    ("export", "om", "--io"): get_args(Io),
    ("export", "om", "--precision-mode"): get_args(PrecisionMode),
    ("data", "prepare", "--mode"): ("S", "B"),
    ("data", "prepare", "--channels"): (1, 3),
}
"""(program, command, option) -> words; adnet-train's are in training/test_options.py."""


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_the_words_are_shown_and_others_are_refused(case):
    program, command, option = case
    app = import_module(f"adnet.{program}.cli").app
    words = [command] if command else []
    text = " ".join(CliRunner().invoke(app, [*words, "--help"]).stdout.split())
    shown = text[text.index(f" {option} ") :]
    given = {
        "onnx": ["m", "-o", "o"],
        "om": ["m", "-o", "o"],
        "prepare": ["i", "-o", "o"],
        "triton": ["m", "-o", "o"],
    }
    refused = CliRunner().invoke(app, [*words, *given.get(command, []), option, "x"])
    assert refused.exit_code == 2
    said = " ".join(refused.output.split())
    assert f"Invalid value for '{option}'" in said
    for word in CASES[case]:
        assert str(word) in shown[:400]
        assert f"'{word}'" in said


def test_every_option_of_words_has_a_case():
    """So that none is forgotten where another program gets an option of the same name."""
    for program in ("runtime", "benchmarks", "export", "data"):
        root = typer.main.get_command(import_module(f"adnet.{program}.cli").app)
        for command in getattr(root, "commands", {"": root}).values():
            for param in command.params:
                option = next((one for one in param.opts if one.startswith("--")), "")
                name = "" if command is root else command.name
                if option in (
                    "--precision",
                    "--io",
                    "--mode",
                    "--dynamic",
                    "--pad",
                    "--channels",
                    "--format",
                    "--color-mode",
                ):
                    assert (program, name, option) in CASES


@pytest.mark.torch
def test_the_words_are_those_that_the_library_takes():
    from adnet.data.patch_store import MODES
    from adnet.export.to_onnx import Variant
    from adnet.export.torch_to_onnx import OnnxShape
    from adnet.runtime.backends.pytorch import PRECISIONS

    # int8 is for files that are int8 themselves; PyTorch runs none.
    assert set(get_args(Precision)) == {*PRECISIONS, "int8"}
    assert tuple(MODES) == CASES["data", "prepare", "--mode"]
    for word in get_args(ExportPrecision):
        assert Variant(word).precision == word
    for word in get_args(Io):
        assert Variant("fp16", word).io == word
    for word in get_args(Dynamic):
        fixed = OnnxShape.choose(None, (64, 64) if word in ("none", "batch") else None, word)
        assert fixed.dynamic == word
    for word in get_args(PrecisionMode):
        AtcConfig("Ascend910B4", precision_mode=word)
    with pytest.raises(UsageError, match="is not known to ATC"):
        AtcConfig("Ascend910B4", precision_mode="x")
