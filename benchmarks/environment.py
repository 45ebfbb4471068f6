"""Where a benchmark ran: enough to tell whether two results can be compared."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from adnet.benchmarks.results import Environment
from adnet.provenance import git_revision, usable_cores, versions

_PACKAGES = (
    "numpy", "onnxruntime", "onnxruntime-openvino", "torch", "torch-npu", "pillow", "openvino",
    "ncnn", "MNN",
)  # fmt: skip


def environment() -> Environment:
    """Describe this machine, this process and its command."""
    return Environment(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=_cpu_name(),
        cores=usable_cores(),
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        load_at_start=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        versions=versions(*_PACKAGES),
        revision=git_revision(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _cpu_name() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8").strip()
    return ""
