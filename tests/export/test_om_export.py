"""Conversion to OM against a stand-in for ATC (tests/fakes/atc); no Ascend software here."""

import dataclasses
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import onnx
import pytest
from atc_logs import LOGS
from conftest import assert_clean_error
from om_helpers import BSD68, FAKES, install_atc

from adnet.errors import BackendUnavailable, ExportError, ModelError, UsageError
from adnet.export.ascend.atc_config import AtcConfig
from adnet.export.ascend.atc_errors import explain
from adnet.export.ascend.atc_run import find_atc, run_atc
from adnet.export.ascend.kit import emit
from adnet.export.cli import main
from adnet.export.to_om import convert_to_om, prepare_onnx
from adnet.models.om_file import read_om
from adnet.models.shipped import resolve_model


@pytest.fixture
def model(tmp_path):
    return prepare_onnx("gray-blind", tmp_path)


@pytest.fixture
def atc(tmp_path, monkeypatch):
    """The stand-in on PATH, run by the interpreter that has onnx."""
    program = install_atc(tmp_path / "cann")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def config(**options):
    return AtcConfig(**({"soc": "Ascend310P3", "input_name": "image"} | options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batches": (1, 4, 8)},
        {"sizes": BSD68},
        {"sizes": BSD68, "batches": (1, 8)},
        {"io": "uint8"},
        {"io": "uint8", "sizes": BSD68},
        {"io": "fp16", "precision_mode": "origin", "op_cache": True},
        {"precision_mode": "must_keep_origin_dtype", "extra": ("--deterministic=1",)},
    ],
)
def test_every_kind_of_model_passes_the_strict_stand_in(atc, model, tmp_path, options):
    onnx, card, _ = model
    odd = tmp_path / "a folder (with, odd) näme"
    odd.mkdir()
    chosen = config(**options)
    lines = []
    om = convert_to_om(
        onnx, card, odd / "m.om", chosen, on_line=lambda seconds, line: lines.append(line)
    )
    assert read_om(om).attributes["soc_version"] == "Ascend310P3"
    assert lines[-1].startswith("ATC run success")
    facts = json.loads((odd / "m.om.json").read_text())
    assert facts["gears"] == chosen.gears
    assert facts["card"]["weights_sha256"] == card.weights_sha256
    assert facts["atc_version"] == "stand-in"
    assert sorted(path.name for path in odd.iterdir()) == ["m.om", "m.om.json"]


def test_a_host_bound_name_is_found(atc, model, tmp_path, monkeypatch):
    monkeypatch.setenv("ATC_FAKE_SUFFIX", "_linux_aarch64")
    assert convert_to_om(model[0], model[1], tmp_path / "m.om", config()).exists()


@pytest.mark.parametrize("layout", ["5", "6", "8"])
def test_a_failure_is_explained_and_its_log_kept(atc, model, tmp_path, monkeypatch, layout):
    monkeypatch.setenv("ATC_FAKE_LAYOUT", layout)
    monkeypatch.setenv("ATC_FAKE_FAIL", "EZ9999")
    output = tmp_path / "m.om"
    output.write_bytes(b"the one from before")
    with pytest.raises(ExportError, match=r"exit status 255, EZ9999\): Compilation failed\."):
        run_atc(atc, config(), model[0], output)
    assert output.read_bytes() == b"the one from before"
    assert "ATC start working now" in (tmp_path / "m.om.log").read_text()


def test_success_without_a_file_is_no_success(atc, model, tmp_path, monkeypatch):
    monkeypatch.setenv("ATC_FAKE_NO_FILE", "1")
    with pytest.raises(ExportError, match="reported success but wrote no file"):
        run_atc(atc, config(), model[0], tmp_path / "m.om")


@pytest.mark.parametrize("name", LOGS)
def test_every_failure_seen_in_the_field_has_its_remedy(name):
    log, status, code, said, remedy, never = LOGS[name]
    found, text, advice = explain(log, status)
    assert found == code
    assert said in text
    assert remedy in advice
    if never:
        assert never not in advice


