"""Which images to denoise, and where each result goes."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from adnet.errors import UsageError
from adnet.images.formats.kinds import why_not_suffix
from adnet.images.image import FORMATS, find_in_folder
from adnet.images.scan import Found, kind_of, scan_folder
from adnet.runtime.naming import Naming

Place = TypeVar("Place", Path, str)

_FILE_SUFFIXES = frozenset(
    {
        ".gif", ".apng", ".avif", ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpf", ".jpx",
        ".jpe", ".jfif", ".jif", ".dib", ".ico", ".icns", ".tga", ".pcx", ".pbm", ".pgm", ".ppm",
        ".pnm", ".pfm", ".pam", ".exr", ".hdr", ".dds", ".xpm", ".xbm", ".psd", ".xcf", ".svg",
        ".pdf", ".eps", ".ps", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf",
        ".fits", ".dcm", ".npy", ".npz", ".mat", ".h5", ".mp4", ".mov", ".avi", ".mkv", ".webm",
        ".zip", ".tar", ".gz", ".tgz", ".7z", ".raw", ".bin", ".txt", ".csv", ".tsv", ".json",
        ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".log", ".md", ".html", ".htm", ".doc",
        ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".py", ".sh", ".m4v", ".mpg", ".mpeg",
        ".wmv", ".flv", ".mp3", ".wav", ".flac", ".ogg", ".m4a", ".aac", ".onnx", ".om", ".pth",
        ".pt", ".ckpt", ".safetensors", ".nii", ".nrrd", ".mrc", ".czi", ".lif", ".nd2", ".ply",
        ".qoi", ".ktx", ".cur", ".wbmp", ".svgz", ".ai", ".indd", ".rw1", ".srw", ".pef", ".x3f",
    }
)  # fmt: skip
"""Suffixes that a file has, and hardly ever a folder: with them, an output is no new folder."""


RESULT = "named like a result"
"""Why an image is left out where results lie beside their inputs."""


@dataclass(frozen=True, slots=True)
class Job:
    """One image to denoise."""

    source: Path
    target: Path


@dataclass(slots=True)
class Plan:
    """What a run will do, and what it leaves out."""

    jobs: list[Job] = field(default_factory=list)
    found: Found = field(default_factory=Found)
    """What the input folders hold."""


def is_done(target: Path) -> bool:
    """Tell whether an output is there; a folder in its place is none."""
    try:
        return not stat.S_ISDIR(target.stat().st_mode)
    except OSError:
        return False


def plan_jobs(inputs: Sequence[Path], output: Path) -> list[Job]:
    """Find the images and name their outputs; see `make_plan`."""
    return make_plan(inputs, output).jobs


def make_plan(
    inputs: Sequence[Path],
    output: Path | None,
    naming: Naming = Naming(),  # noqa: B008  (it cannot be changed)
    *,
    may_be_empty: bool = False,
) -> Plan:
    """Find the images and name their outputs; touches nothing.

    A folder's tree is mirrored under `output`; a file goes to `output`/name. One input file and
    an `output` with an image suffix that is no folder: that file is written. Among several inputs,
    files that are no images by their suffix are left out and counted.

    Args:
        output: None to write beside each input; then `naming` must have a suffix, and what is
            named like a result is no input.
        may_be_empty: folders without an image are no mistake.

    Raises:
        UsageError: missing input, no image found, an output inside an input folder or on top of
            an input, two inputs with one output, or an output that is named like a file but
            cannot be one.
    """
    if output is None and not naming.suffix:
        raise UsageError(
            "say where the results go: -o OUT, or --suffix _clean to write beside each input."
        )
    modes = {path: _mode(path) for path in inputs}
    single = len(modes) == 1 and not stat.S_ISDIR(modes[inputs[0]])
    as_file = output is not None and _is_named_as_file(output, single=single)
    if as_file and output is not None:
        naming.check_file(output)
    plan, refused = Plan(), None
    for path, mode in modes.items():
        if stat.S_ISDIR(mode):
            _add_folder(plan, path, output, naming, alone=len(modes) == 1 and not may_be_empty)
        elif not stat.S_ISREG(mode):
            raise UsageError(f"{path}: is {kind_of(mode)}; give image files or folders.")
        elif path.suffix.lower() not in FORMATS:
            refused = refused or f"{path}: {why_not_suffix(path.suffix)}"
            plan.found.other_files[path.suffix.lower()] += 1
        elif output is None and naming.is_result(path):
            plan.found.left_out.append((path, RESULT))
        else:
            result = naming.result(path)
            place = result if output is None else output if as_file else output / result.name
            plan.jobs.append(Job(path, place))
    plan.jobs = list(dict.fromkeys(plan.jobs))
    if not plan.jobs and not may_be_empty:
        first = [f"{path}: {reason}" for path, reason in plan.found.left_out[:1]]
        raise UsageError(refused or "; ".join(["there is nothing to denoise", *first]) + ".")
    refuse_collisions([(job.source, job.target) for job in plan.jobs], identity)
    return plan


def _add_folder(
    plan: Plan, path: Path, output: Path | None, naming: Naming, *, alone: bool
) -> None:
    """Add the images of a folder.

    Args:
        alone: there is nothing else, so it must hold an image.
    """
    found = find_in_folder(path) if alone else scan_folder(path, FORMATS)
    if output is not None:
        refuse_within(output, path)
        for link in found.linked:
            refuse_within(output, link, given=path)
    if not found.images:
        plan.found.left_out.append((path, "no image in this folder"))
    plan.found.add(found)
    for image in found.images:
        if output is None and naming.is_result(image):
            plan.found.left_out.append((image, RESULT))
        else:
            result = naming.result(image)
            place = result if output is None else output / result.relative_to(path)
            plan.jobs.append(Job(image, place))


def _mode(path: Path) -> int:
    """Return the `st_mode` of an input without opening it: a pipe would block."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as err:
        raise UsageError(f"{path}: no such file or folder.") from err
    except OSError as err:
        raise UsageError(f"{path}: cannot be read: {err.strerror or err}.") from err


