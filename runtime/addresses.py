"""Which images to denoise where inputs or outputs are addresses, or a list names them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from adnet import storage
from adnet.errors import ImageError, UsageError
from adnet.images.formats.kinds import why_not_suffix
from adnet.images.image import FORMATS, find_in_folder
from adnet.images.scan import Found
from adnet.runtime.jobs import refuse_collisions
from adnet.runtime.staged import Pair

_ROWS = 10_000
"""Of a Parquet file, read at once."""


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
    for place in dict.fromkeys(inputs):
        names = _names_below(place, found)
        if names is None:
            _require_format(place)
            as_file = len(inputs) == 1 and storage.suffix_of(output) in FORMATS
            target = output if as_file else storage.join(output, storage.name_of(place))
            pairs.append(Pair(place, target))
            continue
        if f"{_whole(output)}/".startswith(f"{_whole(place)}/"):
            raise UsageError(
                f"the output {output} lies inside the input {place}; a second run would denoise "
                "its own results. Choose an output elsewhere."
            )
        pairs += [Pair(storage.join(place, name), storage.join(output, name)) for name in names]
    refuse_collisions([(pair.source, pair.target) for pair in pairs], _whole)
    return pairs, found


def read_list(listed: str, output: str | None) -> Iterator[Pair]:
    """Read the images to denoise from a list, without holding it in memory.

    A line of a text file is an address or path, or two with a tab between: the image and its
    output. A Parquet file has the columns `source` and, if outputs are named, `target`. Without
    them, an image goes to `output`/name.

    Raises:
        UsageError: the list cannot be read, or an image has no output, or the same as another.
    """
    rows = _rows_of_parquet(listed) if storage.suffix_of(listed) == ".parquet" else _lines(listed)
    seen: set[int] = set()
    for number, (source, named) in enumerate(rows, 1):
        if named is None and output is None:
            raise UsageError(
                f"{listed}: row {number} names no output. Give --output, or a second column."
            )
        target = named or storage.join(output or "", storage.name_of(source))
        # Numbers, not names: a list may have millions of rows.
        if (key := hash(target)) in seen:
            raise UsageError(
                f"{listed}: row {number} would be written to {target}, as a row before it. Name "
                "the outputs in the list: SOURCE, a tab, TARGET."
            )
        seen.add(key)
        yield Pair(source, target)


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


def _whole(place: str) -> str:
    return place.rstrip("/") if storage.is_address(place) else str(Path(place).resolve())


def _lines(listed: str) -> Iterator[tuple[str, str | None]]:
    try:
        text = storage.read(listed).decode("utf-8-sig")
    except ImageError as err:
        raise UsageError(str(err)) from err
    except UnicodeDecodeError as err:
        raise UsageError(f"{listed}: is no text in UTF-8: {err}.") from err
    for line in text.splitlines():
        if line.strip():
            source, tab, target = line.partition("\t")
            yield source.strip(), target.strip() if tab and target.strip() else None


def _rows_of_parquet(listed: str) -> Iterator[tuple[str, str | None]]:
    import io  # noqa: PLC0415

    import pyarrow as pa
    import pyarrow.parquet as pq

    at: Any = io.BytesIO(storage.read(listed)) if storage.is_address(listed) else listed
    try:
        file = pq.ParquetFile(at)
        columns = [name for name in ("source", "target") if name in file.schema_arrow.names]
        if "source" not in columns:
            got = ", ".join(file.schema_arrow.names)
            raise UsageError(f"{listed}: expected a column named source, got {got}.")
        for batch in file.iter_batches(_ROWS, columns=columns):
            for row in batch.to_pylist():
                yield str(row["source"]), row.get("target") or None
    except (OSError, ValueError, pa.ArrowException) as err:
        raise UsageError(f"{listed}: cannot be read as Parquet: {err}.") from err
