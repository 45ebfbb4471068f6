"""--atc-arg: what is passed on to ATC, and the files that it names.

ATC runs in a directory of its own, and a folder of --emit on another machine: files that are read
are laid beside the model, under the name of their flag, which ATC takes in a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from adnet.errors import UsageError

_FILES = (
    "--keep_dtype", "--modify_mixlist", "--customize_dtypes", "--op_precision_mode",
    "--fusion_switch_file", "--compress_weight_conf", "--op_debug_config",
)  # fmt: skip
"""Flags whose value is a file to read (CANN manual, "ATC parameters")."""

_FOLDERS = ("--debug_dir", "--op_bank_path", "--mdl_bank_path")
"""Flags whose value is a folder that must be there."""

_HERE = (*_FOLDERS, "--op_compiler_cache_dir", "--check_report", "--compression_optimize_conf")
"""Flags that name something of one machine. The last names files that name more files."""

_SET_ELSEWHERE = (
    "--precision_mode", "--precision_mode_v2", "--weight", "--mode", "--virtual_type",
    "--insert_op_conf", "--input_fp16_nodes", "--output_type", "--dynamic_batch_size",
    "--dynamic_image_size", "--dynamic_dims", "--input_shape_range", "--save_original_model",
)  # fmt: skip


def check_extra(extra: Sequence[str], own: Iterable[str]) -> None:
    """Refuse what ATC would misread, or what makes another file than the one that is moved.

    Args:
        extra: arguments, each `--flag=value`.
        own: flags that adnet-export gives itself.

    Raises:
        UsageError: naming the argument.
    """
    seen = set()
    for argument in extra:
        flag, equals, value = argument.partition("=")
        told = f"--atc-arg {argument}"
        if not re.fullmatch(r"--[a-z0-9_]+", flag) or not equals:
            raise UsageError(f"--atc-arg: expected --flag=value, got {argument!r}.")
        if flag in (*own, *_SET_ELSEWHERE):
            raise UsageError(f"--atc-arg {flag}: adnet-export sets it itself; use its options.")
        if flag == "--external_weight":
            raise UsageError(
                f"{told}: the weights would lie beside the OM, which is one file here. Leave it "
                "out; 0 is ATC's default."
            )
        if flag in seen:
            raise UsageError(f"--atc-arg {flag}: given twice.")
        seen.add(flag)
        if flag in _FILES and not Path(value).is_file():
            raise UsageError(f"{told}: no such file.")
        if flag in _HERE and not Path(value).is_absolute():
            raise UsageError(
                f"{told}: ATC runs in another directory; give the full path, "
                f"{flag}={Path(value).resolve()}."
            )
        if flag in _FOLDERS and not Path(value).is_dir():
            raise UsageError(f"{told}: no such folder; ATC does not make it.")


def require_portable(extra: Sequence[str]) -> None:
    """Refuse what another machine does not have.

    Raises:
        UsageError: naming the argument.
    """
    for argument in extra:
        flag = argument.partition("=")[0]
        if flag in _HERE:
            raise UsageError(
                f"--atc-arg {argument}: a path of this machine, which a folder to convert "
                f"elsewhere cannot hold. Leave it out, and put {flag} with a path of the other "
                "machine into convert.sh."
            )


def files_of(extra: Sequence[str]) -> dict[str, Path]:
    """Return what is to be laid beside the model: name -> file."""
    pairs = (argument.partition("=") for argument in extra)
    return {_name(flag, value): Path(value) for flag, _, value in pairs if flag in _FILES}


def passed_on(extra: Sequence[str]) -> list[str]:
    """Return the arguments as ATC gets them, where the files of `files_of` lie."""
    pairs = [argument.partition("=") for argument in extra]
    return [f"{flag}={_name(flag, value) if flag in _FILES else value}" for flag, _, value in pairs]


def _name(flag: str, value: str) -> str:
    suffix = Path(value).suffix
    return flag.removeprefix("--") + (suffix if re.fullmatch(r"\.[A-Za-z0-9]+", suffix) else "")
