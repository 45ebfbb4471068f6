"""Lists of jobs: which images to denoise, and where each result goes, by text or Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from adnet import storage
from adnet.errors import ImageError, UsageError
from adnet.extras import install_extra
from adnet.runtime.staged import Pair

_ROWS = 10_000
"""Of a Parquet file, read at once."""
_Row = tuple[str, "str | None"]


def read_list(listed: str, output: str | None) -> Iterator[Pair]:
    """Read the images to denoise from a list, without holding it in memory.

    A line of a text file is an address or path, or two with a tab between: the image and its
    output. A Parquet file has the columns `source` and, if outputs are named, `target`. Without
    them, an image goes to `output`/name.

    It is read twice: all rows are checked before the first is returned.

    Raises:
        UsageError: the list cannot be read, a row is no image, or an image has no output, that of
            another, or one on top of an input.
    """
    again = _reader(listed)

    def pairs() -> Iterator[Pair]:
        for number, (source, named) in enumerate(again(), 1):
            if named is None and output is None:
                raise UsageError(
                    f"{listed}: row {number} names no output. Give --output, or a second column."
                )
            yield Pair(source, named or storage.join(output or "", storage.name_of(source)))

    _refuse_collisions(listed, pairs())
    return pairs()


def _refuse_collisions(listed: str, pairs: Iterator[Pair]) -> None:
    # Numbers, not names: a list may have millions of rows.
    sources: set[int] = set()
    targets: set[int] = set()
    for number, pair in enumerate(pairs, 1):
        source, target = hash(storage.canonical(pair.source)), hash(storage.canonical(pair.target))
        if target in targets:
            raise UsageError(
                f"{listed}: row {number} would be written to {pair.target}, as a row before it. "
                "Name the outputs in the list: SOURCE, a tab, TARGET."
            )
        sources.add(source)
        targets.add(target)
        for key, place in ((target, pair.target), (source, pair.source)):
            if key in sources and key in targets:
                raise UsageError(
                    f"{listed}: row {number}: {place} is an input of this list and an output, too; "
                    "the output would replace the input. Choose another output."
                )


def _reader(listed: str) -> Callable[[], Iterator[_Row]]:
    """Return what reads the rows, as often as it is called."""
    kept = None
    if not storage.is_address(listed) and not Path(listed).is_file():
        kept = _told(listed, lambda: Path(listed).read_bytes())  # a pipe can be read once
    rows = _rows_of_parquet if storage.suffix_of(listed) == ".parquet" else _lines

    def read() -> Iterator[_Row]:
        if kept is not None:
            file: BinaryIO = io.BytesIO(kept)
        elif storage.is_address(listed):
            file = _told(listed, lambda: storage.open_for_reading(listed))
        else:
            file = _told(listed, lambda: Path(listed).open("rb"))  # noqa: SIM115
        with file:
            yield from rows(listed, file)

    return read


def _told(listed: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except FileNotFoundError as err:
        raise UsageError(f"{listed}: no such file.") from err
    except OSError as err:
        raise UsageError(f"{listed}: cannot be read: {err.strerror or err}.") from err
    except ImageError as err:
        raise UsageError(str(err)) from err


def _lines(listed: str, file: BinaryIO) -> Iterator[_Row]:
    number = 0
    try:
        with io.TextIOWrapper(file, "utf-8-sig") as text:
            for line in text:
                if not line.strip():
                    continue
                number += 1
                if (tabs := line.rstrip().count("\t")) > 1:
                    raise UsageError(
                        f"{listed}: row {number}: expected an image, or an image, a tab and its "
                        f"output, got {tabs + 1} parts."
                    )
                source, _, target = (part.strip() for part in line.partition("\t"))
                if not source:
                    raise UsageError(f"{listed}: row {number} names no image.")
                yield source, target or None
    except UnicodeDecodeError as err:
        raise UsageError(f"{listed}: is no text in UTF-8: {err}.") from err


def _rows_of_parquet(listed: str, file: BinaryIO) -> Iterator[_Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as err:
        raise UsageError(
            f"{listed}: Parquet needs pyarrow. Install it: {install_extra('cluster')}."
        ) from err

    number = 0
    try:
        table = pq.ParquetFile(file)
        columns = [name for name in ("source", "target") if name in table.schema_arrow.names]
        if "source" not in columns:
            got = ", ".join(table.schema_arrow.names)
            raise UsageError(f"{listed}: expected a column named source, got {got}.")
        for batch in table.iter_batches(_ROWS, columns=columns):
            for row in batch.to_pylist():
                number += 1
                _require_text(listed, number, row)
                yield row["source"], row.get("target") or None
    except (OSError, ValueError, pa.ArrowException) as err:
        raise UsageError(f"{listed}: cannot be read as Parquet: {err}.") from err


def _require_text(listed: str, number: int, row: dict[str, Any]) -> None:
    """Make sure of an address or path in `source`; `target` may be empty.

    Raises:
        UsageError: naming row and column.
    """
    for column, value in row.items():
        if isinstance(value, str) and (value.strip() or column == "target"):
            continue
        if value is None and column == "target":
            continue
        got = "nothing" if value is None or value == "" else f"{value!r}, {type(value).__name__}"
        raise UsageError(
            f"{listed}: row {number}: expected a path or address in the column {column}, got {got}."
        )
