"""Where CANN lies on this machine, which chips it knows, and the environment that ATC needs.

ATC wants no NPU, but its loader wants the driver's libascend_hal.so. Where no driver is, CANN's
devlib stands in for it (GE, environment_setup.md); set_env.sh does not put it on the path.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from adnet.cann import HAL, cann_homes, devlib_places

_TIMEOUT = 60  # seconds; sourcing set_env.sh takes well under one


@dataclass(frozen=True, slots=True)
class AtcEnvironment:
    """What ATC is started with."""

    variables: dict[str, str]
    notes: list[str]
    """What was changed, in words."""
    devlib_places: list[Path]
    """Where a stand-in for the driver's library was looked for, and not found; else empty."""


def atc_environment(atc: Path) -> AtcEnvironment:
    """Complete this process's environment by what ATC needs and the user has not set.

    Args:
        atc: the program that will run; what lies beside it is preferred.
    """
    real = atc.resolve()
    homes = list(dict.fromkeys([*list(atc.parents)[1:3], *list(real.parents)[1:4], *cann_homes()]))
    variables, notes = dict(os.environ), []
    if not variables.get("ASCEND_OPP_PATH"):
        script = _first(place / "set_env.sh" for home in homes for place in (home, home.parent))
        if script is not None:
            variables |= _sourced(script)
            notes.append(f"CANN's environment is not set here; atc gets that of {script}")
    if _resolves(HAL, variables, homes[0] / "lib64"):
        return AtcEnvironment(variables, notes, [])
    places = [folder for home in homes if home.is_dir() for folder in devlib_places(home)]
    found = _first(place / HAL for place in places)
    if found is None:
        return AtcEnvironment(variables, notes, places)
    folders = [str(found.parent), variables.get("LD_LIBRARY_PATH", "")]
    variables["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
    notes.append(
        f"there is no Ascend driver here ({HAL} is not found); atc gets CANN's stand-in for it, "
        f"{found.parent} in front of LD_LIBRARY_PATH"
    )
    return AtcEnvironment(variables, notes, [])


def platform_socs() -> frozenset[str]:
    """Return the names of the chips that the installed CANN has a platform file for."""
    machine = platform.machine()
    found = set()
    for home in cann_homes():
        for below in (f"{machine}-linux", "compiler", "", "runtime", "fwkacllib"):
            folder = home / below / "data" / "platform_config"
            found |= {path.stem for path in folder.glob("Ascend*.ini")}
    return frozenset(found)


def _resolves(library: str, variables: Mapping[str, str], own: Path) -> bool:
    """Tell whether the loader finds a library: on its path, in its cache, or in system folders."""
    folders = [own, *map(Path, variables.get("LD_LIBRARY_PATH", "").split(os.pathsep))]
    machine = platform.machine()
    system = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", f"/usr/lib/{machine}-linux-gnu")
    if any((folder / library).exists() for folder in [*folders, *map(Path, system)]
           if folder != Path()):  # fmt: skip
        return True
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    if ldconfig is None:
        return False
    cached = subprocess.run(
        [ldconfig, "-p"], capture_output=True, text=True, errors="replace", check=False
    )
    return library in cached.stdout


def _sourced(script: Path) -> dict[str, str]:
    """Return the environment after sourcing a script of CANN's."""
    bash = shutil.which("bash")
    if bash is None:
        return {}
    try:
        result = subprocess.run(
            [bash, "-c", 'source "$1" > /dev/null 2>&1; env -0', "bash", str(script)],
            capture_output=True, timeout=_TIMEOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {}
    lines = os.fsdecode(result.stdout).split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
