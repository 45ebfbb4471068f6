"""What this machine's processor can do, and its memory."""

from __future__ import annotations

import os
import re
from pathlib import Path

from adnet.provenance import usable_cores

PROC = Path("/proc")

_FEATURES = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "BF16": ("avx512_bf16", "bf16"),
    "AMX": ("amx_tile",),
    "NEON": ("asimd",),
    "DOTPROD": ("asimddp",),
    "I8MM": ("i8mm",),
    "SVE": ("sve",),
}
"""What to call a feature -> any of its names in Linux's /proc/cpuinfo (x86 and Arm)."""


def describe_cpu() -> str:
    """Tell the processor's name and the cores that this process may use."""
    text = read(PROC / "cpuinfo")
    name = re.search(r"^(?:model name|Hardware|CPU part)\s*:\s*(.+)$", text, re.MULTILINE)
    return f"{name[1].strip() if name else 'unknown'}, {usable_cores()} cores"


def cpu_features() -> dict[str, bool]:
    """Tell which instructions that matter to inference there are, for this kind of processor.

    AVX2, AVX-512, VNNI, BF16 and AMX on x86; NEON, DOTPROD, BF16, I8MM and SVE on Arm. Empty where
    Linux does not tell.
    """
    lines = re.findall(r"^(?:flags|Features)\s*:\s*(.*)$", read(PROC / "cpuinfo"), re.MULTILINE)
    if not lines:
        return {}
    there = set(lines[0].split())
    arm = {"NEON", "DOTPROD", "I8MM", "SVE"}
    names = arm | {"BF16"} if "asimd" in there else _FEATURES.keys() - arm
    return {name: bool(there & set(_FEATURES[name])) for name in _FEATURES if name in names}


def memory_bytes(proc: Path | None = None) -> tuple[int, int] | None:
    """Return the memory in all and what is free for programs; None where Linux does not say.

    Args:
        proc: where the kernel tells; None: `PROC`.
    """
    text = read((PROC if proc is None else proc) / "meminfo")
    found = [re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)
             for key in ("MemTotal", "MemAvailable")]  # fmt: skip
    if found[0] is None or found[1] is None:
        return None
    return int(found[0][1]) * 1024, int(found[1][1]) * 1024


def read(path: Path) -> str:
    """Return a file's text, nothing when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def may_use(path: Path) -> bool:
    """Whether this user may read and write a device."""
    return os.access(path, os.R_OK | os.W_OK)
