"""What all peers share: the CPU, a float32 model to begin with, threads as the only option."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adnet.errors import AdnetError, BackendUnavailable, UsageError
from adnet.models.card import ModelCard
from adnet.runtime.backend import Backend, Batch, InputSpec


@dataclass(frozen=True, slots=True)
class PeerModel:
    """A model file and what it takes; read once, so that no peer pays for it."""

    path: Path
    card: ModelCard
    spec: InputSpec

    @classmethod
    def read(cls, path: Path) -> PeerModel:
        """Read a checkpoint, or an ONNX file that adnet-export made.

        Raises:
            UsageError: an ONNX file that does not compute in float32 throughout.
            AdnetError: the file is damaged, or what reads it is not installed.
        """
        if path.suffix.lower() != ".onnx":
            from adnet.models.checkpoint import load_checkpoint  # noqa: PLC0415  (imports torch)

            card = load_checkpoint(path).card
            return cls(path, card, InputSpec(card.channels))
        from adnet.runtime.backends.ort import inspect_onnx  # noqa: PLC0415  (loads onnxruntime)

        card, spec, precision = inspect_onnx(path)
        if precision != "fp32" or spec.dtype != "float32":
            raise UsageError(
                f"{path}: peers begin with a float32 model; this one computes in {precision} "
                f"and takes {spec.dtype}. Give the float32 one first."
            )
        return cls(path, card, spec)


class Peer(Backend):
    """A peer; a subclass loads in its constructor and implements `_infer` and `describe`.

    Args:
        model: what to load.
        threads: as asked for; None leaves it to the engine.
    """

    precision = "fp32"
    """Of its arithmetic."""

    def __init__(self, model: PeerModel, threads: int | None) -> None:
        self.threads = threads
        super().__init__(model.card, model.spec, "cpu")

    @classmethod
    def prepare(cls, model: PeerModel, folder: Path) -> PeerModel:
        """Make once what takes long and is no part of loading, e.g. a quantised file.

        Args:
            folder: for files; it lasts as long as the peer.
        """
        del folder
        return model

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

    def facts(self, threads: object, **versions: str) -> dict[str, str]:
        """Return what `describe` tells, with the engine's threads and versions."""
        return {
            "backend": self.name, "device": "cpu", "precision": self.precision,
            "threads": str(threads), **versions,
        }  # fmt: skip
