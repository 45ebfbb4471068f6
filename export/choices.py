"""What options may be that are one of a few words.

Here, and not where they are used, since adnet-export's help needs neither torch nor onnx.
"""

from __future__ import annotations

from typing import Literal

Io = Literal["fp32", "fp16", "uint8"]
"""Type of the pixels that go in, and for ONNX come out."""

PrecisionModeV1 = Literal[
    "force_fp16", "force_fp32", "cube_fp16in_fp32out", "allow_mix_precision",
    "allow_mix_precision_fp16", "allow_mix_precision_bf16", "allow_fp32_to_fp16",
    "allow_fp32_to_bf16", "must_keep_origin_dtype",
]  # fmt: skip
"""Values of ATC's --precision_mode, the older spelling."""

PrecisionModeV2 = Literal[
    "fp16", "origin", "cube_fp16in_fp32out", "mixed_float16", "mixed_bfloat16"
]
"""Values of ATC's --precision_mode_v2; the HiFloat8 modes of other chips are left out."""

PrecisionMode = Literal[PrecisionModeV2, PrecisionModeV1]

Dynamic = Literal["none", "batch", "size", "all"]
"""Which axes are left open."""

TritonMode = Literal["image", "tiles"]
"""What a request to Triton is."""
