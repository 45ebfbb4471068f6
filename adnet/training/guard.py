"""Notice a loss that runs away, and go back to weights from before.

The median rule. Losses are looked at in blocks of 20 steps. A block whose median is more than 4
times the lowest median of the 10 blocks before it has run away, and so has, at once, a loss that is
not finite. A single bad batch moves no median; a loss that has left for good does within a block.

Every 5 blocks the state of the learner is put aside. The guard goes back not to the newest of these
but to the one before it: the newest may have been taken while the loss was already on its way.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from adnet.errors import TrainingError

BLOCK = 20
HISTORY = 10
RATIO = 4.0
SNAPSHOT_EVERY = 5
MOST_ROLLBACKS = 8
RATE_FACTOR = 0.5
"""What the learning rate is multiplied by after each return."""


@dataclass(slots=True)
class LossGuard:
    """Judges blocks of losses and keeps the states to return to."""

    losses: list[float] = field(default_factory=list)
    """The losses of the block that is not complete yet."""
    medians: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    rollbacks: int = 0
    snapshots: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=2))
    """States of the learner, each with the medians that were known then."""

    @property
    def rate_factor(self) -> float:
        """What the scheduled learning rate is multiplied by."""
        return RATE_FACTOR**self.rollbacks

    @staticmethod
    def block_ends(step: int) -> bool:
        """Whether a block is complete after `step` steps of the run."""
        return step % BLOCK == 0

    @staticmethod
    def wants_snapshot(step: int) -> bool:
        """Whether the state should be put aside after `step` steps, if they were calm."""
        return step % (BLOCK * SNAPSHOT_EVERY) == 0

    def ran_away(self, step: int, losses: Sequence[float]) -> bool:
        """Take the newest losses, up to that of step `step`; true when they ran away.

        Blocks end at multiples of `BLOCK`, so that losses may come in any portions that end there
        too. What is not finite has run away at once.
        """
        self.losses += losses
        if not all(map(math.isfinite, self.losses)):
            self.losses = []
            return True
        if not self.block_ends(step):
            return False
        block, self.losses = self.losses, []
        middle = median(block)
        if self.medians and middle > RATIO * min(self.medians):
            return True
        self.medians.append(middle)
        return False

    def keep(self, state: dict[str, Any]) -> None:
        """Put a state of the learner aside."""
        self.snapshots.append({"learner": state, "medians": list(self.medians)})

    def go_back(self) -> dict[str, Any]:
        """Return the learner's state to go back to; from now on the learning rate is halved.

        What was learned since is forgotten, the medians too: an early state must not be measured
        against losses that it is yet to reach.

        Raises:
            TrainingError: it did not help often enough.
        """
        if self.rollbacks == MOST_ROLLBACKS:
            raise TrainingError(
                f"the loss ran away again after {MOST_ROLLBACKS} returns to earlier weights, each "
                "at half the rate. Use a lower --lr, --precision bf16 or fp32, or check the data."
            )
        self.rollbacks += 1
        snapshot = self.snapshots[0]
        self.snapshots.clear()
        self.snapshots.append(snapshot)
        self.medians = deque(snapshot["medians"], HISTORY)
        state: dict[str, Any] = snapshot["learner"]
        return state

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {
            "losses": list(self.losses),
            "medians": list(self.medians),
            "rollbacks": self.rollbacks,
            "snapshots": list(self.snapshots),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a stored state."""
        self.losses = list(state["losses"])
        self.medians = deque(state["medians"], HISTORY)
        self.rollbacks = state["rollbacks"]
        self.snapshots = deque(state["snapshots"], 2)
