"""A small campaign in a process of its own that ends itself, by SIGKILL, at a given moment.

python campaign_worker.py OUT DATA MOMENT, where a moment is `NAME:STEP`, `NAME:end` (trained, not
yet marked as done) or `never`.
"""

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from adnet.benchmarks.release import campaign, runs
from adnet.benchmarks.release.catalogue import Model

TINY = {
    "patch": 16,
    "batch": 2,
    "val_images": 1,
    "val_every": 4,
    "save_every": 5,
    "warmup_steps": 2,
}
MODELS = (
    Model("first", 1, (0.0, 55.0), 12, 1e-3, ("gray-blind",), data="Mine", options=TINY),
    Model("second", 1, (25.0, 25.0), 12, 1e-3, ("first",), data="Mine", options=TINY),
)
original = runs.run_training


def run(out: Path, data: Path, moment: str) -> list[str]:
    def deadly(config, run, *, resume, display):
        def die_at(point):
            if moment == f"{run.name}:{point}":
                os.kill(os.getpid(), signal.SIGKILL)

        @contextmanager
        def watched():
            with display() as show:

                def watch(progress):
                    show(progress)
                    die_at(progress.step)

                yield watch

        best = original(config, run, resume=resume, display=watched)
        die_at("end")
        return best

    runs.run_training = deadly
    try:
        return campaign.run_campaign(out, MODELS, {"Mine": data}, "cpu", None, is_shipping=False)
    finally:
        runs.run_training = original


if __name__ == "__main__":
    assert run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]) == []
