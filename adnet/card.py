"""ModelCard: what a model is, carried along from checkpoint to ONNX to OM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from adnet.architecture import RECEPTIVE_RADIUS
from adnet.errors import ModelError

METADATA_KEY = "adnet_card"
"""Key under which an ONNX file's metadata_props hold the card."""

PRECISION_KEY = "adnet_precision"
"""Key under which an ONNX file says how it computes: fp16 or int8; missing means fp32."""

ChannelOrder = Literal["gray", "RGB"]


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
    """Digest of the weights themselves (see `adnet.checkpoint.weights_digest`); the same before
    and after export."""

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

    def describe_sigma(self) -> str:
        """Say the noise levels in words, e.g. `sigma 25`, `sigma 0-55 (blind)`, `real noise`."""
        if self.sigma_range is None:
            return "real noise" if self.is_for_real_noise else "sigma not recorded"
        low, high = self.sigma_range
        return f"sigma {low:g}-{high:g} (blind)" if self.is_blind else f"sigma {low:g}"

    def to_json(self) -> str:
        """Serialise; `from_json` reads it back."""
        return json.dumps(asdict(self) | {"channel_order": self.channel_order}, sort_keys=True)

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
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as err:
            raise ModelError(
                f"{where}: the model card is damaged ({type(err).__name__}: {err}). "
                "Export the model again with adnet-export."
            ) from err
        if card.channels not in (1, 3):
            raise ModelError(f"{where}: the model card says {card.channels} channels, not 1 or 3.")
        return card
