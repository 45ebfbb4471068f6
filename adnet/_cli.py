"""What every command line program of adnet shares: errors, exit status, logging, progress.

Command bodies only turn options into one call that a Python user could make.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from adnet import __version__
from adnet._streams import secure_streams
from adnet.errors import AdnetError, UsageError
from adnet.extras import install_extra
from adnet.file_errors import explain_file_error
from adnet.out_of_memory import explain_memory_error
from adnet.shown import one_line

_EXTRAS = {
    "torch": "train",
    "h5py": "data",
    "pooch": "data",
    "onnx": "convert",
    "onnxsim": "export",
    "matplotlib": "plot",
    "openvino": "openvino",
    "ray": "serve",
    "prometheus_client": "serve",
    "tritonclient": "triton",
    "ncnn": "peers",
    "MNN": "mnn",
    "starlette": "web",
    "uvicorn": "web",
    "_tools": "mnn",  # a module of MNN
    "s3fs": "s3",
    "pyarrow": "cluster",
    "tifffile": "gigapixel",
    "imagecodecs": "gigapixel",
    "zarr": "gigapixel",
}
"""Packages that the base install lacks -> the extra that brings them."""

Command = TypeVar("Command", bound=Callable[..., Any])


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adnet {__version__}")
        raise typer.Exit


DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show the Python traceback of an error, and debug logs.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
VersionOption = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
]


def make_app(help_text: str) -> typer.Typer:
    """Create a Typer app that looks and fails the same in every program."""
    return _App(
        help=help_text,
        no_args_is_help=True,
        # Plain help: importing rich would double the time that --help takes.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


class _App(typer.Typer):
    """An app whose messages never end it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        secure_streams()
        given = kwargs.get("args", args[0] if args else None)
        _refuse_empty_texts(sys.argv[1:] if given is None else given)
        try:
            return super().__call__(*args, **kwargs)
        except OSError as err:  # outside a command's body: --help or --version on a full disk
            typer.echo(f"error: {explain_file_error(err)}", err=True)
            sys.exit(1)


_MAY_BE_EMPTY = ("--suffix", "--megapixels", "--batch", "--threads", "--streams")
"""Options whose text may be empty, or whose program tells by itself what it lacks."""


def _refuse_empty_texts(words: Sequence[str]) -> None:
    """Refuse an empty text: as a path, as of `-o "$UNSET"`, it would mean the folder here."""
    for before, word in pairwise(["", *words]):
        option = before if not word else word.removesuffix("=")
        if word and (option == word or not word.startswith("-")):
            continue
        if option not in _MAY_BE_EMPTY:
            where = option if option.startswith("--") or word or option == "-o" else "an argument"
            typer.echo(
                f"error: {where}: expected a value, got an empty text. Is a variable not set? The "
                "folder here is '.'.",
                err=True,
            )
            sys.exit(2)


def reports_errors(command: Command) -> Command:
    """Turn the errors of a command body into one line on stderr and an exit status.

    AdnetError: its own status; Ctrl-C: 130; anything else: 1, with a request to report it. With
    the parameter `debug` set, the traceback is shown too.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        debug = bool(kwargs.get("debug"))
        _let_second_interrupt_end()
        # Of others, such as botocore, INFO is not for users.
        others = logging.DEBUG if debug else logging.WARNING
        logging.basicConfig(level=others, format="%(message)s", stream=sys.stderr)
        for ours in ("adnet", "__main__"):
            logging.getLogger(ours).setLevel(logging.DEBUG if debug else logging.INFO)
        try:
            return command(*args, **kwargs)
        except AdnetError as err:
            _fail(str(err), err.exit_status, err if debug else None)
        except KeyboardInterrupt as err:
            _fail("interrupted; what was finished is kept.", 130, err if debug else None)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except ModuleNotFoundError as err:
            extra = _EXTRAS.get((err.name or "").partition(".")[0])
            if extra is None:
                raise
            hint = f"Install it: {install_extra(extra)}."
            _fail(f"{err.name} is not installed. {hint}", 2, err if debug else None)
        except OSError as err:
            _fail(explain_file_error(err), 1, err if debug else None)
        except Exception as err:  # noqa: BLE001  (the last line of defence against a traceback)
            from adnet.npu_versions import explain_import_error  # noqa: PLC0415

            answer = explain_import_error(err)
            if answer is not None:
                _fail(answer, 2, err if debug else None)
            answer = explain_memory_error(err, _sizes_of(kwargs))
            if answer is not None:
                _fail(answer, 1, err if debug else None)
            hint = "This is a bug in adnet; please report it with the output of --debug."
            first_line = next(iter(str(err).splitlines()), "")
            _fail(f"{type(err).__name__}: {first_line}. {hint}", 1, err if debug else None)

    return wrapped  # type: ignore[return-value]


def _sizes_of(options: Mapping[str, Any]) -> str:
    """Name those options of a command that say how much it works on at once."""
    return " or ".join(
        f"--{name}" for name in ("batch", "patch", "size", "tile") if name in options
    )


def _let_second_interrupt_end() -> None:
    """Let the first Ctrl-C stop the work in order, and the second end the program at once.

    Threads that wait for a device that no longer answers would keep it from ending. Files appear
    whole or not at all, so nothing is left half written.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return

    def end(*_: object) -> None:
        with suppress(OSError):  # nobody may read it any more
            os.write(2, b"error: interrupted twice; ended at once.\n")
        os._exit(130)

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, end)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)


