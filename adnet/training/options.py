"""How a training option is said: what adnet-train, its help and the printed command have in common.

A field of `TrainConfig` is annotated with an `Option`. Its name, type and default make the rest:
`val_sigma: float = 25.0` is `--val-sigma`, takes a number, and the help shows [25].
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Option:
    """What a field's name, type and default do not tell."""

    help: str
    heading: str = ""
    """Opens a section of the help, for this option and those after it."""
    shown: str = ""
    """What the help shows instead of the default."""
    zero_is_none: bool = False
    """0 on the command line is None in the config."""
    is_path: bool = False
    flag: tuple[str, str] | None = None
    """A switch and the field's value that it stands for, instead of an option with a value."""


@dataclass(frozen=True, slots=True)
class OptionField:
    """A field with its option."""

    name: str
    kind: Any
    """The field's type without None."""
    default: Any
    option: Option
    heading: str
    """Of its section of the help."""

    @property
    def flag(self) -> str:
        """As on the command line."""
        return self.option.flag[0] if self.option.flag else f"--{self.name.replace('_', '-')}"

    @property
    def is_switch(self) -> bool:
        """Whether it is on when it is given, and has no opposite."""
        return self.option.flag is not None or (self.kind is bool and self.default is False)

    @property
    def numbers(self) -> tuple[Any, ...]:
        """Types of a row of numbers, as `tuple[...]` has them; empty for any other kind."""
        row = get_args(self.kind) if get_origin(self.kind) is tuple else ()
        return row if row[:1] == (float,) else ()

    @property
    def help(self) -> str:
        """The line in the help, with the default."""
        shown = self.option.shown
        if not shown and self.default is not None and not self.is_switch:
            shown = self.text(self.default)
        return f"{self.option.help} [{shown}]" if shown else self.option.help

    def text(self, value: Any) -> str:
        """Write a value as short as the command line reads it back exactly."""
        if isinstance(value, tuple):
            same = len(value) > 1 and len(set(value)) == 1 and ... not in self.numbers
            return ",".join(map(_text, value[:1] if same else value)) or "none"
        return "0" if value is None else _text(value)


def option_fields(config: type) -> Iterator[OptionField]:
    """Go through the fields of a dataclass that have an `Option`, in order."""
    hints = get_type_hints(config, include_extras=True)
    heading = ""
    for field in dataclasses.fields(config):
        kind = hints[field.name]
        if get_origin(kind) is not Annotated:
            continue
        kind, option = get_args(kind)
        if get_origin(kind) in (Union, types.UnionType):
            (kind,) = (one for one in get_args(kind) if one is not type(None))
        heading = option.heading or heading
        yield OptionField(field.name, kind, field.default, option, heading)


def choices(fields: Iterable[OptionField]) -> dict[str, tuple[Any, ...]]:
    """Tell the words (or numbers) that fields of type `Literal` may be."""
    return {one.name: get_args(one.kind) for one in fields if get_origin(one.kind) is Literal}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)
