"""Look at everything that a run depends on: found, expected, what to do. It changes nothing.

Neither torch nor torch_npu is imported unless a backend is asked for that needs it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from adnet import __version__
from adnet.cann import HAL, SOURCE_SET_ENV, cann_homes, cann_version, devlib_places
from adnet.errors import UsageError
from adnet.extras import install_extra
from adnet.npu_versions import installed, misfit, remedy, version_key
from adnet.runtime import host
from adnet.runtime.inventory import Row, rows_of
from adnet.runtime.registry import backends

State = Literal["ok", "note", "no"]

ASCEND = Path("/usr/local/Ascend")
DEVICES = Path("/dev")

REPORT_HINT = (
    "A bug report should hold this output with --json, the command, and what it printed with "
    "--debug; for an OM also 'adnet-export inspect FILE.om --json' and FILE.om.log."
)

_OLD_PYTHON = ((8, 1), (3, 10))
"""Up to this CANN, its operator compiler breaks on a Python newer than this."""

_OLD_NUMPY = (8, 2)
"""Up to this CANN, torch_npu's set_device fails with NumPy 2."""

_TIGHT = 8 * 2**30
"""Bytes below which ATC has been seen to be killed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was found, what was expected, what to do."""

    topic: str
    state: State
    """ok; note: needed by some ways to run, or worth knowing; no: what was asked for cannot run."""
    found: str
    expected: str = ""
    remedy: str = ""


def examine(backend: str | None = None) -> list[Finding]:
    """Look at the machine, and whether a backend can run on it.

    Args:
        backend: the one that is asked for; None asks for none, so that nothing can fail.

    Raises:
        UsageError: there is no such backend.
    """
    if backend is not None and backend not in backends():
        raise UsageError(f"unknown backend {backend!r}; there are {', '.join(backends())}.")
    findings = [
        _python(), _numpy(), _cpu(), _memory(), _onnxruntime(), _torch(), _driver(), _cann(),
        _environment(), _devlib(), _pyacl(), *_chips(),
    ]  # fmt: skip
    if backend is not None:
        findings += [_verdict(backend, rows_of(backend))]
    return findings


def works(findings: list[Finding]) -> bool:
    """Whether what was asked for can run."""
    return all(finding.state != "no" for finding in findings)


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}, adnet {__version__}"
    cann = version_key(cann_version() or "")
    newest_cann, newest_python = _OLD_PYTHON
    if cann and cann[:2] <= newest_cann and sys.version_info[:2] > newest_python:
        wanted = ".".join(map(str, newest_python))
        return Finding(
            "Python", "note", found, f"{wanted} or older for ATC of CANN {cann_version()}",
            f"convert with a Python {wanted}, or elsewhere; running an OM is not affected",
        )  # fmt: skip
    return Finding("Python", "ok", found)


def _numpy() -> Finding:
    number = installed("numpy") or "not found"
    if not number.startswith("2."):
        return Finding("NumPy", "ok", number)
    cann = version_key(cann_version() or "")
    if cann and cann[:2] <= _OLD_NUMPY:
        return Finding(
            "NumPy", "note", number, f"1.x for CANN {cann_version()}, for ATC and for torch_npu",
            "pip install 'numpy<2'",
        )  # fmt: skip
    if cann:
        return Finding(
            "NumPy", "note", number, "1.x for ATC", "pip install 'numpy<2' where ATC fails"
        )
    return Finding("NumPy", "ok", number)


def _cpu() -> Finding:
    features = host.cpu_features()
    there = [name for name, is_there in features.items() if is_there]
    lacking = [name for name, is_there in features.items() if not is_there]
    told = f"with {', '.join(there) or 'none'}" if features else "features unknown"
    without = f", without {', '.join(lacking)}" if lacking else ""
    found = f"{platform.machine()}, {host.describe_cpu()}, {told}{without}"
    if "VNNI" in lacking or "DOTPROD" in lacking:
        return Finding("CPU", "note", found, "", "int8 models gain little here")
    return Finding("CPU", "ok", found)


def _memory() -> Finding:
    memory = host.memory_bytes()
    if memory is None:
        return Finding("memory", "note", "unknown")
    found = f"{memory[0] / 2**30:.1f} GiB, {memory[1] / 2**30:.1f} free"
    if memory[1] < _TIGHT:
        return Finding(
            "memory", "note", found, f"{_TIGHT >> 30} GiB free for ATC",
            "if ATC is killed: export TE_PARALLEL_COMPILER=1, or convert elsewhere",
        )  # fmt: skip
    return Finding("memory", "ok", found)


def _onnxruntime() -> Finding:
    there = [row for row in rows_of("onnx") if row.available]
    if not there:
        return Finding("ONNX Runtime", "note", "not usable", "", rows_of("onnx")[0].note)
    providers = ", ".join(row.where for row in there)
    return Finding("ONNX Runtime", "ok", f"{there[0].version}, providers {providers}")


def _torch() -> Finding:
    torch, torch_npu = installed("torch"), installed("torch-npu")
    found = f"torch {torch or 'not found'}, torch-npu {torch_npu or 'not found'}"
    problem = misfit()
    if problem is not None:
        return Finding("torch", "note", found, problem, remedy())
    if torch is None:
        return Finding("torch", "note", found, "only for training, export and --backend torch",
                       install_extra("train", "export"))  # fmt: skip
    return Finding("torch", "ok", found)


