"""Predict ADNet's speed on Ascend chips from their data sheets; prints a Markdown table.

    python -m adnet.benchmarks.studies.ascend_roofline [--size 321,481]

Nothing is measured here. The roof is the chip's float16 rate divided by the network's cost; the
prediction takes half of it, the share that the one published measurement reached: 205 to 215
images/s of 321x481 on an Ascend310P3 (CANN 5.1.RC2, transfers excluded; ModelZoo-PyTorch, ACL
ADNet README) are 47 to 49 % of its roof. Other chips may reach another share.
"""

from __future__ import annotations

from typing import Annotated

import typer

from adnet._cli import make_app, parse_whole_numbers, reports_errors
from adnet.models.architecture import flops

CHIPS: dict[str, tuple[int, int]] = {
    "Ascend310P1": (10, 1060),
    "Ascend310P3": (8, 1060),
    "Ascend310P5": (8, 800),
    "Ascend310P7": (8, 550),
    "Ascend310B1": (1, 1224),
    "Ascend310B4": (1, 500),
    "Ascend910A": (32, 1000),
    "Ascend910ProA": (32, 1100),
    "Ascend910PremiumA": (32, 1220),
    "Ascend910B": (30, 900),
    "Ascend910ProB": (30, 1150),
    "Ascend910B1": (24, 1850),
    "Ascend910B2": (24, 1800),
    "Ascend910B3": (20, 1800),
    "Ascend910B4": (20, 1500),
}
"""Chip -> (AI cores, MHz of the matrix unit): platform files of the open-sourced CANN runtime."""

PUBLISHED = {"Ascend310P3": "205 (batch 1), 215 (batch 64)"}
"""Images/s of 321x481 measured by the vendor, see above."""

_FLOP_PER_CYCLE = 16 * 16 * 16 * 2  # the matrix unit multiplies 16x16 by 16x16 in a cycle
SHARE = 0.5

app = make_app("Predict ADNet's speed on Ascend chips; nothing is measured.")


def roof(chip: str) -> float:
    """Return a chip's float16 rate in FLOP/s."""
    cores, megahertz = CHIPS[chip]
    return cores * megahertz * 1e6 * _FLOP_PER_CYCLE


@app.command()
@reports_errors
def main(
    size: Annotated[str, typer.Option(metavar="H,W", help="Height and width.")] = "321,481",
) -> None:
    """Predict ADNet's speed on Ascend chips; nothing is measured."""
    height, width = parse_whole_numbers(size, "--size", 2)
    cost = flops(height, width, 1)
    typer.echo(f"| chip | fp16 TFLOP/s | roof, images/s | predicted images/s | published ({height}x"
               f"{width}) |\n| --- | --- | --- | --- | --- |")  # fmt: skip
    for chip in CHIPS:
        images = roof(chip) / cost
        known = PUBLISHED.get(chip, "") if (height, width) == (321, 481) else ""
        rate = roof(chip) / 1e12
        typer.echo(f"| {chip} | {rate:.1f} | {images:.0f} | {SHARE * images:.0f} | {known} |")


if __name__ == "__main__":
    app()
