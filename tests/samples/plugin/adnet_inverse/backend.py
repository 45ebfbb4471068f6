"""Subtracts an image from white; a model file is a model card."""

from pathlib import Path

from adnet.architecture import RECEPTIVE_RADIUS
from adnet.card import ModelCard
from adnet.errors import ModelError
from adnet.runtime.backend import Backend, Batch, InputSpec, RunOptions


class InverseBackend(Backend):
    name = "inverse"

    def __init__(self, model: Path, options: RunOptions) -> None:
        options.allow(self.name, "threads")
        card = ModelCard.from_json(model.read_text(), str(model))
        if card.receptive_radius != RECEPTIVE_RADIUS:
            raise ModelError(f"{model}: no ADNet.")
        self.lanes = 2
        super().__init__(card, InputSpec(card.channels), "cpu")

    def _infer(self, batch: Batch) -> Batch:
        return 1 - batch

    def _release(self) -> None:
        pass

    def describe(self) -> dict[str, str]:
        return {"backend": self.name, "device": self.device, "precision": "fp32"}
