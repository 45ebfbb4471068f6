"""A Ray cluster of this machine: a head without CPUs, and nodes of one CPU that can be killed.

It lives in a process of its own, since Ray looks at its environment when it is imported: for the
token, and for what workers inherit.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # 15 by default: other work on the machine would starve them
    "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-the-tests-" + "0" * 20,
    "PYTHONPATH": str(Path(__file__).parent),  # workers import backends from here
}  # fmt: skip
STORE = 80_000_000


class Nodes:
    """The cluster as a test sees it."""

    def __init__(self, process):
        self._process = process
        self.count = 0
        self.environment = os.environ | ENVIRONMENT
        self.address = self._ask({})

    def _ask(self, command):
        if command:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("answer "):
                return line.split()[1]
        raise AssertionError("the cluster ended")

    def add(self, variables=None):
        """Add a node whose workers have these environment variables."""
        self._ask({"add": variables or {}})
        self.count += 1

    def kill_node(self):
        self._ask({"kill": 1})
        self.count -= 1

    def workers(self):
        """Processes of our actors."""
        return [pid for pid, name in _descendants(self._process.pid) if "MapWorker" in name]

    def kill_a_worker(self):
        os.kill(self.workers()[0], signal.SIGKILL)


@contextmanager
def ray_cluster(count=2):
    """Start a cluster with a token while a block runs."""
    process, nodes = _start(count)
    try:
        yield nodes
    finally:
        _end(process)


def _start(count, tries=3):
    """Ray gives up where a node takes longer than half a minute, on a machine that is busy."""
    process = subprocess.Popen(
        [sys.executable, __file__], env=os.environ | ENVIRONMENT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        nodes = Nodes(process)
        for _ in range(count):
            nodes.add()
    except (AssertionError, OSError):
        _end(process)
        if tries == 1:
            raise
        return _start(count, tries - 1)
    return process, nodes


def _end(process):
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


def serve():
    """Do as the lines on stdin say, until it ends."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE},
    )
    nodes = []
    sys.stdout.write(f"answer {cluster.address}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        command = json.loads(line)
        if "add" in command:
            os.environ.update(command["add"])
            nodes.append(cluster.add_node(num_cpus=1, object_store_memory=STORE))
        else:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        sys.stdout.write("answer done\n")
        sys.stdout.flush()
    cluster.shutdown()


def wait_for(condition, driver, seconds=150):
    """Wait until something is so, while a driver runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert driver.poll() is None, "the driver ended early"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def _descendants(root):
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
                names[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (OSError, ValueError):
                continue
    for pid in sorted(parents):
        above = pid
        while above in parents and above != root:
            above = parents[above]
        if above == root:
            yield pid, names.get(pid, "")


if __name__ == "__main__":
    serve()
