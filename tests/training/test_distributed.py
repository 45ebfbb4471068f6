"""Several workers: real processes that talk through gloo."""

import dataclasses
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from conftest import assert_clean_error

from adnet.errors import TrainingError, UsageError
from adnet.models.checkpoint import load_checkpoint
from adnet.training import world
from adnet.training.cli import main, training_display
from adnet.training.config import TrainConfig
from adnet.training.data import load_training_data, make_batch
from adnet.training.launch import launch
from adnet.training.learner import Learner
from adnet.training.start import run_training
from adnet.training.validation import validate
from adnet.training.workers import Workers
from adnet.training.world import World, join_world


@pytest.fixture
def folder(tmp_path, make_image):
    for index in range(5):
        make_image(tmp_path / "data" / f"{index}.png", size=(64 + index, 48), seed=index)
    return tmp_path / "data"


@pytest.fixture
def config(folder):
    return TrainConfig(
        data=(str(folder),), val_images=3, patch=12, batch=8, steps=20, warmup_steps=2,
        scales=(1.0,),
    )  # fmt: skip


def learn(config, dtype, steps):
    """Train as one worker; return losses, weights and the sharded validation."""
    torch.set_default_dtype(dtype)
    try:
        with join_world("cpu") as world:
            data = load_training_data(config, world.device)
            learner = Learner(config, world, None)
            losses = []
            for step in range(steps):
                noisy, clean = make_batch(config, data, world, step)
                loss = learner.learn(noisy, clean, config.lr)
                losses.append(world.sum(loss).item() / world.size)
            torch.set_default_dtype(torch.float32)
            learner.averaged.float()
            psnr = validate(learner.averaged, data.val_images, 25.0, world)
            return losses, learner.network.state_dict(), psnr
    finally:
        torch.set_default_dtype(torch.float32)


def fail_in_one(message):
    with join_world("cpu") as world:
        with world.together():
            if world.rank == 1:
                raise TrainingError(message)
        time.sleep(60)  # never reached


def largest_difference(first, second):
    return max((first[name].double() - second[name].double()).abs().max() for name in first)


@pytest.mark.slow
def test_four_workers_are_one(config):
    # float64, because float32 rounding flips a ReLU now and then and the paths part.
    losses, weights, psnr = learn(config, torch.float64, 6)
    losses4, weights4, psnr4 = launch(
        learn, (config, torch.float64, 6), device="cpu", workers=Workers(4)
    )
    assert losses4 == pytest.approx(losses, rel=1e-9)
    assert largest_difference(weights, weights4) < 1e-8
    assert psnr4 == pytest.approx(psnr, abs=1e-5)


@pytest.mark.slow
def test_two_workers_with_64_are_one_with_128(config):
    config = dataclasses.replace(config, batch=128, patch=8)
    for dtype, tolerance in ((torch.float64, 1e-7), (torch.float32, 0.02)):
        losses, weights, _ = learn(config, dtype, 20)
        losses2, weights2, _ = launch(learn, (config, dtype, 20), device="cpu", workers=Workers(2))
        assert losses2 == pytest.approx(losses, rel=tolerance)
        if dtype is torch.float64:
            assert largest_difference(weights, weights2) < 1e-6


def test_rows_cover_the_batch_once():
    worlds = [World(torch.device("cpu"), rank, 4) for rank in range(4)]
    rows = [index for world in worlds for index in range(12)[world.rows(12)]]
    assert rows == list(range(12))
    with pytest.raises(UsageError, match="batch of 10 cannot be shared out evenly to 4"):
        worlds[0].rows(10)


@pytest.mark.slow
def test_what_fails_in_one_worker_ends_all_with_its_message():
    began = time.monotonic()
    with pytest.raises(TrainingError, match="the disk of worker 1 is gone"):
        launch(fail_in_one, ("the disk of worker 1 is gone",), device="cpu", workers=Workers(2))
    assert time.monotonic() - began < 50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--npus", "8"], "device 'npu'"),
        (["--gpus", "2", "--npus", "2"], "give one of them"),
        (["--procs", "0"], "at least 1 worker"),
        (["--procs", "2", "--nodes", "2"], "--rendezvous HOST:PORT"),
        (["--procs", "3", "--batch", "8"], "multiple of 3"),
        (["--device", "npu", "--nodes", "2"], "the workers of each machine"),
    ],
)
def test_impossible_teams_are_refused(cli_here, tmp_path, folder, arguments, part):
    result = cli_here(
        main,
        "adnet-train",
        folder,
        "-o",
        tmp_path / "run",
        "--steps",
        1,
        "--val-images",
        1,
        *arguments,
    )
    assert_clean_error(result, 2, part)
    assert not (tmp_path / "run").exists()


def options(folder, run, *more):
    return [
        str(Path(sys.executable).parent / "adnet-train"), str(folder), "-o", str(run), "--patch",
        "12", "--batch", "4", "--val-images", "1", "--scales", "1", "--val-every", "20",
        "--save-every", "5", "--seed", "3", *more,
    ]  # fmt: skip


