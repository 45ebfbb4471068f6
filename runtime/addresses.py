"""Which images to denoise where inputs or outputs are addresses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from adnet import storage
from adnet.errors import UsageError
from adnet.images.formats.kinds import why_not_suffix
from adnet.images.image import FORMATS, find_in_folder
from adnet.images.scan import Found
from adnet.runtime.jobs import is_suffix_of_file, refuse_collisions
from adnet.runtime.staged import Pair


def plan_addresses(inputs: Sequence[str], output: str) -> tuple[list[Pair], Found]:
    """Find the images and name their outputs, as `make_plan` does for paths; writes nothing.

    What lies below an input address is mirrored under `output`; an object goes to `output`/name.
    One input object and an `output` with an image's suffix: that is written.

    Raises:
        UsageError: nothing there, no image found, the output inside an input or on top of one,
            or two inputs with one output.
    """
    pairs: list[Pair] = []
    found = Found()
    suffix, is_folder = storage.suffix_of(output), Path(output).is_dir()
    for place in dict.fromkeys(inputs):
        names = _names_below(place, found)
        if names is None:
            _require_format(place)
            if len(inputs) == 1 and suffix in FORMATS and not is_folder:
                pairs.append(Pair(place, output))
                return _without_collisions(pairs), found
            pairs.append(Pair(place, storage.join(output, storage.name_of(place))))
            continue
        if f"{storage.canonical(output)}/".startswith(f"{storage.canonical(place)}/"):
            raise UsageError(
                f"the output {output} lies inside the input {place}; a second run would denoise "
                "its own results. Choose an output elsewhere."
            )
        pairs += [Pair(storage.join(place, name), storage.join(output, name)) for name in names]
    if is_suffix_of_file(suffix) and not is_folder:
        raise UsageError(
            f"{output}: is named like one file of {suffix}; several inputs, or a folder, need a "
            f"folder, and files are written as {', '.join(FORMATS)}."
        )
    return _without_collisions(pairs), found


def _without_collisions(pairs: list[Pair]) -> list[Pair]:
    refuse_collisions([(pair.source, pair.target) for pair in pairs], storage.canonical)
    return pairs


def _names_below(place: str, found: Found) -> list[str] | None:
    """Return the names of the images below a place; None for one file."""
    if not storage.is_address(place):
        path = Path(place)
        if not path.exists():
            raise UsageError(f"{place}: no such file or folder.")
        if not path.is_dir():
            return None
        below = find_in_folder(path)
        found.add(below)
        return [image.relative_to(path).as_posix() for image in below.images]
    if storage.suffix_of(place) in FORMATS and storage.size_of(place) is not None:
        return None
    listed = storage.list_files(place)
    names = []
    for name in listed:
        parts = PurePosixPath(name).parts
        if any(part.startswith(".") for part in parts):
            continue
        suffix = storage.suffix_of(name)
        if suffix in FORMATS:
            names.append(name)
        else:
            found.other_files[suffix] += 1
    if not names:
        if storage.size_of(place) is not None:
            _require_format(place)
        other = f"; ignored: {found.describe_other_files()}" if found.other_files else ""
        told = f"no image below this address ({', '.join(FORMATS)}){other}"
        raise UsageError(f"{place}: {told if listed else 'nothing is there'}.")
    return names


def _require_format(place: str) -> None:
    if (suffix := storage.suffix_of(place)) not in FORMATS:
        raise UsageError(f"{place}: {why_not_suffix(suffix)}")
