"""ModelCard: what a model is, carried along from checkpoint to ONNX to OM."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from adnet.errors import ModelError
from adnet.models.architecture import RECEPTIVE_RADIUS

METADATA_KEY = "adnet_card"
"""Key under which an ONNX file's metadata_props hold the card."""

NORMS_KEY = "adnet_batch_norms"
"""Key under which they hold the batch norms, as `onnx_network.norms_text` writes them."""

ChannelOrder = Literal["gray", "RGB"]
Precision = Literal["fp32", "fp16", "int8"]

_PRECISION_KEY = "adnet_precision"
_UNKNOWN_SIGMA = (25.0, 25.0)


def precision_of(metadata: Mapping[str, str]) -> str:
    """Return how an ONNX file computes, by its metadata; files of old say nothing: fp32."""
    return metadata.get(_PRECISION_KEY, "fp32")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Facts about one set of trained weights."""

    channels: Literal[1, 3]
    """Colour planes of the image that goes in and comes out."""

    sigma_range: tuple[float, float] | None = None
    """Noise levels trained for, on the 0-255 scale: (25, 25) one known level, (0, 55) blind,
    None when the checkpoint does not tell."""

    name: str = ""
    """Short name such as `gray-blind`; may be empty."""

    weights_sha256: str = ""
    """Digest of the weights themselves (see `checkpoint.weights_digest`); the same before and
    after export."""

    receptive_radius: int = RECEPTIVE_RADIUS
    """Halo in pixels that makes tiles exact."""

    training: Mapping[str, Any] = field(default_factory=dict)
    """How the weights were made: data, steps, time, device, versions, PSNR."""

    @property
    def channel_order(self) -> ChannelOrder:
        """Order of the planes. Always RGB for colour: BGR weights are permuted when loaded."""
        return "gray" if self.channels == 1 else "RGB"

    @property
    def is_blind(self) -> bool | None:
        """Whether the model covers a range of noise levels; None when not known."""
        return None if self.sigma_range is None else self.sigma_range[0] != self.sigma_range[1]

    @property
    def is_for_real_noise(self) -> bool:
        """Whether it learned the noise of photographs, which has no level."""
        config = self.training.get("config") or {}
        return bool(config.get("noise") == "pairs")

    def noise_range(self) -> tuple[float, float]:
        """Return the lowest and highest noise level to try the model with, on the 0-255 scale.

        What it was trained for; where that is not known, 25 alone, the level of most papers. What
        asks whether a level may be measured at all wants `covers`.
        """
        return self.sigma_range or _UNKNOWN_SIGMA

    def covers(self, sigma: float) -> bool:
        """Tell whether it was trained for a noise level; one of unknown levels may cover any."""
        low, high = self.sigma_range or (-math.inf, math.inf)
        return low <= sigma <= high

    def describe_sigma(self) -> str:
        """Say the noise levels in words, e.g. `sigma 25`, `sigma 0-55 (blind)`, `real noise`."""
        if self.sigma_range is None:
            return "real noise" if self.is_for_real_noise else "sigma not recorded"
        low, high = self.sigma_range
        return f"sigma {low:g}-{high:g} (blind)" if self.is_blind else f"sigma {low:g}"

    def to_json(self) -> str:
        """Serialise; `from_json` reads it back."""
        return json.dumps(asdict(self) | {"channel_order": self.channel_order}, sort_keys=True)

    def to_metadata(
        self, *, precision: Precision = "fp32", norms: str | None = None
    ) -> dict[str, str]:
        """Return what an ONNX file's metadata_props are to hold.

        Args:
            precision: how the file computes.
            norms: the batch norms that are folded into it, see `onnx_network.norms_text`.
        """
        metadata = {METADATA_KEY: self.to_json()}
        if precision != "fp32":
            metadata[_PRECISION_KEY] = precision
        if norms is not None:
            metadata[NORMS_KEY] = norms
        return metadata

    @classmethod
    def find_in(cls, metadata: Mapping[str, str], where: str) -> ModelCard | None:
        """Do as `from_metadata`, but return None where there is no card."""
        text = metadata.get(METADATA_KEY)
        return None if text is None else cls.from_json(text, where)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], where: str, more: str = "") -> ModelCard:
        """Read the card of an ONNX file.

        Args:
            metadata: its metadata_props as a dict (`onnx_file.metadata_of`), or the
                `custom_metadata_map` of ONNX Runtime.
            where: the file, for the message.
            more: sentences for the message that there is no card, with what the caller knows.

        Raises:
            ModelError: there is none, or it is damaged.
        """
        card = cls.find_in(metadata, where)
        if card is None:
            raise ModelError(
                f"{where}: an ONNX model, but it has no model card, so it was not made by "
                "adnet-export. Export the checkpoint with 'adnet-export onnx'."
                + (f" {more}" if more else "")
            )
        return card

    @classmethod
    def from_json(cls, text: str, where: str) -> ModelCard:
        """Read a card; keys that this version does not know are ignored.

        Args:
            where: the file that the text comes from, for the message.

        Raises:
            ModelError: the text is no card.
        """
        try:
            data = json.loads(text)
            sigma = data.get("sigma_range")
            card = cls(
                channels=data["channels"],
                sigma_range=None if sigma is None else (float(sigma[0]), float(sigma[1])),
                name=str(data.get("name", "")),
                weights_sha256=str(data.get("weights_sha256", "")),
                receptive_radius=int(data.get("receptive_radius", RECEPTIVE_RADIUS)),
                training=dict(data.get("training", {})),
            )
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as err:
            raise ModelError(
                f"{where}: the model card is damaged ({type(err).__name__}: {err}). "
                "Export the model again with adnet-export."
            ) from err
        if card.channels not in (1, 3):
            raise ModelError(f"{where}: the model card says {card.channels} channels, not 1 or 3.")
        return card
