"""adnet-serve: images over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adnet._cli import DebugOption, VersionOption, make_app, reports_errors
from adnet.provenance import usable_cores

app = make_app("Serve a denoiser over HTTP, on Ray Serve.")


@app.command()
@reports_errors
def run(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model to offer: a shipped name or a file; repeatable, the first is the default. "
            "Default: the blind model that fits the image, and every shipped one by its name."
        ),
    ] = None,
    replicas: Annotated[
        str, typer.Option(metavar="N or MIN:MAX", help="Copies of the model, as many as needed.")
    ] = "1",
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of a replica. Default: the cores shared out.")
    ] = None,
    npus: Annotated[int, typer.Option(help="Ascend devices of a replica.")] = 0,
    backend: Annotated[
        str | None, typer.Option(help="Runtime. Default: chosen by the model file's suffix.")
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(help="Largest side in pixels of what the network sees, as in adnet-run."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token to ask for. Default: $ADNET_SERVE_TOKEN, or none."),
    ] = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Listen to other machines without a token.")
    ] = False,
    queue: Annotated[int, typer.Option(help="Images that may wait; more are told 503.")] = 16,
    max_body: Annotated[str, typer.Option(help="Largest file, such as 64M.")] = "64M",
    max_pixels: Annotated[int, typer.Option(help="Refuse larger images.")] = 50_000_000,
    body_seconds: Annotated[float, typer.Option(help="Time for a file to come in.")] = 30.0,
    timeout: Annotated[float, typer.Option(help="Time for an answer, in seconds.")] = 300.0,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to run in. Default: this machine alone.")
    ] = None,
    debug: DebugOption = False,
    version: VersionOption = False,
) -> None:
    """Serve a denoiser over HTTP until Ctrl-C.

    curl --data-binary @noisy.png localhost:8000/denoise -o denoised.png

    There is no TLS: let a proxy in front of it do that.
    """
    from adnet.runtime.backend import RunOptions  # noqa: PLC0415
    from adnet.runtime.serve.environment import prepare, require_ray  # noqa: PLC0415
    from adnet.runtime.serve.limits import (  # noqa: PLC0415
        Limits,
        parse_bytes,
        read_token,
        require_safe,
    )
    from adnet.runtime.serve.offer import Offer, offered_models, parse_replicas  # noqa: PLC0415

    least, most = parse_replicas(replicas)
    threads = threads or max(1, usable_cores() // most)
    limits = Limits(parse_bytes("--max-body", max_body), max_pixels, queue, body_seconds, timeout)
    token = read_token(token_file)
    require_safe(host, token, open_to_all=no_token)
    options = RunOptions(threads=None if npus else threads)
    offer = Offer(offered_models(model or []), max_pixels, options, backend, tile)

    require_ray()
    prepare(alone=address is None)
    from adnet.runtime.serve.deploy import Place, run_server  # noqa: PLC0415  (imports ray)

    place = Place(host, port, (least, most), threads, npus, address)

    def tell(url: str) -> None:
        asks = "asks for the token" if token else "asks for no token"
        typer.echo(f"serving on {url} ({asks}); Ctrl-C ends it", err=True)

    run_server(place, limits, offer, token, tell)


def main() -> None:
    """Entry point of adnet-serve."""
    app()


if __name__ == "__main__":
    main()
