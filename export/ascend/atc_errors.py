"""What ATC's failures mean for somebody who converts ADNet, and what to do.

Texts changed between CANN releases, codes did not (GE, error_registry.cc): of ATC's own errors only
codes are matched. What fails around ATC has no code: the loader, the Python that its compiler runs
in, the kernel that kills it. Such a line names the cause even where a code stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from adnet.cann import HAL, SOURCE_SET_ENV

_CODE = re.compile(r"\b(E[0-9A-Z]\d{4})\b")
_NOISE = re.compile(r"^(?:\[PID: \d+\]|[\d\-:.]{15,}|\s|[\w]+\(E[0-9A-Z]\d{4}\):|E[0-9A-Z]\d{4}:)+")

_VAGUE = ("E19999", "EZ9999")
"""Inner errors, printed beside or before what says more."""

_OPSET = (
    "CANN does not know this opset, or an operator: export the ONNX again with "
    "'adnet-export onnx --opset 11', or give the checkpoint to 'adnet-export om'."
)
_PYTHON_OF_CANN = (
    "ATC's compiler lacks a Python package: pip install 'numpy<2' attrs decorator psutil scipy "
    "cloudpickle ml-dtypes tornado protobuf sympy absl-py for the Python first on PATH, which must "
    "be one that this CANN supports."
)
_PYTHON = f"ATC's compiler failed in Python. Often {_PYTHON_OF_CANN}"
_REPORT = "This is not from your options; report it with the log."

_REMEDIES = {
    "E10001": "ATC refuses a value; the text names it.",
    "E10016": "The ONNX file's input has another name; export it with adnet-export onnx.",
    "E10035": "ATC wants at least two gears; give one batch and one size for a static model.",
    "E10036": "Give fewer batches or sizes.",
    "E10052": "AIPP does not fit the model; convert with --io fp32, and report this.",
    "E10054": f"An argument arrived empty. {_REPORT}",
    "E10501": f"The operators of CANN are not found: {SOURCE_SET_ENV}, and install the ops package "
    "of the chip (CANN 8.5 and later).",
    "E13010": f"CANN has no such operator for this chip: {SOURCE_SET_ENV}, and install the chip's "
    "ops package.",
    "E13018": f"ATC cannot read the AIPP file. {_REPORT}",
    "E16002": _OPSET,
    "E16005": "The ONNX carries several opset domains; export it with adnet-export onnx.",
    "E19010": _OPSET,
    "E19999": f"An inner error: often the chip's ops package is missing, or {_PYTHON_OF_CANN}",
    "E20001": "An operator could not be compiled: the ops package of this chip may be missing "
    "(CANN 8.5 and later), or of another version than the toolkit; the log names the operator.",
    "E40020": f"ATC's compiler could not import a Python module; the text names it. {_PYTHON}",
    "E40021": _PYTHON,
    "E40024": _PYTHON,
    "EC0010": _PYTHON,
    "EE1001": "CANN refuses an argument, often a chip that this release does not know: compare "
    "--soc with 'npu-smi info'.",
    "EL0004": "The machine ran out of memory: set TE_PARALLEL_COMPILER=1, or convert on a larger "
    "one; ATC needs no NPU.",
    "EZ9999": f"An inner error: the log may have a Python traceback. Often {_PYTHON_OF_CANN}",
}

_OF_CANN = ("tbe", "te", "te_fusion", "topi", "auto_tune", "opc_tool", "schedule_search", "hccl",
            "acl", "asc_op_compile_base", "impl")  # fmt: skip
"""Python modules that CANN brings. PyPI has others by some of these names."""

_OTHER_NAMES = {
    "attr": "attrs",
    "google": "protobuf",
    "google.protobuf": "protobuf",
    "absl": "absl-py",
    "yaml": "pyyaml",
    "numpy": "'numpy<2'",
}
"""Module -> what pip calls it."""


def explain(log: str, status: int = 1, devlib_places: Sequence[Path] = ()) -> tuple[str, str, str]:
    """Find the error in ATC's output.

    Three layouts are known: `E16005: text` (CANN 5), `EE1001: [PID: 1] time text` (CANN 6 to 8.3),
    `[PID: 1] time Name(EL0004): text` (CANN 8.5 and later).

    Args:
        status: ATC's exit status, negative for a signal.
        devlib_places: where CANN's stand-in for the driver was looked for, and is not.

    Returns:
        Code, ATC's text and what to do; the code is empty where there is none.
    """
    code, text = _coded(log)
    around = _around(log, status, devlib_places)
    if around is not None:
        return code, *around
    if code:
        remedy = _REMEDIES.get(code, "The log has the details.")
        if code == "E10001" and "host_env" in text:
            remedy = f"CANN's environment is not set: {SOURCE_SET_ENV}."
        elif code == "E10001" and "soc_version" in text:
            remedy = (
                "This CANN does not know the chip: compare --soc with 'npu-smi info', or use a "
                "CANN that is as new as the chip."
            )
        return code, text, remedy
    for line in log.splitlines():
        if line.startswith("ERROR:"):
            remedy = "This ATC does not know an argument; leave the option out."
            return "", line.removeprefix("ERROR:").strip(), remedy
    last = [line.strip() for line in log.splitlines() if line.strip()]
    return "", last[-1] if last else "no output", "Is the environment set (set_env.sh)?"


def _coded(log: str) -> tuple[str, str]:
    """Return the first code that explains something, and its text."""
    found = []
    for line in log.splitlines():
        match = _CODE.search(line)
        if match is not None:
            found.append((match[1], _NOISE.sub("", line).strip() or line.strip()))
    telling = [one for one in found if one[0] not in _VAGUE]
    return next(iter(telling or found), ("", ""))


def _around(log: str, status: int, devlib_places: Sequence[Path]) -> tuple[str, str] | None:
    """Find what failed around ATC; text and remedy."""
    for pattern, remedy in _CAUSES:
        found = re.search(pattern, log, re.MULTILINE)
        if found is not None:
            text = found[0].strip()
            if remedy is not None:
                return text, remedy
            if found[1].startswith("lib"):
                return text, _library_remedy(found[1], devlib_places)
            return text, _module_remedy(found[1])
    if status in (-9, 128 + 9):
        return "it was killed", _MEMORY
    return None


_MEMORY = (
    "The system killed the compiler, for it used too much memory: set TE_PARALLEL_COMPILER=1, or "
    "convert on a machine with more; ATC needs no NPU."
)

_NUMPY_2 = (
    "CANN's compiler does not work with NumPy 2: pip install 'numpy<2' for the Python that is "
    "first on PATH."
)
_NEW_PYTHON = (
    "This Python is too new for this CANN (8.1 and older want 3.10 or older): put an older one "
    "first on PATH, or convert in CANN's container image."
)
_OTHER_OPS = (
    "CANN's ops package here is for another chip: install the one of the chip that --soc names."
)
_OLD_SYSTEM = "This system is older than CANN wants; convert in CANN's container image."

_CAUSES = (
    (r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file", None),
    (r"version [`']GLIBC\w*_[\d.]+' not found", _OLD_SYSTEM),
    (r"^.*`np\.\w+` was removed in the NumPy 2.*", _NUMPY_2),
    (r"^.*numpy.* has no attribute 'float_'.*", _NUMPY_2),
    (r"^.*compiled using NumPy 1\.x cannot be run.*", _NUMPY_2),
    (r"^.*numpy\.core\.multiarray failed to import.*", _NUMPY_2),
    (r"^.*[Ss]oc ?[Vv]ersion .*bin package does not match.*", _OTHER_OPS),
    (r"^.*cannot pickle 'FrameLocalsProxy' object.*", _NEW_PYTHON),
    (r"No module named '?([\w.]*\w)'?", None),
    (r"[Ff]ailed to import Python module \[?'?([\w.]*\w)'?\]?", None),
    (r"^.*\bKilled\b.*|^.*\bsignal 9\b.*|^.*SIGKILL.*", _MEMORY),
)
"""What to look for, and the remedy; None where it depends on the library or module found."""


def _library_remedy(library: str, devlib_places: Sequence[Path]) -> str:
    if library != HAL:
        return f"CANN's libraries are not on the path: {SOURCE_SET_ENV}."
    looked = ", ".join(map(str, devlib_places)) or "below CANN's folder"
    return (
        f"There is no Ascend driver here, and CANN's stand-in for it, devlib, was not found "
        f"({looked}). Install CANN's toolkit package in full, or put the folder that has {HAL} in "
        "front of LD_LIBRARY_PATH."
    )


def _module_remedy(module: str) -> str:
    top = module.partition(".")[0]
    if top in _OF_CANN:
        return (
            f"{top} comes with CANN, not from pip: {SOURCE_SET_ENV}; it must be the same Python "
            "that CANN supports, and PYTHONPATH must not be replaced."
        )
    name = _OTHER_NAMES.get(module, _OTHER_NAMES.get(top, top.replace("_", "-")))
    return f"ATC's compiler needs it: pip install {name}, for the Python that is first on PATH."
