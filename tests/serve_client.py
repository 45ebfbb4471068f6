"""adnet-serve in a process of its own, and what asks it."""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from triton_server import free_port


class Server:
    """A running server; requests give its token unless they say otherwise."""

    def __init__(self, process: subprocess.Popen, port: int, log: Path, token: str) -> None:
        self.process, self.port, self.log = process, port, log
        self.right = {"Authorization": f"Bearer {token}"}

    def ask(self, method="GET", path="/denoise", body=None, headers=None, timeout=120):
        """Return status, headers and body."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            link.request(method, path, body, self.right if headers is None else headers)
            told = link.getresponse()
            return told.status, told.headers, told.read()
        finally:
            link.close()

    def denoise(self, data, query=""):
        return self.ask("POST", f"/denoise{query}", data)

    def memory(self) -> float:
        """MB of the server and all that it started; shared pages are counted once."""
        kilobytes = 0
        for process in family(self.process.pid):
            try:
                text = Path(f"/proc/{process}/smaps_rollup").read_text()
            except OSError:
                continue
            kilobytes += sum(
                int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")
            )
        return kilobytes / 1024

    def interrupt(self) -> float:
        """Press Ctrl-C; returns the seconds until everything has ended."""
        everyone, begin = family(self.process.pid), time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        while any(is_running(one) for one in everyone) and time.monotonic() < begin + 30:
            time.sleep(0.05)
        return time.monotonic() - begin


def listening(processes: list[int]) -> list[tuple[str, int]]:
    """Addresses (in the hexadecimal of /proc/net) and ports that processes listen on."""
    sockets = set()
    for process in processes:
        folder = f"/proc/{process}/fd"
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            with suppress(OSError):
                sockets.add(os.readlink(f"{folder}/{name}"))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == "0A" and f"socket:[{parts[9]}]" in sockets:
                address, port = parts[1].split(":")
                found.append((address, int(port, 16)))
    return found


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def family(root: int) -> list[int]:
    """A process and all below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                after = (entry / "stat").read_text().rpartition(")")[2]
            except OSError:
                continue
            parents[int(entry.name)] = int(after.split()[1])
    found = [root]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


@contextmanager
def paused(server: Server, name: str):
    """Hold the server's processes of that name still."""
    held = [
        one
        for one in family(server.process.pid)
        if name in Path(f"/proc/{one}/cmdline").read_bytes().decode(errors="replace")
    ]
    assert held, f"the server has no process {name}"
    for one in held:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in held:
            os.kill(one, signal.SIGCONT)


@contextmanager
def adnet_serve(folder: Path, *options: str):
    """Start it and wait until it takes requests."""
    token = secrets.token_urlsafe(24)
    port, log = free_port(), folder / "serve.log"
    script = Path(sys.executable).parent / "adnet-serve"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [script, "--port", str(port), *map(str, options)],
            stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"ADNET_SERVE_TOKEN": token},
            start_new_session=True,
        )  # fmt: skip
    server = Server(process, port, log, token)
    try:
        end = time.monotonic() + 120
        while "serving on" not in log.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the server did not start:\n{log.read_text()}")
            time.sleep(0.2)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