def _driver() -> Finding:
    number = re.search(r"^Version=(\S+)", host.read(ASCEND / "driver/version.info"), re.MULTILINE)
    nodes = sorted(DEVICES.glob("davinci[0-9]*"))
    if number is None and not nodes:
        return Finding("Ascend driver", "note", "not found", "only where an Ascend chip is",
                       "in a container: pass the devices in, and mount the driver")  # fmt: skip
    found = f"{'version unknown' if number is None else number[1]}, " + (
        f"devices {', '.join(node.name for node in nodes)}" if nodes else "no /dev/davinci*"
    )
    if not nodes:
        return Finding("Ascend driver", "note", found, "/dev/davinci0 and others",
                       "npu-smi info; in a container: --device /dev/davinci0")  # fmt: skip
    closed = [node for node in [*nodes, DEVICES / "davinci_manager"] if not host.may_use(node)]
    if closed:
        return Finding(
            "Ascend driver", "note", found, f"{closed[0]} open to this user",
            "add the user to the driver's group (HwHiAiUser); in a container: pass it in",
        )  # fmt: skip
    if shutil.which("npu-smi") is None:
        return Finding("Ascend driver", "note", found, "npu-smi on PATH", "see that it is mounted")
    return Finding("Ascend driver", "ok", found)


def _cann() -> Finding:
    homes = list({home.resolve(): home for home in reversed(cann_homes())}.values())[::-1]
    if not homes:
        return Finding("CANN", "note", "not found", "only for Ascend chips, and for ATC",
                       f"looked in {ASCEND} and {Path.home() / 'Ascend'}")  # fmt: skip
    found = ", ".join(f"{cann_version(home) or 'version unknown'} at {home}" for home in homes)
    if len({cann_version(home) for home in homes}) > 1:
        return Finding("CANN", "note", found, "one version",
                       "the environment decides which is used; see the next line")  # fmt: skip
    return Finding("CANN", "ok", found)


def _environment() -> Finding:
    topic = "CANN environment"
    names = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH")
    given = {name: os.environ[name] for name in names if os.environ.get(name)}
    hidden = os.environ.get("ASCEND_RT_VISIBLE_DEVICES")
    shown = [f"{name}={value}" for name, value in given.items()]
    shown += [f"ASCEND_RT_VISIBLE_DEVICES={hidden}"] if hidden is not None else []
    if not given:
        homes = cann_homes()
        if not homes:
            return Finding(topic, "note", "not set", "only with CANN")
        scripts = [home / "set_env.sh" for home in homes] + [
            home.parent / "set_env.sh" for home in homes
        ]
        script = next((str(one) for one in scripts if one.is_file()), None)
        return Finding(topic, "note", "not set", "set in this shell",
                       SOURCE_SET_ENV if script is None else f"run 'source {script}'")  # fmt: skip
    gone = [name for name, value in given.items() if not Path(value).is_dir()]
    if gone:
        return Finding(topic, "note", ", ".join(shown), f"{gone[0]} is a folder", SOURCE_SET_ENV)
    home = given.get("ASCEND_HOME_PATH") or given.get("ASCEND_TOOLKIT_HOME") or ""
    paths = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    if home and not any(one.startswith(home.rstrip("/") + "/") for one in paths):
        return Finding(topic, "note", ", ".join(shown), f"{home}/lib64 in LD_LIBRARY_PATH",
                       SOURCE_SET_ENV)  # fmt: skip
    return Finding(topic, "ok", ", ".join(shown))


def _devlib() -> Finding:
    """The stand-in for the driver's library, which ATC needs where there is no driver."""
    folders = [one for home in cann_homes() for one in devlib_places(home)]
    found = next((one for one in folders if (one / HAL).is_file()), None)
    if found is not None:
        return Finding("CANN devlib", "ok", str(found), "for ATC where there is no driver")
    if not cann_homes():
        return Finding("CANN devlib", "note", "not found", "only for ATC where there is no driver")
    return Finding("CANN devlib", "note", "not found", "for ATC where there is no driver",
                   "install the toolkit of CANN, not its runtime alone")  # fmt: skip


def _pyacl() -> Finding:
    try:
        spec = find_spec("acl")
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return Finding("pyACL", "note", "not found", "only for the om backend; comes with CANN",
                       SOURCE_SET_ENV)  # fmt: skip
    return Finding("pyACL", "ok", str(spec.origin or spec.name))


def _chips() -> list[Finding]:
    """The chips, as pyACL tells them; nothing where it is not installed."""
    if _pyacl().state != "ok":
        return []
    rows = rows_of("om")
    if not rows[0].available:
        return [Finding("chips", "note", "none", "", rows[0].note)]
    return [Finding("chips", "ok", f"{len(rows)} of {rows[0].version or 'an unknown kind'}")]


def _verdict(backend: str, rows: list[Row]) -> Finding:
    there = [row for row in rows if row.available]
    topic = f"backend {backend}"
    if there:
        return Finding(topic, "ok", f"can run on {', '.join(row.where for row in there)}")
    return Finding(topic, "no", "cannot run", "", rows[0].note)
