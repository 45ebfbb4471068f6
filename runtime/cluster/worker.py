"""What runs on the cluster: an actor that opens a model once and works through blocks of rows."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from adnet.errors import AdnetError

Row = dict[str, Any]
"""One job as JSON holds it: addresses or numbers, never pixels."""

_PARKED = (3.0, 60.0)
"""Seconds that a parked worker takes for its first and for any later block."""


@dataclass(slots=True)
class Answer:
    """What a worker says of a block."""

    done: dict[str, Any] = field(default_factory=dict)
    """What the task says of the rows that it worked through."""
    left: list[Row] = field(default_factory=list)
    """Rows to be planned again, elsewhere."""
    lost: AdnetError | None = None
    """Why."""
    models: list[dict[str, str]] = field(default_factory=list)


class RowWork(Protocol):
    """An opened task."""

    def run_rows(self, rows: list[Row]) -> Answer:
        """Work through rows; a lost device is told in the answer, not raised."""


class Task(Protocol):
    """What is to be done with each row; can be pickled."""

    def open(self, sharers: int) -> RowWork:
        """Open the model.

        Args:
            sharers: workers that fit on this machine.

        Raises:
            AdnetError: it cannot be opened here.
        """


class Worker:
    """A class for `map_batches`: a block of rows in, one answer out.

    It never raises what belongs to its own machine: that would end the whole job. It parks instead:
    from then on it hands its blocks back, and slowly, so that healthy workers take most of them.
    """

    def __init__(self, task: Task, needs: dict[str, int]) -> None:
        logging.disable(logging.INFO)
        self._task = task
        self._needs = needs
        self._work: RowWork | None = None
        self._lost: AdnetError | None = None
        self._wait = _PARKED[0]

    def __call__(self, table: Any) -> Any:
        """Turn a table of rows into a table of one answer."""
        rows = [json.loads(text) for text in table["row"].to_pylist()]
        answer = self._answer(rows)
        lost = None if answer.lost is None else [type(answer.lost).__name__, str(answer.lost)]
        told = {"done": answer.done, "left": answer.left, "lost": lost, "models": answer.models,
                "worker": f"{os.uname().nodename}:{os.getpid()}"}  # fmt: skip
        return table.slice(0, 1).drop_columns(["row"]).append_column("answer", [[json.dumps(told)]])

    def _answer(self, rows: list[Row]) -> Answer:
        if self._lost is None and self._work is None:
            try:
                self._work = self._task.open(_sharers(self._needs))
            except AdnetError as err:
                self._lost = err
        if self._work is None or self._lost is not None:
            time.sleep(self._wait)
            self._wait = min(2 * self._wait, _PARKED[1])
            return Answer(left=rows, lost=self._lost)
        answer = self._work.run_rows(rows)
        self._lost = answer.lost
        return answer


def _sharers(needs: dict[str, int]) -> int:
    """Return how many workers fit on this node, by what Ray says of it."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        if node["NodeID"] == here:
            has = node["Resources"]
            return max(1, min(int(has.get(name, 0) // count) for name, count in needs.items()))
    return 1
