"""Train the catalogue of models, ship what got better, and show it beside the paper.

    python -m adnet.benchmarks.release.campaign OUT --data DATA

DATA holds the image sets by name (BSD432, PolyU to train on; BSD68, CBSD68 to measure what is
shipped). Every model has a run directory OUT/NAME; started again, the command continues where it
was, whatever ended it. On a GPU that is free for ten minutes at a time, --device cuda --hours 0.16
--no-ship trains only; the result is shipped elsewhere with --ship-only.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from adnet._cli import DebugOption, make_app, reports_errors
from adnet.benchmarks.paper import paper_psnr
from adnet.benchmarks.release.catalogue import CATALOGUE, Model
from adnet.benchmarks.release.models_page import write_page
from adnet.benchmarks.release.runs import Run, find_folders
from adnet.benchmarks.release.shipping import ship_if_better
from adnet.benchmarks.sections import table
from adnet.errors import AdnetError, UsageError
from adnet.models.shipped import WEIGHTS, pretrained_models

log = logging.getLogger(__name__)
app = make_app("Train and ship the models of the catalogue.")

PAGE = WEIGHTS.parent.parent / "docs" / "models.md"


@app.command()
@reports_errors
def main(
    out: Annotated[Path, typer.Argument(help="Folder of the runs.")],
    data: Annotated[Path, typer.Option(help="Folder that holds the image sets by name.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a model; repeat for several. [all]")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="Stop in order after so long. [when all are trained]")
    ] = None,
    device: Annotated[str, typer.Option(help="As for adnet-train.")] = "cpu",
    ship: Annotated[bool, typer.Option(help="Ship what is better than what is shipped.")] = True,
    ship_only: Annotated[
        bool, typer.Option("--ship-only", help="Train nothing; runs may be going on.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Train the models in order, ship what got better, print a table beside the paper.

    Exit status: 0 done or time is up, 1 a model was left out for the reason printed.
    """
    if hours is not None and not hours > 0:
        raise UsageError(f"--hours must be above 0, got {hours}.")
    if ship_only and not ship:
        raise UsageError("--ship-only and --no-ship leave nothing to do.")
    models = choose(only)
    folders = find_folders(models, data, out)
    deadline = None if hours is None else time.monotonic() + 3600 * hours
    problems = []
    if ship_only:
        problems = ship_runs([Run(out, one) for one in models], folders)
    else:
        if device.startswith("cpu"):
            give_way()
        with only_one(out):
            problems = run_campaign(out, models, folders, device, deadline, is_shipping=ship)
    typer.echo("\n".join(progress_table([Run(out, one) for one in models])))
    for problem in problems:
        typer.echo(f"left out: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


def choose(names: Sequence[str] | None) -> list[Model]:
    """Return the models of these names, in the catalogue's order; None means all.

    Raises:
        UsageError: a name is not in the catalogue.
    """
    known = {one.name for one in CATALOGUE}
    for name in names or ():
        if name not in known:
            raise UsageError(f"--only {name}: not in the catalogue ({', '.join(sorted(known))}).")
    return [one for one in CATALOGUE if not names or one.name in names]


def run_campaign(
    out: Path,
    models: Sequence[Model],
    folders: Mapping[str, Path],
    device: str,
    deadline: float | None,
    *,
    is_shipping: bool,
) -> list[str]:
    """Train models in order, and ship each when it is done; one that fails stops no other.

    Args:
        deadline: of `time.monotonic`.

    Returns:
        Why models were left out.
    """
    problems = []
    for model in models:
        if deadline is not None and time.monotonic() > deadline:
            break
        run = Run(out, model)
        try:
            if not run.is_done and not run.train(folders, device, deadline):
                break
        except AdnetError as err:
            problems.append(str(err))
            continue
        if is_shipping:
            problems += ship_runs([run], folders)
    return problems


def ship_runs(runs: Sequence[Run], folders: Mapping[str, Path]) -> list[str]:
    """Ship what is better, finished or not, and rewrite docs/models.md if anything was.

    So does the next call, if this one is killed in between.

    Returns:
        Why runs were left out.
    """
    problems = []
    for run in runs:
        if not run.best.exists():
            continue
        try:
            run.settings(folders, "cpu")  # refuses what was trained on other data
            ship_if_better(run, folders)
        except AdnetError as err:
            problems.append(str(err))
    if due := [run.page_is_due for run in runs if run.page_is_due.exists()]:
        write_page(PAGE)
        log.info("wrote %s", PAGE)
        for mark in due:
            mark.unlink(missing_ok=True)
    return problems


def progress_table(runs: Sequence[Run]) -> list[str]:
    """Show how far every run is, and what is shipped beside the paper."""
    cards = {one.name: one.card for one in pretrained_models()}
    rows = []
    for run in runs:
        name, state = run.model.name, run.describe()
        card = cards.get(name)
        if card is None:
            rows.append([name, state, "not shipped", "", "", "", ""])
            continue
        before = len(rows)
        for dataset, at in card.training.get("test_psnr", {}).items():
            for sigma, psnr in at.items():
                paper = paper_psnr(dataset, float(sigma), card.is_blind)
                beside = ["-", "-"] if paper is None else [f"{paper:.2f}", f"{psnr - paper:+.3f}"]
                rows.append([name, state, dataset, sigma, f"{psnr:.3f}", *beside])
        for dataset, found in card.training.get("test_pairs", {}).items():
            noisy = f"{found['noisy']:.3f} noisy"
            gain = f"{found['denoised'] - found['noisy']:+.3f}"
            rows.append([name, state, dataset, "real", f"{found['denoised']:.3f}", noisy, gain])
        if len(rows) == before:
            rows.append([name, state, "not measured", "", "", "", ""])
    return table(["model", "run", "data", "sigma", "shipped", "paper", "difference"], rows)


def give_way() -> None:
    """Leave the processor to whoever else wants it: training is for the hours that are left."""
    with suppress(OSError):
        os.nice(19)
    with suppress(OSError):  # Linux groups processes by session, and nice counts within one alone
        Path("/proc/self/autogroup").write_text("19", encoding="ascii")


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Refuse to train where another campaign trains.

    Raises:
        UsageError: there is one.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("a", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go when we die
        except BlockingIOError as err:
            raise UsageError(
                f"{out}: another campaign is at work there. Wait for it, stop it, or only ship "
                "with --ship-only."
            ) from err
        yield


if __name__ == "__main__":
    app()
