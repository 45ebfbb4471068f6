"""What a cluster job is made of, without Ray: options, waves, parked workers, lost devices."""

import json
import os
import socket

import pytest

from adnet.errors import BackendUnavailable, DeviceLostError, UsageError
from adnet.runtime.cluster import connect
from adnet.runtime.cluster import execute as execute_module
from adnet.runtime.cluster import worker as worker_module
from adnet.runtime.cluster.execute import execute
from adnet.runtime.cluster.options import ClusterOptions, parse_workers
from adnet.runtime.cluster.worker import Answer, Worker

pytestmark = pytest.mark.scale


@pytest.mark.parametrize(
    ("text", "workers"), [("4", (4, 4)), ("4:64", (4, 64)), ("4:", (4, None)), (" 1:1 ", (1, 1))]
)
def test_workers(text, workers):
    assert parse_workers(text) == workers


@pytest.mark.parametrize("text", ["", "x", "-1", "4:x", ":4", "4:2:1", "1.5"])
def test_odd_workers_are_refused(text):
    with pytest.raises(UsageError, match="4:64"):
        parse_workers(text)


@pytest.mark.parametrize(
    "wrong",
    [{"workers": (0, 1)}, {"workers": (4, 2)}, {"worker_cpus": 0}, {"worker_npus": -1},
     {"images_per_task": 0}],
)  # fmt: skip
def test_options_out_of_range(wrong):
    with pytest.raises(UsageError):
        ClusterOptions(**wrong)


def test_how_many_workers_fit():
    nodes = [{"CPU": 8, "NPU": 2}, {"CPU": 3, "NPU": 8}, {"memory": 1}]
    assert ClusterOptions().most_workers(nodes) == 11
    assert ClusterOptions(worker_cpus=2, worker_npus=1).most_workers(nodes) == 3
    assert ClusterOptions(workers=(1, 5)).most_workers(nodes) == 5
    assert ClusterOptions(workers=(20, 20)).most_workers(nodes) == 20


@pytest.mark.parametrize(
    ("jobs", "workers", "size"), [(1, 4, 1), (60, 2, 7), (600, 2, 64), (10**6, 64, 64), (3, 64, 1)]
)
def test_each_worker_gets_several_blocks(jobs, workers, size):
    assert ClusterOptions().per_task(jobs, workers) == size


class Table:
    """As much of pyarrow's table as a worker needs."""

    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, name):
        return self

    def to_pylist(self):
        return [json.dumps(row) for row in self.rows]

    def slice(self, *_):
        return self

    def drop_columns(self, _):
        return self

    def append_column(self, _, values):
        return json.loads(values[0][0])


class Task:
    def __init__(self, fails=None, lost_after=None):
        self.fails, self.lost_after, self.opened = fails, lost_after, 0

    def open(self, sharers):
        assert sharers == 3
        self.opened += 1
        if self.fails:
            raise self.fails
        return self

    def run_rows(self, rows):
        done = rows if self.lost_after is None else rows[: self.lost_after]
        lost = None if self.lost_after is None else DeviceLostError("gone", 5)
        return Answer({"rows": done} if done else {}, rows[len(done) :], lost, [{"model": "m"}])


@pytest.fixture
def no_ray(monkeypatch):
    waits = []
    monkeypatch.setattr(worker_module, "_sharers", lambda _: 3)
    monkeypatch.setattr(worker_module.time, "sleep", waits.append)
    monkeypatch.setattr(worker_module.logging, "disable", lambda _: None)
    return waits


def test_a_worker_opens_once_and_answers_every_block(no_ray):
    task = Task()
    worker = Worker(task, {"CPU": 1})
    for rows in ([{"n": 1}, {"n": 2}], [{"n": 3}]):
        told = worker(Table(rows))
        assert told["done"] == {"rows": rows}
        assert told["left"] == []
        assert told["lost"] is None
    assert task.opened == 1
    assert no_ray == []


def test_a_worker_that_cannot_open_hands_everything_back_slowly(no_ray):
    worker = Worker(Task(fails=BackendUnavailable("no NPU here")), {"CPU": 1})
    for _ in range(8):
        told = worker(Table([{"n": 1}]))
        assert told["done"] == {}
        assert told["left"] == [{"n": 1}]
        assert told["lost"] == ["BackendUnavailable", "no NPU here"]
    assert no_ray == [3, 6, 12, 24, 48, 60, 60, 60]


