"""What a worker process does in the contract tests; imported by the process that is spawned."""

from pathlib import Path

from adnet.runtime.backend import RunOptions
from adnet.runtime.registry import open_backend


def infer(model, name, options, batch):
    with open_backend(Path(model), name, RunOptions(**options)) as backend:
        return backend.infer(batch)
