"""Runs a job on a cluster with a backend whose device is lost: losing.py IN OUT ADDRESS MODEL.

The first worker that opens a model named `once...` loses its device; with another name, all do.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from smear import SmearBackend

from adnet.errors import AdnetError, DeviceLostError
from adnet.models.card import ModelCard
from adnet.runtime.cluster.options import ClusterOptions
from adnet.runtime.cluster.run import run_on_cluster
from adnet.runtime.jobs import plan_jobs
from adnet.runtime.registry import BACKENDS, BackendEntry
from adnet.runtime.settings import Settings


class LosingBackend(SmearBackend):
    name = "losing"

    def __init__(self, model, options):
        super().__init__(model, options)
        self._is_lost = True
        if model.name.startswith("once"):
            try:
                model.with_suffix(".lost").touch(exist_ok=False)
            except FileExistsError:
                self._is_lost = False
        self._calls = 0

    def _infer(self, batch):
        self._calls += 1
        if self._is_lost and self._calls > 1:
            raise DeviceLostError("the device is gone (507899)", 507899)
        return super()._infer(batch)


@dataclass(frozen=True)
class LosingSettings(Settings):
    """Opens the backend above, on the worker."""

    def open_denoiser(self):
        BACKENDS["losing"] = BackendEntry("losing:LosingBackend", (".losing",), "")
        return Settings.open_denoiser(self)


def main():
    source, out, address, model = sys.argv[1:]
    Path(model).write_text(ModelCard(1, name="losing").to_json())
    options = ClusterOptions(address, images_per_task=2, wave=12)
    try:
        summary = run_on_cluster(
            plan_jobs([Path(source)], Path(out)), options, LosingSettings(model)
        )
    except AdnetError as err:
        sys.exit(f"{type(err).__name__}: {err}")
    told = {"written": len(summary.written), "failed": len(summary.failed)}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    from losing import main as imported  # by this name the workers know the class

    imported()