def test_a_lost_device_keeps_what_was_done(no_ray):
    worker = Worker(Task(lost_after=1), {"CPU": 1})
    told = worker(Table([{"n": 1}, {"n": 2}]))
    assert told["done"] == {"rows": [{"n": 1}]}
    assert told["left"] == [{"n": 2}]
    told = worker(Table([{"n": 3}]))
    assert told["left"] == [{"n": 3}]
    assert no_ray == [3]


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one CPU, and workers that are played by a function."""
    from contextlib import contextmanager

    @contextmanager
    def connected(options):
        yield [{"CPU": 1}, {"CPU": 1}]

    waves = []

    def install(play):
        def answers(wave, task, options, workers, count):
            waves.append([row["n"] for row in wave])
            yield from play(wave)

        monkeypatch.setattr(execute_module, "connected", connected)
        monkeypatch.setattr(execute_module, "_answers", answers)
        return waves

    return install


def said(done=(), left=(), lost=None, worker="a:1"):
    return {"done": {"rows": list(done)} if done else {}, "left": list(left), "models": [],
            "lost": ["DeviceLostError", lost] if lost else None, "worker": worker}  # fmt: skip


def rows_of(count):
    return [{"n": number} for number in range(count)]


def test_rows_are_planned_in_waves(cluster):
    taken = []

    def endless():
        for row in rows_of(25):
            taken.append(row["n"])
            yield row

    seen = []

    def play(wave):
        assert len(taken) - len(seen) <= 10
        yield said(wave)

    waves = cluster(play)
    execute(endless(), None, ClusterOptions(wave=10), lambda done, _: seen.extend(done["rows"]))
    assert [len(wave) for wave in waves] == [10, 10, 5]
    assert seen == rows_of(25)


def test_rows_of_a_lost_device_are_planned_again(cluster, caplog):
    seen = []
    waves = cluster(
        lambda wave: [said(wave[:6]), said(left=wave[6:], lost="gone", worker="b:2")]
        if len(wave) > 3 else [said(wave)]
    )  # fmt: skip
    execute(iter(rows_of(10)), None, ClusterOptions(), lambda done, _: seen.extend(done["rows"]))
    assert [len(wave) for wave in waves] == [10, 4]
    assert sorted(row["n"] for row in seen) == list(range(10))
    assert "a worker on b stopped: gone" in caplog.text


def test_the_run_ends_when_no_worker_is_left(cluster):
    def play(wave):
        yield said(left=wave[:5], lost="gone", worker="a:1")
        yield said(left=wave[5:], lost="gone, too", worker="b:2")
        raise AssertionError("it went on")

    cluster(play)
    with pytest.raises(DeviceLostError, match="no worker is left that could go on: gone, too"):
        execute(iter(rows_of(10)), None, ClusterOptions(), lambda *_: None)


@pytest.fixture
def dead():
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_an_address_where_nobody_answers_is_told_at_once(dead):
    with pytest.raises(UsageError, match=f"--cluster {dead}: nobody answers there"):
        connect._require_reachable(dead)
    for other in ("local", "ray://host:10001"):
        connect._require_reachable(other)


@pytest.mark.parametrize("by", ["RAY_ADDRESS", "the last start"])
def test_auto_with_a_dead_head_is_told_at_once(dead, by, monkeypatch, tmp_path):
    """Ray leaves the address of a head that was killed in a file, and tries it for ten minutes."""
    pytest.importorskip("ray")
    from ray._private import services

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "find_gcs_addresses", frozenset)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: None)
    connect._require_reachable("auto")  # nothing is known of: Ray tells that itself
    if by == "RAY_ADDRESS":
        monkeypatch.setenv("RAY_ADDRESS", dead)
    else:
        monkeypatch.setattr(services, "find_bootstrap_address", lambda _: dead)
    port = dead.partition(":")[2]  # for 127.0.0.1, Ray takes the address that others know
    told = f"--cluster auto.*:{port} .*'ray stop'.*'ray start --head'"
    with pytest.raises(UsageError, match=told):
        connect._require_reachable("auto")
    with pytest.raises(UsageError, match="--cluster auto"), connect.connected(ClusterOptions()):
        pass


def test_another_ray_that_finds_its_cluster_in_another_way(monkeypatch):
    services = pytest.importorskip("ray._private.services")
    monkeypatch.delattr(services, "canonicalize_bootstrap_address")
    connect._require_reachable("auto")


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        ("Unauthenticated: RPC error: InvalidAuthToken", ConnectionError("Failed"), "token"),
        ("", RuntimeError("Token authentication is enabled but no authentication token"), "token"),
        ("no route", ConnectionError("Failed to connect"), "no Ray cluster is found .*connect"),
        ("", RuntimeError("Version mismatch: Ray 1"), "Version mismatch.*same versions"),
    ],
)
def test_why_a_cluster_refuses(monkeypatch, capfd, said, error, told):
    """Ray's core writes the reason to stderr, again and again, and raises something general."""
    ray = pytest.importorskip("ray")

    def init(**_):
        os.write(2, said.encode())
        raise error

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UsageError, match=f"--cluster h:1: .*{told}") as caught:
        connect._join("h:1")
    if told == "token":
        for part in ("RAY_AUTH_MODE=token", "~/.ray/auth_token", "RAY_AUTH_TOKEN"):
            assert part in str(caught.value)
    assert capfd.readouterr().err == ""


def test_what_ray_says_while_it_joins_is_not_lost(monkeypatch, caplog):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda **_: os.write(2, b"mind the gap\n"))
    connect._join("h:1")
    assert "mind the gap" in caplog.text