def end_like_ctrl_c() -> None:
    """Let what ends services, SIGTERM, end the work in order, too."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def print_json(data: Any) -> None:
    r"""Print JSON on stdout; paths become text.

    It is ASCII, so that every stdout can take it. A byte of a name that is not valid UTF-8 is
    written as a lone surrogate (0xE9 as `\udce9`): `os.fsencode(json.loads(text)[...])` has the
    name's bytes back. What is infinite or no number, which JSON has no word for, becomes null: the
    PSNR of two equal images.
    """
    typer.echo(json.dumps(_finite(data), default=str, indent=2, allow_nan=False))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(one) for key, one in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(one) for one in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def parse_numbers(text: str, option: str, count: int) -> tuple[float, ...]:
    """Read `count` numbers separated by commas.

    Raises:
        UsageError: naming the option.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        expected = "a number" if count == 1 else f"{count} numbers separated by a comma"
        raise UsageError(f"{option}: expected {expected}, got {text!r}.")
    return numbers


def parse_whole_numbers(text: str, option: str, count: int) -> tuple[int, ...]:
    """Read `count` whole numbers separated by commas.

    Raises:
        UsageError: naming the option.
    """
    numbers = parse_numbers(text, option, count)
    if not all(number.is_integer() for number in numbers):
        raise UsageError(f"{option}: expected whole numbers, got {text!r}.")
    return tuple(map(int, numbers))


class ProgressBar:
    """A bar over a fraction, with a text of the caller's; messages go above it."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._shown = 0
        self._drawn_at = 0.0

    def show(self, fraction: float, text: str) -> None:
        """Move to `fraction` of the whole; redraws at most ten times a second."""
        now = time.monotonic()
        if self._bar is None or (now - self._drawn_at < 0.1 and fraction < 1):
            return
        self._drawn_at = now
        position = int(fraction * self._bar.length)
        self._bar.current_item = text
        self._bar.update(position - self._shown)
        self._shown = position

    def message(self, text: str) -> None:
        """Write a line to stderr; the bar is drawn again below it."""
        text = one_line(text)
        if self._bar is None:
            typer.echo(text, err=True)
            return
        # Back to the start of the bar's line, and clear it.
        sys.stderr.write(f"\r\x1b[K{text}\n")
        sys.stderr.flush()
        self._bar._last_line = None  # noqa: SLF001  (it draws only what has changed)
        self._bar.render_progress()


class _ProgressLines(ProgressBar):
    """Without a terminal: a line every ten seconds."""

    def __init__(self, label: str) -> None:
        super().__init__(None)
        self._label, self._drawn_at = label, time.monotonic()

    def show(self, fraction: float, text: str) -> None:
        now = time.monotonic()
        if now - self._drawn_at >= LINE_SECONDS:
            self._drawn_at = now
            typer.echo(f"{self._label}: {fraction:.0%}, {text}", err=True)


LINE_SECONDS = 10.0
"""Between two lines of progress where there is no terminal."""


@contextmanager
def progress_bar(label: str, quiet: bool, *, lines: bool = False) -> Iterator[ProgressBar]:
    """Show a bar with percentage and ETA on stderr while a block runs.

    Shows nothing when `quiet`. When stderr is no terminal, a line every ten seconds with `lines`,
    else nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield _ProgressLines(label) if lines and not quiet else ProgressBar(None)
        return
    with typer.progressbar(
        length=10_000,
        label=label,
        file=sys.stderr,
        item_show_func=lambda text: text or "",
    ) as bar:
        yield ProgressBar(bar)


def _fail(message: str, status: int, cause: BaseException | None) -> NoReturn:
    if cause is not None:
        import traceback  # noqa: PLC0415  (only with --debug)

        traceback.print_exception(cause)
    typer.echo(f"error: {one_line(message)}", err=True)
    raise typer.Exit(status)
