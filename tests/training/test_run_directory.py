import errno
import json
import shutil
from contextlib import ExitStack

import pytest
import torch

from adnet.benchmarks.release.ship import training_record
from adnet.errors import UsageError
from adnet.models.card import ModelCard
from adnet.models.checkpoint import load_checkpoint
from adnet.models.network import ADNet
from adnet.training import run_directory
from adnet.training.config import TrainConfig
from adnet.training.report import write_report
from adnet.training.run_directory import RunDirectory
from adnet.training.run_log import RunLog, read_metrics

WEIGHTS = ADNet(1).state_dict()
CARD = ModelCard(1)


def save(directory, step, keep=3):
    directory.save_last(WEIGHTS, CARD, {"step": step}, keep)


def names(path):
    return sorted(entry.name for entry in path.iterdir())


def test_the_last_checkpoints_are_kept(tmp_path):
    directory = RunDirectory(tmp_path)
    for step in (5, 10, 15, 20):
        save(directory, step)
    assert names(tmp_path) == ["last.pth", "step-00000010.pth", "step-00000015.pth"]
    assert load_checkpoint(directory.last).training["step"] == 20
    assert load_checkpoint(tmp_path / "step-00000015.pth").training["step"] == 15
    save(directory, 20)  # once more at the end of a run
    assert names(tmp_path) == ["last.pth", "step-00000010.pth", "step-00000015.pth"]
    # Taken back to an earlier state, the later ones are abandoned.
    shutil.copy(tmp_path / "step-00000010.pth", directory.last)
    directory.last_step = 10
    save(directory, 12)
    assert names(tmp_path) == ["last.pth", "step-00000010.pth"]
    save(directory, 25, keep=1)
    assert names(tmp_path) == ["last.pth"]


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "report.html"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"my": 1}', "<p>mine</p>"])
def test_files_of_no_run_are_kept(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=f"holds {name}, which is of no training run"):
        RunDirectory(tmp_path).check(resume=False)
    assert (tmp_path / name).read_text() == content


def test_a_run_that_ended_before_its_first_state_begins_again(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.write_config(TrainConfig(data=("x",), steps=1))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n')
    directory.check(resume=False)
    save(directory, 1)
    with pytest.raises(UsageError, match="holds a training run"):
        directory.check(resume=False)


def test_the_file_holds_no_device_tensors(tmp_path, monkeypatch):
    # A file with NPU tensors cannot be read weights-only: every tensor goes through cpu().
    moved = []
    original = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda one: moved.append(one) or original(one))
    nested = [torch.zeros(1), {"c": torch.ones(1)}]
    state = {"step": 1, "learner": {"a": torch.ones(2), "b": nested}, "pair": (torch.ones(1), 2)}
    directory = RunDirectory(tmp_path)
    directory.save_last({}, CARD, state, 1)
    assert len(moved) == 4
    stored = torch.load(directory.last)["training"]
    assert torch.equal(stored["learner"]["b"][1]["c"], torch.ones(1))
    assert stored["pair"][1] == 2


def test_without_hard_links_they_are_copied(tmp_path, monkeypatch):
    def refuse(*_args):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(run_directory.os, "link", refuse)
    directory = RunDirectory(tmp_path)
    for step in (1, 2):
        save(directory, step)
    assert load_checkpoint(tmp_path / "step-00000001.pth").training["step"] == 1


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    directory = RunDirectory(tmp_path)
    save(directory, 1)
    original = torch.save

    def fill_up(content, path):
        original(content, path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", fill_up)
    with pytest.raises(OSError, match="No space left"):
        save(directory, 2)
    assert load_checkpoint(directory.last).training["step"] == 1
    assert not [name for name in names(tmp_path) if name.endswith(".tmp")]


def test_metrics_on_a_full_disk_cost_a_line_not_the_run(tmp_path, monkeypatch, caplog):
    with ExitStack() as stack:
        log = RunLog(tmp_path, 0, stack)
        log.write(1, loss=0.5)

        class Full:
            def write(self, _text):
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(log, "_file", Full())
        log.write(2, loss=0.4)
    assert "step 2: metrics are not written" in caplog.text
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": 0.5}


def test_a_run_is_neither_overwritten_nor_resumed_by_accident(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.check(resume=False)
    with pytest.raises(UsageError, match="nothing to resume"):
        directory.check(resume=True)
    save(directory, 1)
    directory.check(resume=True)
    with pytest.raises(UsageError, match="Add --resume"):
        directory.check(resume=False)


@pytest.mark.parametrize("name", ["last.pth", "best.pth", "step-00000005.pth"])
def test_no_checkpoint_of_an_earlier_run_is_replaced(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(UsageError, match="choose another -o|Choose another -o"):
        RunDirectory(tmp_path).check(resume=False)


def test_what_is_resumed_writes_no_line_twice(tmp_path):
    """A run that was killed after it was validated, but before its next state, validates again."""
    for step in (0, 10, 10, 20):
        with ExitStack() as stack:
            log = RunLog(tmp_path, step, stack)
            if step:
                log.write(step, val_psnr=28.0 + step)
            log.write(step + 5, loss=0.5)
            log.write(step + 10, loss=0.4)
            log.write(step + 10, val_psnr=38.0 + step)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["val_psnr"]) for row in rows if "val_psnr" in row] == [
        (10, 38.0), (20, 48.0), (30, 58.0),
    ]  # fmt: skip
    assert [row["step"] for row in rows if "loss" in row] == [5, 10, 15, 20, 25, 30]


JUNK = {
    "torn": b'{"step": 4, "los',
    "glued": b'{"step": 4, "lo{"step": 5, "loss": 0.1}',
    "end": b'ss": 0.25}',
    "not UTF-8": b'{"step": 4, "l\xff\xfe": 0.1}',
    "nothing written": b"\0" * 40,
    "empty": b"",
    "a list": b"[4]",
    "a number": b"4",
    "no step": b'{"loss": 0.1}',
    "a word for a step": b'{"step": "four"}',
    "a word for a loss": b'{"step": 4, "loss": "low"}',
    "nested": b'{"step": 4, "loss": {"a": 1}}',
    "deep": b"[" * 100_000,
}
"""Lines that a crash or a full disk may leave."""


@pytest.mark.parametrize("at", ["first", "between", "last", "last, without its end"])
@pytest.mark.parametrize("kind", JUNK)
def test_a_line_that_is_no_metric_costs_that_line(tmp_path, kind, at):
    """To whoever reads it: the run that goes on, its page, and the record of what is shipped."""
    good = [
        b'{"step": 2, "val_psnr": 30.5}',
        b'{"step": 3, "loss": 0.5}',
        b'{"step": 9, "loss": 1}',
    ]
    lines = list(good)
    lines.insert({"first": 0, "between": 1}.get(at, 3), JUNK[kind])
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join(lines) + (b"" if at.endswith("end") else b"\n"))
    assert read_metrics(path) == [json.loads(line) for line in good]
    (tmp_path / "config.json").write_text(json.dumps(TrainConfig(data=("x",), steps=9).to_dict()))
    assert "30.500 dB" in write_report(tmp_path).read_text("utf-8")
    assert training_record(CARD, tmp_path)["curve"] == [[2, 30.5]]
    with ExitStack() as stack:
        RunLog(tmp_path, 3, stack).write(4, loss=0.25)
    assert path.read_text() == (
        '{"step": 2, "val_psnr": 30.5}\n{"step": 3, "loss": 0.5}\n{"step": 4, "loss": 0.25}\n'
    )
