"""The Triton binary of the wheel nvidia-pytriton, run on a model repository."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """What a running server is reached by."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process, self.log = process, log
        self.http, self.grpc = "", ""

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.http}/v2/health/ready", timeout=5) as told:
                return told.status == 200
        except OSError:
            return False


@contextmanager
def triton_server(repository: Path, folder: Path, *, wait: bool = True):
    """Start it; with `wait`, until it is ready. `folder` takes its log and backends."""
    import pytriton

    wheel = Path(pytriton.__file__).parent
    home = wheel / "tritonserver"
    backends = folder / "backends"
    shutil.copytree(home / "backends", backends)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = home / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, backends / "python")
    binary = folder / "tritonserver"
    shutil.copy(home / "bin" / "tritonserver", binary)
    binary.chmod(0o755)
    ports = [free_port() for _ in range(3)]
    log = folder / "server.log"
    environment = os.environ | {
        "LD_LIBRARY_PATH": str(wheel.parent / "nvidia_pytriton.libs"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": "",
    }
    arguments = [
        f"--model-repository={repository}", f"--backend-directory={backends}",
        "--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1",
        f"--http-port={ports[0]}", f"--grpc-port={ports[1]}", f"--metrics-port={ports[2]}",
        "--backend-config=python,shm-default-byte-size=16777216",
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(
            [binary, *arguments], env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    server = Server(process, log)
    server.http, server.grpc = (f"127.0.0.1:{port}" for port in ports[:2])
    try:
        end = time.monotonic() + 60
        while wait and not server.is_ready():
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the server did not start:\n{log.read_text()}")
            time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