def test_a_failure_in_the_field_is_told_by_the_program(cli, atc, tmp_path):
    log, status, *_ = LOGS["missing module, with a code"]
    (tmp_path / f"log.{status}").write_text(log)
    result = cli("adnet-export", "om", "gray-blind", "-o", tmp_path / "m.om", "--soc",
                 "Ascend310P3",
                 env=os.environ | {"ATC_FAKE_LOG": str(tmp_path / f"log.{status}")})  # fmt: skip
    assert_clean_error(result, 1, "E40020", "pip install decorator", "m.om.log")


@pytest.mark.parametrize(
    ("log", "code", "part"),
    [
        ("x\nE16005: The model has [2] [--domain_version] fields.", "E16005", "adnet-export onnx"),
        ("EE1001: [PID: 106] 2025-10-30-08:21:08.817.477 The argument is invalid.", "EE1001",
         "compare --soc"),
        ("[PID: 2] 2026-04-09-21:56:40.384.694 Memory_Allocation_Failure(EL0004): no memory",
         "EL0004", "TE_PARALLEL_COMPILER"),
        ("ERROR: unknown command line flag 'x'\nATC run failed", "", "leave the option out"),
        ("ModuleNotFoundError: No module named 'decorator'", "", "pip install decorator"),
        ("E13999: something new", "E13999", "details"),
        ("Segmentation fault", "", "set_env.sh"),
    ],
)  # fmt: skip
def test_all_layouts_of_errors_are_read(log, code, part):
    found, text, remedy = explain(log)
    assert found == code
    assert part in remedy
    assert not text.startswith("[PID")


def test_atc_is_looked_for_where_cann_puts_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BackendUnavailable, match="--emit DIR"):
        find_atc()
    (tmp_path / "home" / "bin").mkdir(parents=True)
    shutil.copy(FAKES / "atc", tmp_path / "home" / "bin" / "atc")
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path / "home"))
    assert find_atc() == tmp_path / "home" / "bin" / "atc"


