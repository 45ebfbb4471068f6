"""Training steps on a CPU: ours beside those of the ModelZoo script.

    python -m adnet.benchmarks.studies.training_step [--batch 128] [--threads 2] [--rounds 5]

Both train the same network on the same patches with the same batch and threads. The ModelZoo loop
(Ascend/ModelZoo-PyTorch, PyTorch/contrib/cv/others/ADNet/train.py) is rebuilt from its description,
for measurement only: an HDF5 file with one float dataset a patch, opened for every item; noise and
loss made on the CPU; a second forward pass in evaluation mode after every step, to print its PSNR.
Each runs in a process of its own; they take turns, so that a noisy machine disturbs both alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer

from adnet._cli import make_app, reports_errors
from adnet.images.levels import WHITE, from_levels, to_levels
from adnet.images.synthetic import render

app = make_app("Training steps beside the ModelZoo script's.")

_STEPS_A_ROUND = 2


@app.command()
@reports_errors
def compare(
    batch: Annotated[int, typer.Option(help="Patches of 50x50 a step.")] = 128,
    threads: Annotated[int, typer.Option(help="Threads of each side.")] = 2,
    rounds: Annotated[int, typer.Option(help="Turns of each side.")] = 5,
    loader_workers: Annotated[
        int, typer.Option(help="Loader processes of the ModelZoo side (the script has 16).")
    ] = 2,
) -> None:
    """Measure both sides in turns and print the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        stores = _prepare(Path(folder), batch)
        sides = [
            _start(_modelzoo_side, stores, batch, threads, loader_workers),
            _start(_our_side, stores, batch, threads, loader_workers),
        ]
        for ask in sides:
            ask()  # warm-up
        results = []
        for number in range(1, rounds + 1):
            theirs, ours = (batch * _STEPS_A_ROUND / ask() for ask in sides)
            results.append(ours / theirs)
            typer.echo(
                f"round {number}: ModelZoo loop {theirs:.2f} patches/s, adnet {ours:.2f}, "
                f"ratio {ours / theirs:.2f}"
            )
    typer.echo(
        f"median ratio {median(results):.2f} ({min(results):.2f} to {max(results):.2f}), batch "
        f"{batch}, {threads} threads, {rounds} rounds of {_STEPS_A_ROUND} steps"
    )


def _start(side: Callable[..., None], *args: Any) -> Callable[[], float]:
    """Start a side; the returned function lets it take its steps and gives the seconds."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    # No daemon: the ModelZoo side starts loader processes of its own.
    context.Process(target=side, args=(theirs, *args)).start()
    theirs.close()

    def ask() -> float:
        ours.send(None)
        return float(ours.recv())

    return ask


def _prepare(folder: Path, batch: int) -> tuple[Path, Path]:
    """Write the same patches as one dataset and as one dataset a patch."""
    import h5py

    count = 4 * batch
    images = [render(50, 50, 1, seed) for seed in range(count)]
    patches = np.stack([to_levels(image)[None] for image in images])
    whole, keyed = folder / "train.h5", folder / "keyed.h5"
    with h5py.File(whole, "w") as file:
        file["patches"] = patches
    with h5py.File(folder / "val.h5", "w") as file:
        file["images/0"] = patches[0]
    with h5py.File(keyed, "w") as file:
        for index, patch in enumerate(patches):
            file[str(index)] = from_levels(patch)
    return whole, keyed


def _serve(pipe: Connection, step: Callable[[], None]) -> None:
    """Take steps whenever asked, until the other end is closed."""
    import time  # noqa: PLC0415

    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        began = time.perf_counter()
        for _ in range(_STEPS_A_ROUND):
            step()
        pipe.send(time.perf_counter() - began)


def _our_side(
    pipe: Connection, stores: tuple[Path, Path], batch: int, threads: int, _workers: int
) -> None:
    import torch

    from adnet.training.config import TrainConfig  # noqa: PLC0415
    from adnet.training.data import load_training_data, make_batch  # noqa: PLC0415
    from adnet.training.learner import Learner  # noqa: PLC0415
    from adnet.training.world import World  # noqa: PLC0415

    torch.set_num_threads(threads)
    world = World(torch.device("cpu"))
    config = TrainConfig(data=(str(stores[0]),), sigma=(25.0, 25.0), batch=batch, steps=1)
    data = load_training_data(config, world.device)
    learner = Learner(config, world, None)

    def step() -> None:
        noisy, clean = make_batch(config, data, world, learner.step)
        learner.learn(noisy, clean, 1e-3)

    _serve(pipe, step)


def _modelzoo_side(
    pipe: Connection, stores: tuple[Path, Path], batch: int, threads: int, workers: int
) -> None:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader

    from adnet.images.metrics import psnr  # noqa: PLC0415
    from adnet.models.network import ADNet  # noqa: PLC0415

    torch.set_num_threads(threads)
    network = ADNet(1)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    loader: DataLoader[Any] = DataLoader(
        _KeyedPatches(stores[1]),  # type: ignore[arg-type]
        batch, shuffle=True, num_workers=workers, drop_last=True,
    )  # fmt: skip
    batches = iter(loader)

    def step() -> None:
        nonlocal batches
        try:
            clean = next(batches)
        except StopIteration:
            batches = iter(loader)
            clean = next(batches)
        network.train()
        noisy = clean + torch.empty(clean.shape).normal_(mean=0, std=25 / WHITE)
        denoised = network(noisy)
        loss = nn.functional.mse_loss(denoised.cpu(), clean.cpu(), reduction="sum")
        loss = loss / (len(noisy) * 2)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        network.eval()
        again = torch.clamp(network(noisy), 0, 1).detach().numpy()
        np.mean([psnr(one, other) for one, other in zip(clean.numpy(), again, strict=True)])
        loss.item()

    _serve(pipe, step)


class _KeyedPatches:
    """One float dataset a patch; the file is opened for every item."""

    def __init__(self, path: Path) -> None:
        import h5py

        self._path = path
        with h5py.File(path, "r") as file:
            self._keys = list(file)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Any:
        import h5py
        import torch

        with h5py.File(self._path, "r") as file:
            return torch.from_numpy(np.array(file[self._keys[index]]))


if __name__ == "__main__":
    app()
