"""AIPP configuration: 8-bit pixels in, divided by 255 on the chip.

AIPP computes (pixel - mean - min) * var_reci in float16. float16(1/255) is 0.0039215088, so white
becomes 0.99998. Field names and limits: CANN manual, "AIPP configuration file template".
"""

from __future__ import annotations

from adnet.export.ascend.atc_config import AtcConfig

_FORMATS = {1: "YUV400_U8", 3: "RGB888_U8"}
"""Channels -> AIPP's name for 8-bit gray and RGB. The input becomes NHWC, uint8."""


def aipp_text(config: AtcConfig) -> str:
    """Write the configuration of a model whose `io` is uint8.

    With size gears the source size is left to the gear (0), as ATC demands.
    """
    height, width = (0, 0) if config.gears == "size" else config.sizes[0]
    lines = [
        "aipp_mode: static",
        "related_input_rank: 0",
        f"input_format: {_FORMATS[config.channels]}",
        "csc_switch: false",
        f"src_image_size_w: {width}",
        f"src_image_size_h: {height}",
    ]
    for channel in range(config.channels):
        lines += [
            f"mean_chn_{channel}: 0",
            f"min_chn_{channel}: 0.0",
            f"var_reci_chn_{channel}: {1 / 255:.8f}",
        ]
    return "aipp_op {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"
