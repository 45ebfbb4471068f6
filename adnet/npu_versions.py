"""PyTorch, torch-npu and CANN are one matter: which go together, and what a failed import means.

Sources: the version table of torch-npu (COMPATIBILITY.en.md, 2026) and its wheels' metadata. On
x86_64 a wheel of torch-npu wants PyTorch's CPU build, which PyPI does not have.
"""

from __future__ import annotations

import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from adnet.cann import SOURCE_SET_ENV, cann_version

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of CPU builds."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Versions that were released for each other."""

    torch_npu: str
    torch: str
    cann: str
    """Major and minor."""

    def install(self) -> str:
        """Return the commands that install it."""
        return (
            f"pip install torch=={self.torch} --index-url {CPU_INDEX} && "
            f"pip install torch-npu=={self.torch_npu}"
        )


PAIRS = (
    Pair("2.12.0", "2.12.0", "9.1"),
    Pair("2.11.0", "2.11.0", "9.1"),
    Pair("2.10.0.post4", "2.10.0", "9.1"),
    Pair("2.9.0.post6", "2.9.0", "9.1"),
    Pair("2.9.0.post2", "2.9.0", "9.0"),
    Pair("2.9.0", "2.9.0", "8.5"),
)
"""What adnet can use, newest first: its training wants torch 2.9 or newer, and the table ends with
2.12. CANN 8.3 and older go with older ones only."""

_PATIENCE_S = 120
"""How long an import of torch may take."""

_LIBRARIES = r"torch_npu|lib(?:hccl|ascend|acl|torch_npu|op_plugin|ge_|graph|runtime|npu)\w*"


def installed(package: str) -> str | None:
    """Return a package's version without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def version_key(number: str) -> tuple[int, ...]:
    """Turn a version into what compares by number: 8.3.RC1 into (8, 3, 1), nothing into ()."""
    return tuple(int(part) for part in re.findall(r"\d+", number))


def versions_found() -> str:
    """Tell what is installed here, in words."""
    found = [(name, installed(name)) for name in ("torch", "torch-npu")]
    found.append(("CANN", cann_version()))
    return ", ".join(f"{name} {number or 'not found'}" for name, number in found)


def remedy() -> str:
    """Say how to get a pair that exists, for the CANN and the torch of this machine."""
    cann = cann_version()
    short = None if cann is None else _short(cann)
    fitting = [pair for pair in PAIRS if short in (None, pair.cann)]
    if not fitting:
        if short is not None and version_key(short) < version_key(PAIRS[-1].cann):
            return (
                f"CANN {cann} goes with versions of torch-npu that adnet does not take. Install "
                f"CANN {PAIRS[-1].cann} or newer, or convert the model ('adnet-export om'): the om "
                "backend needs no torch."
            )
        return (
            f"CANN {cann} is newer than adnet's table, which ends with {PAIRS[0].cann}; see "
            "COMPATIBILITY.en.md of torch-npu for its pair."
        )
    torch = _plain(installed("torch") or "")
    pair = next((pair for pair in fitting if pair.torch == torch), fitting[0])
    return f"For CANN {pair.cann}: {pair.install()}. Other pairs: docs/ascend.md."


def misfit() -> str | None:
    """Tell what does not go together among what is installed; None when nothing is known to."""
    torch, torch_npu, cann = installed("torch"), installed("torch-npu"), cann_version()
    if torch is None or torch_npu is None:
        return None
    wanted = re.sub(r"\.?(post|rc|dev)\d+.*", "", _plain(torch_npu))
    if _plain(torch) != wanted:
        return f"torch-npu {torch_npu} needs torch {wanted}, found {torch}"
    known = [pair.cann for pair in PAIRS if pair.torch_npu == _plain(torch_npu)]
    if cann is not None and known and _short(cann) not in known:
        return f"torch-npu {torch_npu} needs CANN {known[0]}, found {cann}"
    return None


def explain_import_error(error: BaseException) -> str | None:
    """Say what to do when `import torch` or `import torch_npu` failed because of torch-npu or CANN.

    With torch-npu installed `import torch` loads it, so every program that uses torch is hit.

    Returns:
        The answer in one or two sentences; None when the error is another.
    """
    chain = list(_chain(error))
    text = " ".join(" ".join(str(one).split()) for one in chain)
    loading = any(
        isinstance(one, ImportError) or (isinstance(one, OSError) and ".so" in str(one))
        for one in chain
    )
    backend = "Failed to load the backend extension: torch_npu" in text  # torch's own words
    if not (backend or (loading and re.search(_LIBRARIES, text))):
        first = _first_failure(error)
        return None if first is None else explain_import_error(first)
    off = "TORCH_DEVICE_BACKEND_AUTOLOAD=0 lets torch be used without it"
    if "undefined symbol" in text:
        symbol = re.search(r"undefined symbol: (\S+)", text)
        reason = misfit()
        return (
            f"torch_npu does not go with the other versions here ({versions_found()}"
            f"{'' if symbol is None else f'; undefined symbol {symbol[1]}'}). "
            f"{'' if reason is None else f'{reason}. '}{remedy()} {off}."
        )
    if "Two accelerators cannot be used" in text:
        return (
            f"torch_npu needs the CPU build of torch, found torch {installed('torch')}. {remedy()}"
        )
    library = re.search(r"(lib[\w.+-]+?\.so[\w.]*): cannot open", text)
    cause = "" if library is None else f" ({library[1]} is not found)"
    return (
        "torch_npu is installed, but CANN is missing or its environment is not set"
        f"{cause}: {SOURCE_SET_ENV}; {off}."
    )


def _first_failure(error: BaseException) -> ImportError | None:
    """Find out why torch could not be imported when this is only its second failure.

    Some packages try to import torch and continue without it. It does not survive that: the next
    attempt fails for a reason of its own, which says nothing.
    """
    frames = traceback.extract_tb(error.__traceback__)
    importing = any(
        frame.name == "<module>" and Path(frame.filename).parts[-2:] == ("torch", "__init__.py")
        for frame in frames
    )
    if not importing or isinstance(error, ImportError) or installed("torch-npu") is None:
        return None
    try:
        result = subprocess.run(
            [sys.executable, "-c", "import torch"],
            capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ImportError(result.stderr) if result.returncode else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _plain(number: str) -> str:
    """Drop what follows a plus sign, such as `cpu`."""
    return number.partition("+")[0]


def _short(number: str) -> str:
    """Return the major and minor of a version, 8.3 of 8.3.RC1."""
    return ".".join(number.split(".")[:2])
