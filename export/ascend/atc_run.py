"""Find ATC, run it, and believe only what it proves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from adnet.atomic import atomic_path
from adnet.cann import cann_homes
from adnet.errors import BackendUnavailable, ExportError
from adnet.export.ascend.atc_config import MODEL_FILE, OUTPUT_NAME, AtcConfig
from adnet.export.ascend.atc_errors import explain
from adnet.export.ascend.cann_install import atc_environment
from adnet.models.om_file import read_om

_SUCCESS = "ATC run success"
_FAILURE = "ATC run failed"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9./_\u4e00-\u9fa5-]+")
"""What ATC takes in a path; anything else is E10001."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """One run of ATC."""

    om: Path
    command: list[str]
    """ATC's path and arguments; it ran in a temporary directory, which is gone."""
    seconds: float
    atc_version: str | None


def find_atc() -> Path:
    """Find ATC: on PATH, below $ASCEND_TOOLKIT_HOME or $ASCEND_HOME_PATH, or where CANN puts it.

    Raises:
        BackendUnavailable: there is none.
    """
    on_path = shutil.which("atc")
    if on_path is not None:
        return Path(on_path)
    for home in cann_homes():
        if os.access(found := home / "bin" / "atc", os.X_OK):
            return found
    raise BackendUnavailable(
        "ATC is not installed here: neither on PATH, nor below $ASCEND_TOOLKIT_HOME, "
        "$ASCEND_HOME_PATH, /usr/local/Ascend or $HOME/Ascend. Source CANN's "
        "set_env.sh, or write a folder to convert elsewhere with --emit DIR."
    )


def run_atc(
    atc: Path,
    config: AtcConfig,
    onnx: Path,
    output: Path,
    *,
    on_line: Callable[[float, str], None] = lambda _seconds, _line: None,
    on_note: Callable[[str], None] = lambda _note: None,
) -> Conversion:
    """Convert an ONNX file; the OM appears whole or not at all.

    ATC runs in a temporary directory of plain characters, for it refuses others and leaves files
    where it runs. Its output is kept as OUTPUT.log when it fails.

    Args:
        output: the OM file, with its suffix.
        on_line: gets the seconds since the start and each line that ATC prints.
        on_note: gets a sentence on how ATC's environment was completed.

    Raises:
        ExportError: ATC failed, said nothing, or wrote no sound file for the chip asked for.
    """
    environment = atc_environment(atc)
    for note in environment.notes:
        on_note(note)
    with _plain_directory() as folder:
        shutil.copyfile(onnx, folder / MODEL_FILE)
        config.write_files(folder)
        command = [str(atc), *config.arguments()]
        began = time.monotonic()
        status, log = _run(
            command,
            folder,
            environment.variables,
            lambda line: on_line(time.monotonic() - began, line),
        )
        seconds = time.monotonic() - began
        # A host-bound model gets its system into the name: converted_linux_aarch64.om.
        written = [*folder.glob(f"{OUTPUT_NAME}.om"), *folder.glob(f"{OUTPUT_NAME}_*_*.om")]
        written.sort(key=lambda path: path.stat().st_mtime)
        if status != 0 or _SUCCESS not in log or _FAILURE in log or not written:
            log_path = output.with_name(output.name + ".log")
            with atomic_path(log_path) as path:
                path.write_text(log, encoding="utf-8")
            code, text, remedy = explain(log, status, environment.devlib_places)
            if status == 0 and _SUCCESS in log:
                text, remedy = "it reported success but wrote no file", "Is the disk full?"
            raise ExportError(
                f"atc failed (exit status {status}{', ' + code if code else ''}): {text} "
                f"{remedy} Log: {log_path}"
            )
        om = read_om(written[-1])
        soc = om.attributes.get("soc_version", config.soc)
        if soc != config.soc:
            raise ExportError(f"atc built the model for {soc}, asked for was {config.soc}.")
        with atomic_path(output) as path:
            shutil.copyfile(written[-1], path)
    return Conversion(output, command, seconds, om.attributes.get("atc_version"))


def _run(
    command: list[str], folder: Path, variables: dict[str, str], on_line: Callable[[str], None]
) -> tuple[int, str]:
    """Run a command, both streams as one text; returns exit status and text."""
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as err:
        raise ExportError(f"{command[0]}: cannot be started: {err.strerror}.") from err
    lines = []
    with process:
        try:
            assert process.stdout is not None  # stdout=PIPE
            for line in process.stdout:
                lines.append(line)
                on_line(line.rstrip())
            return process.wait(), "".join(lines)
        except BaseException:  # interrupted: ATC must not go on alone
            # `atc` is a shell script around the program; both are in a group of their own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


@contextmanager
def _plain_directory() -> Iterator[Path]:
    """A temporary directory whose real path ATC accepts."""
    for parent in (None, "/tmp", "/var/tmp"):
        with tempfile.TemporaryDirectory(prefix="adnet-atc-", dir=parent) as folder:
            real = Path(folder).resolve()
            if _PLAIN_PATH.fullmatch(str(real)):
                yield real
                return
    raise ExportError(
        "ATC takes only letters, digits and ._- in paths, and no temporary directory has such a "
        "path. Set TMPDIR to one that has."
    )