@pytest.mark.parametrize("options", [{}, {"io": "uint8", "sizes": BSD68}])
def test_the_emitted_folder_makes_the_same_model(atc, model, tmp_path, options):
    onnx, card, _ = model
    folder = emit(onnx, card, tmp_path / "an odd (folder)", "m", config(**options))
    here = convert_to_om(onnx, card, tmp_path / "here.om", config(**options))
    result = subprocess.run(
        ["bash", str(folder / "convert.sh")], capture_output=True, text=True, check=False,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert (folder / "m.om").read_bytes() == here.read_bytes()
    ours, theirs = (
        json.loads(path.read_text()) for path in (tmp_path / "here.om.json", folder / "m.om.json")
    )
    assert theirs.items() <= ours.items()
    # A changed file is noticed before anything is converted.
    (folder / "model.onnx").write_bytes(b"changed")
    again = subprocess.run(
        ["bash", str(folder / "convert.sh")], capture_output=True, text=True, check=False
    )
    assert again.returncode != 0
    with pytest.raises(UsageError, match="not empty"):
        emit(onnx, card, folder, "m", config())


@pytest.mark.parametrize(
    "name",
    ["a b", "p$(touch INJECTED)", "`touch INJECTED`", "$HOME", "it's", 'a"b', "a\\\\b\\", "a\nb",
     "two\n\nlines;touch INJECTED", "-x", "--help", "näme 名", "*", "~", "#", "a\x1b[2Jb",
     os.fsdecode(b"\xff")],
)  # fmt: skip
@pytest.mark.parametrize("int8", [False, True])
def test_a_name_is_only_a_name_to_the_script_and_the_page(model, tmp_path, name, int8):
    onnx, card, _ = model
    card = dataclasses.replace(card, name=f"{name}\n\n    touch INJECTED")
    folder = emit(onnx, card, tmp_path / "kit", name, config(), int8=int8)
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("atc", "python3"):
        (programs / program).write_text(
            "#!/bin/sh\necho ATC run success\necho made > converted.om\ncp model.onnx deploy.onnx\n"
        )
        (programs / program).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", folder / "convert.sh"], cwd=tmp_path, capture_output=True, check=False,
        env=os.environ | {"PATH": path, "ASCEND_OPP_PATH": "/"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (folder / f"{name}.om").read_text() == "made\n"
    assert (folder / f"{name}.om.log").exists()
    assert not list(tmp_path.rglob("INJECTED"))
    page = (folder / "README.md").read_bytes()
    assert b"\n    touch INJECTED" not in page
    command = next(line for line in page.splitlines() if b"--model" in line)
    words = subprocess.run(
        ["bash", "-c", b"printf '%s\\0' " + command], capture_output=True, check=True, cwd=tmp_path
    )
    assert words.stdout.split(b"\0")[5] == os.fsencode(f"{name}.om")


def test_files_of_this_machine_go_along_or_are_refused(cli_here, atc, model, tmp_path, monkeypatch):
    onnx, card, _ = model
    (tmp_path / "half (1).txt").write_text("conv1_1\n")
    files = config(extra=(f"--keep_dtype={tmp_path}/half (1).txt",), io="uint8")
    folder = emit(onnx, card, tmp_path / "kit", "m", files)
    (tmp_path / "half (1).txt").rename(tmp_path / "gone")
    result = subprocess.run(["bash", str(folder / "convert.sh")], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "keep_dtype.txt" in (folder / "SHA256SUMS").read_text()
    (folder / "keep_dtype.txt").write_text("changed")
    result = subprocess.run(["bash", str(folder / "convert.sh")], capture_output=True, check=False)
    assert result.returncode != 0
    for path in ("--debug_dir=/tmp", "--op_compiler_cache_dir=/tmp/x", "--check_report=/tmp/x"):
        with pytest.raises(UsageError, match="path of this machine"):
            emit(onnx, card, tmp_path / "another", "m", config(extra=(path,)))
    assert not (tmp_path / "another").exists()
    monkeypatch.setenv("PATH", "/usr/bin")
    result = cli_here(main, "adnet-export", "om", "gray-blind", "-o", tmp_path / "m.om", "--soc",
                      "Ascend310P3", "--atc-arg", "--debug_dir=/tmp")  # fmt: skip
    assert_clean_error(result, 2, "ATC is not installed here", "path of this machine")


def test_program_converts(cli, atc, checkpoint, tmp_path):
    result = cli(
        "adnet-export", "om", checkpoint, "-o", tmp_path / "m.om", "--soc", "Ascend310P3",
        "--batch", "1,4", "--size", "321,481", "--size", "481,321",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    facts = json.loads((tmp_path / "m.om.json").read_text())
    assert (facts["gears"], facts["batches"]) == ("dims", [1, 4])


def test_program_without_atc_writes_the_folder_and_says_so(cli, tmp_path):
    result = cli("adnet-export", "om", "gray-blind", "-o", tmp_path / "m.om", "--soc",
                 "Ascend310P3")  # fmt: skip
    assert_clean_error(result, 2, "ATC is not installed here", "m-atc", "bash convert.sh")
    assert (tmp_path / "m-atc" / "convert.sh").exists()
    assert not (tmp_path / "m.om").exists()

    (tmp_path / "m-atc" / "mine").write_text("")
    again = cli("adnet-export", "om", "gray-blind", "-o", tmp_path / "m.om", "--soc",
                "Ascend310P3")  # fmt: skip
    assert_clean_error(again, 2, "ATC is not installed here", "m-atc is there already")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True), ({"model": "color-blind"}, False), ({"--soc": "Ascend910B4"}, False),
        ({"--size": "64,72"}, False), ({"--batch": "2"}, False), ({"--io": "fp16"}, False),
        ({"--precision-mode": "origin"}, False),
    ],
    ids=str,
)  # fmt: skip
def test_a_folder_of_another_conversion_is_no_answer(cli_here, tmp_path, change, same):
    def export(options):
        options = {"model": "gray-blind", "--soc": "Ascend310P3", "--size": "64,64"} | options
        model = options.pop("model")
        words = [word for pair in options.items() for word in pair]
        return cli_here(main, "adnet-export", "om", model, "-o", tmp_path / "m.om", *words)

    assert_clean_error(export({}), 2, "m-atc instead: run 'bash convert.sh'")
    before = (tmp_path / "m-atc" / "SHA256SUMS").read_bytes()
    again = export(change)
    told = "run 'bash convert.sh' in it" if same else "was not made with this model"
    assert_clean_error(again, 2, "m-atc is there already", told)
    assert ("convert.sh" in again.stderr) == same
    assert (tmp_path / "m-atc" / "SHA256SUMS").read_bytes() == before


def test_an_interrupt_takes_the_program_behind_the_script_along(model, tmp_path):
    """`atc` is a shell script; what it started must not go on alone."""
    (tmp_path / "cann").mkdir()
    program = tmp_path / "cann" / "atc"
    program.write_text(f"#!/bin/bash\nsleep 600 &\necho $! > {tmp_path}/pid\necho started\nwait\n")
    program.chmod(0o755)

    def interrupt(_seconds, _line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_atc(program, config(), model[0], tmp_path / "m.om", on_line=interrupt)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and is_running(pid):
        time.sleep(0.01)
    assert not is_running(pid)


def test_variants_are_not_converted(tmp_path):
    from adnet.export.variants import with_8_bit_io

    with_8_bit_io(resolve_model("gray-blind"), tmp_path / "u8.onnx")
    with pytest.raises(ModelError, match="no variants.*Give the checkpoint; --io uint8"):
        prepare_onnx(str(tmp_path / "u8.onnx"), tmp_path)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("keep_float_io", [False, True])
def test_half_precision_is_for_atc_to_make(tmp_path, keep_float_io, int8):
    """A folder would say that the model takes float32, and ATC get another."""
    from adnet.export.variants import to_half

    half = tmp_path / "half.onnx"
    to_half(resolve_model("gray-blind"), half, keep_float_io=keep_float_io)
    with pytest.raises(ModelError, match="only float32 models"):
        prepare_onnx(str(half), tmp_path, int8=int8)


@pytest.mark.parametrize("opset", [8, 9, 10, 11, 13, 14, 18, 19, 20, 22])
@pytest.mark.parametrize("emitted", [False, True])
def test_an_opset_is_judged_before_anything_is_written(cli_here, atc, tmp_path, opset, emitted):
    loaded = onnx.load(str(resolve_model("gray-blind")))
    loaded.opset_import[0].version = opset
    onnx.save(loaded, str(tmp_path / "given.onnx"))
    words = ["--emit", tmp_path / "kit"] if emitted else []
    result = cli_here(main, "adnet-export", "om", tmp_path / "given.onnx", "-o", tmp_path / "m.om",
                      "--soc", "Ascend310P3", *words)  # fmt: skip
    made = (tmp_path / "kit").exists() or (tmp_path / "m.om").exists()
    if 9 <= opset <= 18:
        assert result.returncode == 0, result.stderr
        assert made
        assert ("note: opset" in result.stderr) == (opset not in range(11, 14))
    else:
        assert_clean_error(result, 2, f"opset {opset}; ATC takes 9 to 18", "--opset 11")
        assert not made


@pytest.mark.torch
@pytest.mark.parametrize("options", [
    [], ["--emit", "kit"], ["--emit", "kit", "--precision", "int8"], ["--io", "uint8"],
])  # fmt: skip
def test_a_checkpoint_fine_tuned_for_int8_is_refused_in_words(cli_here, atc, tmp_path, options):
    import torch

    from adnet.models.checkpoint import load_checkpoint, save_checkpoint
    from adnet.models.quantized import QuantizedADNet

    card = dataclasses.replace(
        load_checkpoint(resolve_model("gray-25")).card, training={"config": {"init": "gray-25"}}
    )
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "best.pth", QuantizedADNet(1, 7).state_dict(), card)
    result = cli_here(main, "adnet-export", "om", "best.pth", "-o", "m.om", "--soc", "Ascend310P3",
                      *options, cwd=tmp_path)  # fmt: skip
    assert_clean_error(result, 2, "best.pth: was fine-tuned for int8",
                       "adnet-export om gray-25 -o FILE.om")  # fmt: skip
    assert "opset" not in result.stderr
    assert set(os.listdir(tmp_path)) == {"best.pth", "cann"}


def is_running(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
