"""python -m adnet: say what programs there are."""

from __future__ import annotations

import sys

import typer

from adnet import __version__
from adnet._streams import secure_streams

PROGRAMS = {
    "adnet-run": ("adnet.runtime.cli", "denoise files and folders"),
    "adnet-train": ("adnet.training.cli", "train on images, pairs or stores"),
    "adnet-data": ("adnet.data.cli", "fetch image sets, prepare training data"),
    "adnet-export": ("adnet.export.cli", "make ONNX and OM files, and compare them"),
    "adnet-serve": ("adnet.runtime.serve.cli", "denoise images over HTTP, on Ray Serve"),
    "adnet-web": ("adnet.runtime.web.cli", "denoise on a page, and look at the result"),
    "adnet-bench": ("adnet.benchmarks.cli", "measure speed and quality"),
}
"""As in pyproject.toml."""


def main() -> None:
    """List the programs, and how they are started without being on the path."""
    secure_streams()
    asked = sys.argv[1:]
    if asked == ["--version"]:
        typer.echo(f"adnet {__version__}")
        return
    if asked and asked not in (["-h"], ["--help"]):
        typer.echo(
            "error: python -m adnet only lists the programs, and takes no arguments. Start one by "
            "its name, or by python -m MODULE as listed there.",
            err=True,
        )
        raise SystemExit(2)
    typer.echo(f"adnet {__version__}, the ADNet image denoiser. Programs, each with --help:\n")
    for name, (module, job) in PROGRAMS.items():
        typer.echo(f"  {name:<13} {job:<41} python -m {module}")


if __name__ == "__main__":
    main()