@pytest.mark.slow
def test_workers_started_by_torchrun_join(tmp_path, folder):
    torchrun = str(Path(sys.executable).parent / "torchrun")
    command = [torchrun, "--standalone", "--nproc-per-node=2", "--no-python"]
    run = subprocess.run(
        [*command, *options(folder, tmp_path / "run", "--steps", "4")],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    # Only the first worker speaks.
    assert run.stdout.count("best checkpoint") == 1
    assert run.stderr.count("training ADNet") == run.stderr.count("done: step 4") == 1
    card = load_checkpoint(tmp_path / "run" / "best.pth").card
    assert card.training["device"].startswith("2 x CPU")
    assert len(list((tmp_path / "run").glob("events*"))) == 1


@pytest.mark.slow
def test_of_several_workers_the_first_alone_speaks(config, tmp_path, capfd):
    config = dataclasses.replace(config, steps=3, batch=4)
    display = functools.partial(training_display, False, 0.0)
    run_training(config, tmp_path / "run", workers=Workers(2), display=display)
    told = [line.partition(",")[0] for line in capfd.readouterr().err.splitlines()]
    assert [line for line in told if " %: " in line] == [
        "0.0 %: step 1", "33.3 %: step 2", "66.7 %: step 3",
    ]  # fmt: skip
    assert sum(line.startswith("training ADNet") for line in told) == 1
    assert sum(line.startswith("done: step 3") for line in told) == 1


def children(pid):
    """Direct child processes that compute (multiprocessing's helpers left out)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            if parent == pid and "spawn_main" in command:
                found.append(int(entry.name))
    return found


def wait_until(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find the workers")
def test_killed_workers_and_killed_runs_end_with_the_same_weights(tmp_path, folder):
    team = ("--steps", "60", "--procs", "2", "-q")
    subprocess.run(options(folder, tmp_path / "straight", *team), check=True, timeout=240)
    expected = load_checkpoint(tmp_path / "straight" / "last.pth").network.state_dict()

    # A worker is killed: the launcher starts the team again, from last.pth.
    run = tmp_path / "worker"
    process = subprocess.Popen(options(folder, run, *team))
    wait_until((run / "last.pth").exists, "the first checkpoint")
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    assert process.wait(240) == 0
    got = load_checkpoint(run / "last.pth").network.state_dict()
    assert largest_difference(expected, got) == 0

    # The launcher is killed: its workers end too, and --resume goes on.
    run = tmp_path / "all"
    process = subprocess.Popen(options(folder, run, *team))
    wait_until((run / "last.pth").exists, "the first checkpoint")
    workers = children(process.pid)
    process.kill()
    process.wait(60)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers")
    assert load_checkpoint(run / "last.pth").training["step"] < 60
    subprocess.run(options(folder, run, *team, "--resume"), check=True, timeout=240)
    got = load_checkpoint(run / "last.pth").network.state_dict()
    assert largest_difference(expected, got) == 0


@pytest.mark.slow
def test_ctrl_c_saves_and_resume_goes_on(tmp_path, folder):
    run = tmp_path / "run"
    team = ("--steps", "400", "--procs", "2", "-q")
    process = subprocess.Popen(
        options(folder, run, *team), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until((run / "last.pth").exists, "the first checkpoint")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    step = load_checkpoint(run / "last.pth").training["step"]
    assert 5 <= step < 400
    shorter = [*options(folder, run, *team, "--resume")]
    process = subprocess.Popen(shorter, start_new_session=True, stderr=subprocess.DEVNULL)
    wait_until(lambda: load_checkpoint(run / "last.pth").training["step"] > step, "progress")
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(120)


@pytest.mark.slow
def test_a_busy_port_is_named(tmp_path, folder, cli):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = cli(
            "adnet-train", folder, "-o", tmp_path / "run", "--steps", 1, "--val-images", 1,
            "--batch", 2, "--procs", 1, "--nodes", 2, "--rendezvous", f"127.0.0.1:{port}",
        )  # fmt: skip
    assert_clean_error(result, 1, f"127.0.0.1:{port}", "port")


@pytest.mark.parametrize(
    ("given", "timeout_s", "expected"),
    [(None, None, "600"), ("300", None, "300"), (None, 60, "120"), (None, 86_400, "7200")],
)
def test_hccl_waits_as_long_as_the_process_group(monkeypatch, given, timeout_s, expected):
    """Its own time for the others to come is two minutes, whatever the process group has."""
    monkeypatch.setattr(os, "environ", {"RANK": "0", "WORLD_SIZE": "1"})
    if given is not None:
        os.environ["HCCL_CONNECT_TIMEOUT"] = given
    if timeout_s is not None:
        monkeypatch.setattr(world, "_TIMEOUT", timedelta(seconds=timeout_s))
    found = []
    monkeypatch.setattr(world, "count_devices", lambda _: 1)
    monkeypatch.setattr(world, "resolve_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(torch.accelerator, "set_device_index", lambda _: None)
    monkeypatch.setattr(
        world.dist,
        "init_process_group",
        lambda *_, **__: found.append(os.environ.get("HCCL_CONNECT_TIMEOUT")),
    )
    monkeypatch.setattr(world.dist, "destroy_process_group", lambda: None)
    for kind in ("npu", "cuda"):
        with join_world(kind):
            pass
        os.environ.pop("HCCL_CONNECT_TIMEOUT", None)
    assert found == [expected, None]
