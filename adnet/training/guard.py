"""Notice a loss that runs away, and go back to weights from before.

The median rule. Losses are looked at in blocks of 20 steps. A block whose median is more than 4
times the lowest median of the 10 blocks before it has run away, and so has one in which a loss is
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
    blocks: int = 0
    rollbacks: int = 0
    snapshots: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=2))

    @property
    def rate_factor(self) -> float:
        """What the scheduled learning rate is multiplied by."""
        return RATE_FACTOR**self.rollbacks

    @staticmethod
    def block_ends(step: int) -> bool:
        """Whether a block is complete after `step` steps of the run."""
        return step % BLOCK == 0

    @property
    def wants_snapshot(self) -> bool:
        """Whether the state should be put aside now, at the end of a calm block."""
        return not self.losses and self.blocks % SNAPSHOT_EVERY == 0

    def ran_away(self, losses: Sequence[float]) -> bool:
        """Take the losses of the next steps; true when they complete a block that ran away."""
        self.losses += losses
        if len(self.losses) < BLOCK:
            return False
        block, self.losses = self.losses, []
        middle = median(block) if all(map(math.isfinite, block)) else math.inf
        if math.isinf(middle) or (self.medians and middle > RATIO * min(self.medians)):
            return True
        self.medians.append(middle)
        self.blocks += 1
        return False

    def go_back(self) -> dict[str, Any]:
        """Return the state to go back to; from now on the learning rate is halved.

        Raises:
            TrainingError: it did not help often enough.
        """
        if self.rollbacks == MOST_ROLLBACKS:
            raise TrainingError(
                f"the loss ran away again after {MOST_ROLLBACKS} returns to earlier weights, each "
                "at half the rate. Use a lower --lr, --precision bf16 or fp32, or check the data."
            )
        self.rollbacks += 1
        state = self.snapshots[0]
        self.snapshots.clear()
        self.snapshots.append(state)
        return state

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {
            "losses": list(self.losses),
            "medians": list(self.medians),
            "blocks": self.blocks,
            "rollbacks": self.rollbacks,
            "snapshots": list(self.snapshots),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a stored state."""
        self.losses = list(state["losses"])
        self.medians = deque(state["medians"], HISTORY)
        self.blocks, self.rollbacks = state["blocks"], state["rollbacks"]
        self.snapshots = deque(state["snapshots"], 2)