def is_suffix_of_file(suffix: str) -> bool:
    """Tell whether an output that ends so is no new folder."""
    return suffix in FORMATS or suffix in _FILE_SUFFIXES


def how_to_make(folder: Path) -> str:
    """Say how a folder is made that is named like a file."""
    return f"For a folder of that name, make it first: mkdir {shlex.quote(str(folder))}"


def _is_named_as_file(output: Path, *, single: bool) -> bool:
    """Tell whether `output` is the file to write, not a folder.

    Args:
        single: there is one input, and it is no folder.

    Raises:
        UsageError: it looks like a file's name, but cannot be that of the result.
    """
    suffix = output.suffix.lower()
    if output.is_dir() or not is_suffix_of_file(suffix):
        return False
    if output.is_file() and suffix not in FORMATS:
        return False  # that no folder can be made there is said later
    if output.exists() and not output.is_file():
        raise UsageError(f"{output}: is {kind_of(output.stat().st_mode)}; give another output.")
    folder = how_to_make(output)
    if not single:
        raise UsageError(
            f"{output}: is named like one file, but several inputs, or a folder, need a folder for "
            f"their results. {folder}"
        )
    if suffix not in FORMATS:
        raise UsageError(
            f"{output}: {suffix} files are not written, only {', '.join(FORMATS)}. {folder}"
        )
    return True


def refuse_within(
    output: Path, folder: Path, what: str = "results", *, given: Path | None = None
) -> None:
    """Make sure that a folder to write to does not lie inside one that is read.

    Args:
        what: is written there.
        given: what holds a link to `folder`, where that is not given itself.

    Raises:
        UsageError: it does.
    """
    if not Path(identity(output)).is_relative_to(identity(folder)):
        return
    place = folder if given is None else f"{given} (through the link {folder})"
    raise UsageError(
        f"the output folder {output} lies inside the input folder {place}; a second run would "
        f"denoise its own {what}. Choose an output elsewhere."
    )


def refuse_collisions(
    pairs: Sequence[tuple[Place, Place]], place_of: Callable[[Place], str]
) -> None:
    """Make sure that no output replaces an input or another output.

    Args:
        pairs: what is read, and where its result goes.
        place_of: the same text for every name of one place.

    Raises:
        UsageError: naming the two.
    """
    sources = {place_of(source) for source, _ in pairs}
    by_target: dict[str, Place] = {}
    for source, target in pairs:
        key = place_of(target)
        if key in sources:
            raise UsageError(
                f"{target}: the output would replace an input file. Choose another output."
            )
        other = by_target.setdefault(key, source)
        if other is not source and place_of(other) != place_of(source):
            raise UsageError(
                f"{other} and {source} would both be written to {target}. "
                "Denoise them into different folders."
            )


def identity(path: Path) -> str:
    """Return the same text for every name of one place."""
    return os.path.normcase(os.path.realpath(path))
