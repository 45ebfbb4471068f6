"""What all peers share: the card of the model, any shape, threads as the only option."""

from __future__ import annotations

from pathlib import Path

from adnet.runtime.backend import Backend, Batch, InputSpec, RunOptions

from adnet.card import ModelCard
from adnet.cores import usable_cores
from adnet.errors import AdnetError, BackendUnavailable


class Peer(Backend):
    """A peer on the CPU in float32; a subclass implements `_infer` and `describe`.

    Args:
        card: of the model.
        options: threads; everything else is refused.
    """

    def __init__(self, card: ModelCard, options: RunOptions) -> None:
        options.allow(self.name, "threads")
        self.threads = options.threads or usable_cores()
        super().__init__(card, InputSpec(card.channels), "cpu")

    def infer(self, batch: Batch) -> Batch:
        """Denoise a batch, see `Backend.infer`; whatever the engine raises is an AdnetError."""
        try:
            return super().infer(batch)
        except AdnetError:
            raise
        except Exception as err:  # another project's error must not end the whole run
            raise BackendUnavailable(f"{self.name}: {err!r}") from err

    def _release(self) -> None:
        """Leave it to the garbage collector, as these engines do."""

    def facts(self, **versions: str) -> dict[str, str]:
        """Return what `describe` tells, with the engine's versions."""
        return {
            "backend": self.name, "device": "cpu", "precision": "fp32",
            "threads": str(self.threads), **versions,
        }  # fmt: skip


def card_of(model: Path) -> ModelCard:
    """Read the card of an ONNX file that adnet-export made, through ONNX Runtime."""
    from adnet.runtime.registry import open_backend  # noqa: PLC0415  (loads onnxruntime)

    with open_backend(model, "onnx", RunOptions(threads=1)) as backend:
        return backend.card
