"""Run lengths in BMP files: RLE8 and RLE4.

Source: Microsoft's documentation of bitmap compression (BI_RLE8, BI_RLE4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ImageError

_END_OF_LINE, _END, _DELTA = 0, 1, 2
_MISSING = "cannot be decoded, the file may be damaged (pixels are missing)."


def unpack_runs(data: bytes, bits: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode palette indices; what an end mark or a jump leaves out is 0.

    Args:
        data: may have anything behind the end mark.
        bits: 8 or 4.
        size: (width, height).

    Returns:
        (H, W), the rows as they are stored.

    Raises:
        ImageError: the data end before the last row is full, without an end mark.
    """
    width, height = size
    canvas = bytearray(width * height)
    at = x = y = 0
    while y < height:
        if at + 2 > len(data):
            if y == height - 1 and x >= width:
                break
            raise ImageError(_MISSING)
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            pattern = bytes((value,)) if bits == 8 else bytes((value >> 4, value & 15))
            run = pattern * (count if bits == 8 else (count + 1) // 2)
        elif value == _END_OF_LINE:
            x, y = 0, y + 1
            continue
        elif value == _END:
            break
        elif value == _DELTA:
            jump = data[at : at + 2].ljust(2, b"\0")
            x, y = x + jump[0], y + jump[1]
            at += 2
            continue
        else:
            count = value
            length = (count * bits + 7) // 8
            run = data[at : at + length]
            if len(run) < length:
                raise ImageError(_MISSING)
            if bits == 4:
                run = bytes(half for byte in run for half in (byte >> 4, byte & 15))
            at += length + length % 2
        # Beyond the border of a row, nothing is drawn.
        seen = max(0, min(count, width - x))
        canvas[y * width + x : y * width + x + seen] = run[:seen]
        x += count
    return np.frombuffer(canvas, np.uint8).reshape(height, width)
