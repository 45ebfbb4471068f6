"""The fields of a dataclass as typer's options: made of `OptionField`s, and read back."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from adnet._cli import parse_numbers
from adnet.training.options import OptionField

Command = TypeVar("Command", bound=Callable[..., None])


def takes_fields(fields: Iterable[OptionField]) -> Callable[[Command], Command]:
    """Give a command an option for each field, in place of its `**` parameter.

    All are None unless they are given: what is left out is for the library to choose. In the help
    they stand before the command's keyword-only options.
    """
    keyword = inspect.Parameter.KEYWORD_ONLY
    made = [
        inspect.Parameter(field.name, keyword, default=None, annotation=_annotation(field))
        for field in fields
    ]

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        before = [one for one in own if one.kind is not keyword]

        @functools.wraps(command)
        def wrapped(**given: Any) -> None:
            command(**given)

        wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*before, *made, *own[len(before) :]]
        )
        return wrapped  # type: ignore[return-value]

    return decorate


def _annotation(field: OptionField) -> Any:
    """What typer makes an option of."""
    names = [field.flag]
    kind: Any = field.kind
    if field.is_switch:
        kind = bool
    elif kind is bool:
        names = [f"{field.flag}/--no-{field.flag[2:]}"]
    elif field.numbers:
        kind = str
    elif kind == tuple[str, ...]:
        kind = list[Path] if field.option.is_path else list[str]
    return Annotated[
        kind | None,
        typer.Option(*names, help=field.help, rich_help_panel=field.heading or None),
    ]


def read_fields(fields: Iterable[OptionField], given: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what typer read into values of the fields; those that are not given are left out.

    Raises:
        UsageError: a row of numbers is none.
    """
    return {
        field.name: _read(field, given[field.name])
        for field in fields
        if given.get(field.name) is not None
    }


def _read(field: OptionField, value: Any) -> Any:
    if field.option.flag:
        return field.option.flag[1]
    if field.option.zero_is_none and value == 0:
        return None
    if isinstance(value, list):
        return tuple(map(str, value))
    if not field.numbers:
        return value
    if ... not in field.numbers:
        count = len(field.numbers)
        is_one = "," not in value  # for both ends
        return parse_numbers(value, field.flag, 1 if is_one else count) * (count if is_one else 1)
    return () if value == "none" else parse_numbers(value, field.flag, value.count(",") + 1)


class SectionedCommand(TyperCommand):
    """A command whose help has a section for every `rich_help_panel`, after that of the others."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options into the help."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            title = getattr(param, "rich_help_panel", None)
            if title is None:
                title = "Arguments" if param.param_type_name == "argument" else "Options"
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
