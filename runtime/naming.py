"""How results are named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from adnet.errors import UsageError
from adnet.images.formats.kinds import FORMATS
from adnet.runtime.choices import FileFormat

_SUFFIXES = {"tiff": ".tif"}


@dataclass(frozen=True, slots=True)
class Naming:
    """How the name of a result is made of that of its input.

    Raises:
        UsageError: no name can be made so.
    """

    suffix: str = ""
    """Put behind the name, before the dot: `_clean` makes a_clean.png of a.png."""
    format: FileFormat | None = None
    """Format to write, by which the ending is chosen; None: that of the input."""

    def __post_init__(self) -> None:
        if not isinstance(self.suffix, str):
            raise UsageError(f"suffix: expected a text, got {self.suffix!r}.")
        if any(sign in self.suffix for sign in "/\\\0") or self.suffix.startswith("."):
            raise UsageError(
                f"suffix: expected what is to stand behind a name, such as _clean, got "
                f"{self.suffix!r}. An ending is chosen by the format."
            )
        if self.format not in (None, *get_args(FileFormat)):
            raise UsageError(
                f"format must be one of {', '.join(get_args(FileFormat))}, got {self.format!r}."
            )

    @property
    def ending(self) -> str:
        """The ending of the chosen format; empty where none is chosen."""
        return "" if self.format is None else _SUFFIXES.get(self.format, f".{self.format}")

    def result(self, source: Path) -> Path:
        """Return the path of a result that lies beside its input; only the name counts."""
        ending = source.suffix
        if self.ending and FORMATS.get(ending.lower()) != FORMATS[self.ending]:
            ending = self.ending
        return source.with_name(source.stem + self.suffix + ending)

    def is_result(self, path: Path) -> bool:
        """Tell whether a file is named like a result, not like an input."""
        return bool(self.suffix) and path.stem.endswith(self.suffix)

    def check_file(self, output: Path) -> None:
        """Make sure that the name of an output file agrees.

        Raises:
            UsageError: it asks for another format.
        """
        if self.ending and FORMATS.get(output.suffix.lower()) != FORMATS[self.ending]:
            raise UsageError(
                f"{output}: format {self.format} does not agree with that name. Leave out one of "
                "the two."
            )
