"""Which Ascend chip this machine has."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import import_module

from adnet.cann import soc_name
from adnet.errors import UsageError
from adnet.export.soc_names import SOCS

_TIMEOUT = 30  # seconds; npu-smi hangs on a device in trouble


def detect_soc() -> str:
    """Return the name of this machine's chip, as ATC wants it.

    pyACL is asked first, then `npu-smi info`, whose Name column says 310P3 for Ascend310P3. For
    chips that it just calls Ascend910 (Atlas A3) the name is Chip Name and NPU Name of
    `npu-smi info -t board`, joined: Ascend910_9392.

    Raises:
        UsageError: there is no chip here, or more than one kind.
    """
    found = _from_acl() or _from_npu_smi()
    if not found:
        raise UsageError(
            "--soc: this machine has no Ascend chip to take the name from. Say for which chip the "
            "model is, e.g. --soc Ascend310P3; on the device, 'npu-smi info' shows it as Name: "
            "310P3."
        )
    if len(found) > 1:
        raise UsageError(f"--soc: this machine has {' and '.join(sorted(found))}; choose one.")
    return found.pop()


def _from_acl() -> set[str]:
    try:
        acl = import_module("acl")
    except (ImportError, OSError):
        return set()
    name = soc_name(acl)
    return {name} if name else set()


def _from_npu_smi() -> set[str]:
    found = set()
    # A device has two lines; the first begins with its number and name.
    pattern = r"^\| *(\d+) +(Ascend\w+|310|910|\d{3}[A-Z][\w-]*) +\|"
    for npu, name in re.findall(pattern, _npu_smi(), re.MULTILINE):
        full = name if name.startswith("Ascend") else f"Ascend{name}"
        if full not in SOCS:
            board = _npu_smi("-t", "board", "-i", npu, "-c", "0")
            parts = [re.search(rf"^\s*{key}\s*:\s*(\S+)", board, re.MULTILINE) for key in
                     ("Chip Name", "NPU Name")]  # fmt: skip
            full = "_".join(part[1] for part in parts if part)
        if full:
            found.add(full)
    return found


def _npu_smi(*arguments: str) -> str:
    program = shutil.which("npu-smi")
    if program is None:
        return ""
    try:
        result = subprocess.run(
            [program, "info", *arguments],
            capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""
