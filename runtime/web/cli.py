"""adnet-web: a page on this machine to denoise with."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, Any

import typer

from adnet._cli import (
    DebugOption,
    QuietOption,
    VersionOption,
    end_like_ctrl_c,
    make_app,
    reports_errors,
)

app = make_app("Serve a page to denoise with and to look at the result.")


@app.command()
@reports_errors
def web(
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. There is no login: on any but this machine's own, all who "
            "reach it can use the page."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any that is free.")] = 7860,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model file of your own to offer beside the shipped ones; repeatable."),
    ] = None,
    max_pixels: Annotated[int, typer.Option(help="Largest image.")] = 50_000_000,
    max_files: Annotated[int, typer.Option(help="Most files at once.")] = 100,
    max_megabytes: Annotated[int, typer.Option(help="Largest file.")] = 500,
    queue: Annotated[int, typer.Option(help="Orders that may wait; more get status 503.")] = 16,
    quiet: QuietOption = False,
    debug: DebugOption = False,
    version: VersionOption = False,
) -> None:
    """Serve a page to denoise with: drop images, compare under a slider, download.

    What is brought stays on this machine, and is removed when the page is closed or this ends. The
    page asks no other host for anything. Ctrl-C ends it at once, as SIGTERM and SIGHUP do.
    """
    import socket  # noqa: PLC0415

    import uvicorn  # noqa: PLC0415

    from adnet.errors import UsageError  # noqa: PLC0415
    from adnet.runtime.web.desk import Desk  # noqa: PLC0415
    from adnet.runtime.web.offers import cards_of, devices_here, offered  # noqa: PLC0415
    from adnet.runtime.web.server import Server  # noqa: PLC0415
    from adnet.runtime.web.store import Limits, Store  # noqa: PLC0415

    limits = Limits(
        pixels=max_pixels, files=max_files, file_bytes=max_megabytes * 1_000_000, queue=queue
    )
    models = offered(model or [])
    cards = cards_of(models)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not 0 <= port <= 65535:
        raise UsageError(f"--port must be 0 to 65535, got {port}.")
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as err:
        raise UsageError(
            f"cannot listen on {host}, port {port}: {err.strerror or err}. Give another --port, or "
            "--port 0 for any that is free."
        ) from err
    here = host in ("127.0.0.1", "::1", "localhost")
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}/"
    if not here:
        typer.echo(
            f"warning: whoever can reach {host} can use this page; it has no login and no "
            "encryption.", err=True,
        )  # fmt: skip
    _end_in_order()
    store = Store(limits)
    desk = Desk(models, limits)
    try:
        hosts = ["127.0.0.1", "localhost", "[::1]"] if here else None
        server = Server(store, desk, cards, devices_here, hosts)
        settings = uvicorn.Config(
            server.app(), log_level="critical", access_log=False, timeout_graceful_shutdown=1,
            server_header=False, limit_concurrency=512,
        )  # fmt: skip
        if not quiet:
            typer.echo(f"serving {address} until Ctrl-C", err=True)
        _serve(uvicorn.Server(settings), listener)
    finally:
        for which in _endings():
            signal.signal(which, signal.SIG_IGN)  # a second one must not leave files behind
        desk.close()
        store.close()
    # Not a return: that would wait for the tile in work, and for threads of runtimes.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _endings() -> list[signal.Signals]:
    """List the signals that end this program: Windows has no SIGHUP."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _end_in_order() -> None:
    """Let SIGTERM and SIGHUP end it in order, too.

    uvicorn ends in order on SIGTERM, and raises it again for the handler that was there before.
    SIGHUP it does not know. Under nohup, SIGHUP stays ignored.
    """

    def hang_up(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    end_like_ctrl_c()
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, hang_up)


def _serve(server: Any, listener: Any) -> None:
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn has ended in order and raises the signal again
        pass
    finally:
        listener.close()


def main() -> None:
    """Entry point of adnet-web."""
    app()


if __name__ == "__main__":
    main()
